"""What verbs share: types of their arguments, groups of options, and what these options mean."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cpu1.device import DEVICES
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.training.plan import Budget

SCALES = ("card", "demo", "nano", "small", "base")
ROUNDS = ("r1", "r2", "r3", "custom")
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
WIDTHS = ("int8", "bf16", "fp32")
DENSE_HELP = "how the full-precision matrices are stored (default: int8, one scale a row)"
DATA_HELP = (
    "file, folder or glob (plain, .zst, .gz, .xz, .jsonl, .parquet), - for standard input, hf:NAME[:SPLIT], "
    "or python-stdlib, the text that comes with Python (default)"
)


class Verb(Protocol):
    """Adds a verb, whose help is its function's docstring; `examples` are lines without `cpu1`."""

    def __call__(
        self, function: Callable[[argparse.Namespace], int], name: str, examples: str
    ) -> argparse.ArgumentParser: ...


# ----------------------------------------------------------------------------------------- options


def data_options(parser: argparse.ArgumentParser, default: str | None = "python-stdlib") -> None:
    parser.add_argument("--data", default=default, help=DATA_HELP)
    parser.add_argument("--field", default="text", help="field or column of the text in JSONL and Parquet")


def device_option(parser: argparse.ArgumentParser, of: str = "", default: str = "auto") -> None:
    about = f"{of} (default: {default})" if default != "auto" else "(default: auto, a GPU where there is one)"
    parser.add_argument("--device", choices=DEVICES, default=default, help=about.strip())


def training_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", choices=SCALES, default="nano")
    parser.add_argument("--round", choices=ROUNDS, help="r1, r2, r3: 2, 15, 50 units per parameter, r3 with the "
                        "BitLinear rate doubled (default: r1)")  # fmt: skip
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--bytes", type=byte_size, help="budget in bytes of text, like 2M, in place of the round's")
    budget.add_argument("--minutes", type=float, help="budget in minutes on this machine")
    data_options(parser)
    device_option(parser)
    parser.add_argument("--teacher-cache", type=Path, metavar="FOLDER",
                        help="learn also from what `cpu1 teach` kept about this text")  # fmt: skip
    parser.add_argument("--threads", type=positive, help="of one process (default: train: all cores; study: 1)")
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=VALUE",
                        help="override a setting of training, e.g. rate=0.002, steps=100")  # fmt: skip
    parser.add_argument("--with", dest="changes", type=change, action="append", default=[], metavar="NAME=VALUE",
                        help="change the recipe, e.g. ffn=ReLU2, gate=none, head.hidden=512, layers=4")  # fmt: skip
    parser.add_argument(
        "--eval-bytes", type=byte_size, default=256 * 1024, help="held-out bytes to score (default: 256Ki)"
    )


def round_name(words: argparse.Namespace) -> str:
    """The round's name; "custom" is a budget of its own."""
    own = words.bytes is not None or words.minutes is not None
    if words.round == "custom" and not own:
        raise UserError("--round custom needs --bytes or --minutes")
    return words.round or ("custom" if own else "r1")


def budget(words: argparse.Namespace) -> "Budget | None":
    from cpu1.training.plan import Budget

    if words.bytes is None and words.minutes is None:
        return None
    return Budget(bytes=int(words.bytes) if words.bytes is not None else None, minutes=words.minutes)


def input_bytes(path: Path) -> bytes:
    """What a file holds, or standard input for -."""
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror})") from None


# ------------------------------------------------------------------------------ types of arguments


def count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def byte_size(text: str) -> int:
    number = text.rstrip("kKmMgGiI")
    unit = text[len(number) :].lower()
    try:
        value = float(number) * UNITS[unit]
        if not 1 <= value < 2**60:
            raise ValueError
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 500000, 2M or 64Ki") from None
    return int(value)


def change(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def variation(text: str) -> tuple[str, tuple[str, ...]]:
    name, values = change(text)
    return name, tuple(values.split(","))


def setting(text: str) -> tuple[str, int | float | str]:
    from cpu1.runs.settings import read_value

    name, value = change(text)
    return name, read_value(value)


def tuning(text: str) -> tuple[tuple[str, ...], str]:
    runs, _, setting = text.partition(":")
    try:
        change(setting)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not RUN[,RUN]:NAME=VALUE, like 02,03:rate=3e-3") from None
    return tuple(runs.split(",")), setting


def share(text: str) -> tuple[str, float]:
    source, _, value = text.rpartition("=")
    try:
        if source:
            return source, float(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not SOURCE=SHARE, like books/=60")


def named(text: str) -> tuple[str, str]:
    name, _, source = text.partition("=")
    if not (name and source):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=SOURCE, like books=books.txt")
    return name, source
