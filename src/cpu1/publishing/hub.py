"""Upload to the Hugging Face hub, by its own library: an extra."""

import re
import tempfile
from pathlib import Path

from cpu1.errors import UserError
from cpu1.publishing.facts import Terms
from cpu1.publishing.folder import publish

PREFIX = "hub:"
NAME = re.compile(r"([\w.-]+/)?[\w.-]+")


def upload(run: Path, to: str, terms: Terms | None = None, dense: str = "int8", private: bool = False) -> str:
    """Publishes a finished run to `hub:NAME` or `hub:OWNER/NAME`, a repository that is made if there is none.

    Returns its address. The login is that of `hf auth login` or HF_TOKEN. UserError where the library is missing or
    the hub refuses.
    """
    name = to.removeprefix(PREFIX)
    if not NAME.fullmatch(name):
        raise UserError(f"{to!r}: a repository is named {PREFIX}NAME or {PREFIX}OWNER/NAME")
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise UserError(f"{to}: needs the huggingface_hub library: pip install 'cpu1[hub]'") from None
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        publish(run, folder, terms, dense)
        try:
            api = HfApi()
            repository = api.create_repo(name, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository.repo_id, folder_path=folder, commit_message=f"cpu1 publish {run.name}")
        except Exception as error:  # the library raises its own, the network's and Python's
            raise UserError(f"{to}: {type(error).__name__}: {error}") from None
    return str(repository)
