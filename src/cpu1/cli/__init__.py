"""The command line: one verb a function, heavy imports inside the verb."""

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence

from cpu1.cli import archives, language, models, publishing, studies, training
from cpu1.cli import teach as teaching
from cpu1.cli.words import parse
from cpu1.errors import UserError

LAB = ("torch", "tokenizers", "rich", "zstandard", "filelock", "matplotlib")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0 done, 1 some runs failed, 2 bad input, 130 interrupted."""
    words = parse(_parser(), arguments)
    warnings.showwarning = _show_warning
    try:
        return words.verb(words)
    except UserError as error:
        print(f"cpu1: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in LAB:
            raise
        print(
            f"cpu1: {error.name} is not installed; this verb needs the lab: pip install 'cpu1[lab]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"cpu1: note: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cpu1",
        description="Byte-level language models made for CPUs, and the lab that measures their ingredients.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(function: Callable[[argparse.Namespace], int], name: str, examples: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(
            name,
            help=(function.__doc__ or "").splitlines()[0],
            description=function.__doc__,
            epilog="examples:\n" + "\n".join(f"  cpu1 {line}" for line in examples.splitlines()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(verb=function)
        return added

    for group in (training, teaching, studies, models, language, publishing, archives):
        group.add(verb)
    return parser
