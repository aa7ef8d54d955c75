"""Words `[MODEL] [TEXT]` of verbs that run the default model where none is named."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cpu1.errors import UserError

DEFAULT_HELP = "that of CPU1_MODEL, or of the installation"
PACKED = ".cpu1"


def words_option(parser: argparse.ArgumentParser, usage: str, about: str) -> None:
    """Takes up to two words, and --model for where a text has the name of a file."""
    parser.usage = f"{parser.prog} {usage} [--model MODEL] [options]"
    parser.add_argument("named", nargs="*", metavar=usage, help=about)
    parser.add_argument("--model", type=Path, help="the model; then a word is always the text")


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Lets options stand between such words, which argparse takes only side by side."""
    known, rest = parser.parse_known_args(arguments)
    options = [word for word in rest if word.startswith("-") and word != "-"]
    if options or (rest and not hasattr(known, "named")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        known.named += rest
    return known


def model_and_text(known: argparse.Namespace, needs_text: bool = False) -> tuple[Path, str | None]:
    """The model and the text, None where there is none.

    A single word is the model if it exists or ends in .cpu1, and the text otherwise or where the verb `needs_text`.
    UserError for more words, and where no model is named and there is no default.
    """
    from cpu1.runtime.default import default_model

    words: list[str] = known.named
    most = 2 if known.model is None else 1
    if len(words) > most:
        raise UserError(f"{len(words)} words where {most} can be: put a text of several words in quotes")
    if known.model is not None:
        return known.model, words[0] if words else None
    if len(words) == 2:
        return Path(words[0]), words[1]
    if words and not needs_text and (words[0].endswith(PACKED) or _exists(words[0])):
        return Path(words[0]), None
    return default_model(), words[0] if words else None


def is_packed(model: Path) -> bool:
    """Whether a model is a packed file, not a run folder."""
    return model.is_file() or model.suffix == PACKED


def _exists(word: str) -> bool:
    try:
        return bool(word) and Path(word).exists()  # Path("") is the working folder
    except (OSError, ValueError):  # too long for a name, or with a NUL: a text
        return False
