"""The command that runs lm-evaluation-harness."""

import argparse
import json
import logging
import sys
from pathlib import Path

from cpu1.cli.options import Command
from cpu1.errors import UserError

COMMANDS = ("run", "ls", "validate")  # of the harness
CUSTOM = "Custom kwargs can be passed"  # its hint for each of the 67 tasks of BLiMP


def add(command: Command) -> None:
    """Adds the command `lm-eval`."""
    p = command(
        lm_eval,
        "lm-eval",
        "lm-eval --blimp blimp.jsonl --lambada lambada_test.jsonl --model_args path=model.cpu1,threads=2",
        "lm-eval --text wiki.test.raw",
        "lm-eval --tasks cpu1_lambada --lambada lambada_test.jsonl",
    )
    p.set_defaults(rest=[])
    p.add_argument("--blimp", type=Path, metavar="FILE", help="pairs of sentences, as for `cpu1 check`: cpu1_blimp")
    p.add_argument(
        "--lambada",
        type=Path,
        metavar="FILE",
        help="passages, as for `cpu1 check`: cpu1_lambada and cpu1_lambada_written",
    )
    p.add_argument(
        "--endings",
        type=Path,
        metavar="FILE",
        help="lines of JSON in the form of HellaSwag, with context, endings and label: cpu1_endings",
    )
    p.add_argument("--text", type=Path, metavar="FILE", help="a text, or lines of JSON with text: cpu1_text")
    p.add_argument(
        "--tasks", nargs="+", metavar="TASK", help="tasks to run (default: those of the files that are given)"
    )
    p.add_argument(
        "--model_args",
        nargs="+",
        metavar="NAME=VALUE",
        help="path=FILE, threads=N and arithmetic=NAME of the model (default: the bundled model, one thread)",
    )


def lm_eval(args: argparse.Namespace) -> int:
    """Run lm-evaluation-harness with a packed model.

    All options that are not listed here go to lm_eval itself; `cpu1 lm-eval run --help` shows them.
    """
    from lm_eval.__main__ import cli_evaluate

    from cpu1.evaluation.language.harness import model, sources

    if not (args.rest or args.tasks) and not any(vars(args)[key] for key in sources.FILES):
        raise UserError("nothing to evaluate: give --blimp, --lambada, --endings or --text with a file, or --tasks")
    for path in (vars(args)[key] for key in sources.FILES):
        if path and not path.is_file():  # the harness reads all its tasks first, which takes long
            raise UserError(f"{path}: no such file")
    logging.getLogger("lm_eval.api.task").addFilter(lambda record: CUSTOM not in str(record.msg))
    sys.argv = ["lm-eval", *_words(args, sources.FILES, sources.TASKS, model.NAME)]
    cli_evaluate()
    return 0


def _words(args: argparse.Namespace, files: dict[str, tuple[str, ...]], folder: Path, name: str) -> list[str]:
    """The command line of the harness."""
    rest = list(args.rest)
    command = rest.pop(0) if rest and rest[0] in COMMANDS else "run"
    words = [command, *rest]
    if not {"--include_path", "-h", "--help"} & set(rest):
        words += ["--include_path", str(folder)]
    if args.tasks:
        words += ["--tasks", *args.tasks]
    if command != "run":
        return words
    given = {key: str(path) for key in files if (path := vars(args)[key])}
    if not args.tasks:
        words += ["--tasks", *(task for key in given for task in files[key])] if given else []
    if not {"--model", "-M"} & set(rest):
        words += ["--model", name]
    if args.model_args:
        words += ["--model_args", *args.model_args]
    return [*words, "--metadata", json.dumps(given)] if given else words
