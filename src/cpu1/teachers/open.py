"""The teacher of a name. The libraries that a kind of teacher needs are imported only for that kind."""

from pathlib import Path
from typing import TYPE_CHECKING

from cpu1.teachers.teacher import Teacher

if TYPE_CHECKING:
    from cpu1.teachers.token_teacher import TokenModel


def open_teacher(name: str, share: float) -> Teacher:
    """The teacher `name`: a run folder, a .gguf file, a folder of `transformers`, or the name of one on its hub.

    `share` is that of `marginal`, for teachers that read tokens. UserError when there is no such teacher, or when it
    cannot predict bytes.
    """
    path = Path(name)
    if (path / "recipe.json").exists():
        from cpu1.teachers.own_run import OwnRun

        return OwnRun(path)
    from cpu1.teachers.token_teacher import TokenTeacher

    return TokenTeacher(open_token_model(name), share)


def open_token_model(name: str) -> "TokenModel":
    """The model `name`: a .gguf file, a folder of `transformers`, or the name of one on its hub.

    UserError as from `open_teacher`.
    """
    if Path(name).suffix == ".gguf":
        from cpu1.teachers.gguf_file import open_gguf

        return open_gguf(Path(name))
    from cpu1.teachers.hugging_face import open_model

    return open_model(name)
