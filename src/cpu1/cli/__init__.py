"""The command line: one command a function, heavy imports inside the function."""

import argparse
import os
import sys
import warnings
from collections.abc import Collection, Sequence

from cpu1.cli import parser
from cpu1.cli.streams import mend_streams
from cpu1.errors import UserError

EXTRAS = {
    "lab": ("the training tools", ("torch", "tokenizers", "rich", "zstandard", "filelock", "matplotlib")),
    "server": ("the server's packages", ("starlette", "uvicorn", "prometheus_client")),
    "lm-eval": ("lm-evaluation-harness", ("lm_eval", "datasets")),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 done, 1 some runs failed, 2 bad input, 130 interrupted."""
    warnings.showwarning = _show_warning
    mend_streams()
    try:
        args = _parse(sys.argv[1:] if arguments is None else arguments)
        status: int = args.command(args)
        sys.stdout.flush()  # a full disk is told now
        return status
    except UserError as error:
        print(f"cpu1: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        extra = next((name for name, (_, modules) in EXTRAS.items() if module in modules), None)
        if extra is None:
            raise
        print(
            f"cpu1: {error.name} is not installed; this command needs {EXTRAS[extra][0]}: pip install 'cpu1[{extra}]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        print(f"cpu1: {name}{error.strerror or error}", file=sys.stderr)
        return 2


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What was asked for; exits where argparse does, and with a hint where argparse has none."""
    top, commands = parser.build()
    if not arguments:
        top.exit(2, top.format_help())
    words = {name.partition(" ")[0] for name in commands}
    if arguments[0] not in words and not arguments[0].startswith("-"):
        top.error(_no_command(arguments[0], words))
    args, extra = top.parse_known_args(arguments)
    if "rest" in args:
        args.rest = extra
    elif extra:
        args.parser.error(_unrecognized(args, extra))
    return args


def _no_command(word: str, commands: Collection[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, commands, 1)
    return f"no command {word!r}" + (f", did you mean {close[0]}?" if close else "; `cpu1 --help` lists all")


def _unrecognized(args: argparse.Namespace, extra: Sequence[str]) -> str:
    """The message for surplus words, with the usual reasons for them."""
    message = f"unrecognized arguments: {' '.join(extra)}"
    if any(not word.startswith("-") for word in extra):
        if hasattr(args, "prompt"):
            message += "; put a prompt of several words in quotes"
        if hasattr(args, "model"):
            message += "; name a model with -m FILE"
    return message


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"cpu1: note: {message}", file=sys.stderr)
