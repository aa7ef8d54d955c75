"""What commands share: types of their arguments, groups of options, and what these options mean."""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cpu1.device import DEVICES
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.runtime.model import Model
    from cpu1.training.plan import Budget

SCALES = ("original", "demo", "nano", "small", "base")
OLD_SCALES = ("card",)  # still accepted: the name that `original` once had
TRACKERS = ("tensorboard", "trackio", "wandb", "mlflow")
ROUNDS = ("r1", "r2", "r3", "custom")
CURVE_SHARES = ("1/64", "1/32", "1/16", "1/8", "1/4", "1/2")  # of a run's steps; some of `loop.VALIDATIONS`
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
WIDTHS = ("int8", "bf16", "fp32")
PACKED = ".cpu1"
STANDARD = "-"
SOURCES = (
    "a file, folder or quoted glob (plain, .zst, .gz, .xz, .bz2, .jsonl or .parquet), - for standard input, "
    "hf:NAME[:SPLIT], or python-stdlib for Python's own source files"
)


class Command(Protocol):
    """Adds a command, whose help is its function's docstring; `examples` are lines without `cpu1`."""

    def __call__(
        self, function: Callable[[argparse.Namespace], int], name: str, *examples: str
    ) -> argparse.ArgumentParser: ...


# ----------------------------------------------------------------------------------------- options


def model_option(parser: argparse.ArgumentParser, what: str = f"packed model, a {PACKED} file") -> None:
    """`-m`: the packed model that a command runs; see `model_path`."""
    parser.add_argument(
        "-m",
        "--model",
        type=Path,
        metavar="FILE",
        help=f"{what} (default: the file in CPU1_MODEL, else the bundled model)",
    )


def model_path(args: argparse.Namespace) -> Path:
    """The file of -m, or the default model; UserError where there is none."""
    from cpu1.runtime.default import default_model

    return args.model or default_model()


def opened_model(model: Path, args: argparse.Namespace) -> "Model":
    """The model, where its --adapter left it. An adapter is of a model that learns, as with --learn."""
    from cpu1.runtime.adapter import read
    from cpu1.runtime.model import Model

    opened = Model(model, args.threads, learn=args.learn or args.adapter is not None)
    if args.adapter is not None:
        read(opened, args.adapter)
    return opened


def out_option(parser: argparse.ArgumentParser, help: str, metavar: str = "FILE", **more: Any) -> None:
    """`-o`: where the result goes; `more` are arguments of argparse."""
    parser.add_argument("-o", "--out", type=Path, metavar=metavar, help=help, **more)


def json_option(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def quiet_option(parser: argparse.ArgumentParser) -> None:
    """`--quiet`."""
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def learn_option(parser: argparse.ArgumentParser, help: str) -> None:
    """--learn."""
    parser.add_argument("--learn", action="store_true", help=help)


def adapter_option(parser: argparse.ArgumentParser) -> None:
    """--adapter."""
    parser.add_argument(
        "--adapter", type=Path, metavar="FILE", help="start from what `cpu1 learn` wrote, and learn on from there"
    )


def threads_option(parser: argparse.ArgumentParser, what: str = "number of threads", default: str = "1") -> None:
    """`default` is a number, or the meaning of None in words."""
    number = int(default) if default.isdigit() else None
    parser.add_argument("--threads", type=positive, default=number, metavar="N", help=f"{what} (default: {default})")


def seed_option(parser: argparse.ArgumentParser, help: str) -> None:
    """`--seed`, with its meaning in `help`."""
    parser.add_argument("--seed", type=count, default=0, metavar="N", help=f"{help} (default: %(default)s)")


def seeds_option(parser: argparse.ArgumentParser, default: int | None, words: str = "%(default)s") -> None:
    """`--seeds` of a study; `words` are the meaning of a default that depends on other options."""
    parser.add_argument(
        "--seeds",
        type=positive,
        default=default,
        metavar="N",
        help=f"train each run with N seeds, 0 to N-1 (default: {words})",
    )


def track_options(parser: argparse.ArgumentParser, store: str) -> None:
    """`--track` and `--track-to`; `store` is where trackers keep their files otherwise."""
    parser.add_argument(
        "--track",
        action="append",
        default=[],
        choices=TRACKERS,
        help="also hand the metrics to a tracker, which keeps them on this machine; repeatable",
    )
    parser.add_argument(
        "--track-to", type=Path, metavar="FOLDER", help=f"where trackers keep their files (default: {store})"
    )


def jobs_option(parser: argparse.ArgumentParser) -> None:
    """`--jobs`: runs trained at once."""
    parser.add_argument("--jobs", type=positive, metavar="N", help="runs trained at once (default: one per core)")


def cluster_options(parser: argparse.ArgumentParser) -> None:
    """`--on` and `--store`: where the runs of a study are trained."""
    on_option(parser, "train the runs")
    parser.add_argument(
        "--store",
        metavar="ADDRESS",
        help="with --on: keep run folders at this address, like s3://bucket/study, for nodes that do not see --out",
    )


def on_option(parser: argparse.ArgumentParser, what: str) -> None:
    """`--on`: a Ray cluster, see `cluster.connected`."""
    parser.add_argument(
        "--on",
        metavar="CLUSTER",
        help=f"{what} on a Ray cluster: ray, the one that runs here or all cores of this machine, or ray://HOST:PORT",
    )


def data_option(parser: argparse.ArgumentParser, what: str = "text to train on") -> None:
    """`--data` and `--field`: a source of text, see `data.sources.documents`."""
    parser.add_argument(
        "--data", default="python-stdlib", metavar="SOURCE", help=f"{what}: {SOURCES} (default: %(default)s)"
    )
    field_option(parser)


def field_option(parser: argparse.ArgumentParser) -> None:
    """`--field`, for texts that have records."""
    parser.add_argument(
        "--field",
        default="text",
        metavar="NAME",
        help="field or column that holds the text in JSONL and Parquet files (default: %(default)s)",
    )


def device_option(parser: argparse.ArgumentParser, default: str = "auto", what: str = "device to compute on") -> None:
    """`--device`, see `device.choose`."""
    about = "auto, a GPU if there is one" if default == "auto" else default
    parser.add_argument("--device", choices=DEVICES, default=default, help=f"{what} (default: {about})")


def dense_option(parser: argparse.ArgumentParser) -> None:
    """`--dense`: the number format of full-precision matrices in a packed file."""
    parser.add_argument(
        "--dense",
        choices=WIDTHS,
        default="int8",
        help="number format of the matrices that are not ternary (default: %(default)s)",
    )


def scale_option(parser: argparse.ArgumentParser, default: str | None) -> None:
    """The size of a model; a default of None is nano, or with --from the size of its weights."""
    known = "%(default)s" if default else "nano; with --from that of the weights"
    parser.add_argument(
        "--scale",
        choices=(*SCALES, *OLD_SCALES),
        metavar=f"{{{','.join(SCALES)}}}",
        default=default,
        help=f"size of the model; original is the size in the original study (default: {known})",
    )


def training_options(parser: argparse.ArgumentParser, threads: str, scale: str | None = "nano") -> None:
    """Options of everything that trains; `threads` is the default in words, `scale` as in `scale_option`."""
    scale_option(parser, scale)
    parser.add_argument(
        "--round",
        choices=ROUNDS,
        help="training budget: 2, 15 or 50 units (bytes, or tokens of a BPE model) per parameter; "
        "r3 also doubles the learning rate of ternary weights "
        "(default: r1; custom with --bytes or --minutes)",
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--bytes",
        type=byte_size,
        metavar="SIZE",
        help="train on this much text, like 2M, instead of the budget of --round",
    )
    budget.add_argument(
        "--minutes",
        type=float,
        metavar="MINUTES",
        help="train for this long on this machine, instead of the budget of --round",
    )
    data_option(parser)
    device_option(parser)
    parser.add_argument(
        "--teacher-cache",
        type=Path,
        metavar="FOLDER",
        help="also learn from a teacher's answers about this text, written by `cpu1 teach`",
    )
    threads_option(parser, "threads of each training process", threads)
    parser.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a training setting, like rate=0.002 or steps=100; repeatable",
    )
    parser.add_argument(
        "--with",
        dest="changes",
        type=change,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change the architecture, like ffn=ReLU2, gate=none or layers=4; repeatable",
    )
    parser.add_argument(
        "--eval-bytes",
        type=byte_size,
        default="256Ki",
        metavar="SIZE",
        help="amount of validation text to score after training (default: %(default)s)",
    )


def round_name(args: argparse.Namespace) -> str:
    """The round's name; "custom" is a budget of its own."""
    own = args.bytes is not None or args.minutes is not None
    if args.round == "custom" and not own:
        raise UserError("--round custom needs --bytes or --minutes")
    return args.round or ("custom" if own else "r1")


def budget(args: argparse.Namespace) -> "Budget | None":
    """The budget of `--bytes` or `--minutes`; None without either."""
    from cpu1.training.plan import Budget

    if args.bytes is None and args.minutes is None:
        return None
    return Budget(bytes=args.bytes, minutes=args.minutes)


def input_bytes(path: Path) -> bytes:
    """The bytes of a file, or of standard input for -."""
    try:
        return sys.stdin.buffer.read() if str(path) == STANDARD else path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror})") from None


def keep_inputs(out: Path | None, *inputs: Path | None) -> None:
    """UserError where `out` is one of a command's inputs; - among these is standard input. See `files.apart`."""
    from cpu1.files import apart

    if out is not None and str(out) != STANDARD:
        apart(out, (0 if str(each) == STANDARD else each for each in inputs if each is not None))


# ------------------------------------------------------------------------------ types of arguments


def count(text: str) -> int:
    """A whole number of at least 0; ArgumentTypeError otherwise, as from all types below."""
    return _whole(text, 0)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, 1)


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return value


def byte_size(text: str) -> int:
    """A size like 500000, 2M or 64Ki in bytes; a fraction of a byte is dropped."""
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
    """NAME=VALUE as two strings."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def variation(text: str) -> tuple[str, tuple[str, ...]]:
    """NAME=VALUE,VALUE as the name and its values. A value may be a list, like [3,4]."""
    name, values = change(text)
    return name, tuple(re.split(r",(?![^\[]*\])", values))


def setting(text: str) -> tuple[str, int | float | str]:
    """NAME=VALUE, the value as a number if it is one."""
    from cpu1.runs.settings import read_value

    name, value = change(text)
    return name, read_value(value)


def tuning(text: str) -> tuple[tuple[str, ...], str]:
    """RUN,RUN:NAME=VALUE as the runs, and the setting as text."""
    runs, _, setting = text.partition(":")
    try:
        change(setting)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not RUN[,RUN]:NAME=VALUE, like 02,03:rate=3e-3") from None
    return tuple(runs.split(",")), setting


def share(text: str) -> tuple[str, float]:
    """SOURCE=SHARE as a source of text and a number."""
    source, _, value = text.rpartition("=")
    try:
        if source:
            return source, float(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not SOURCE=SHARE, like books/=60")


def named(text: str) -> tuple[str, str]:
    """NAME=SOURCE as two strings."""
    name, _, source = text.partition("=")
    if not (name and source):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=SOURCE, like books=books.txt")
    return name, source
