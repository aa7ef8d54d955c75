"""The parser of the command line: commands in groups, each with its own parser and examples."""

import argparse
import os
import textwrap
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

from cpu1.cli import (
    adapting,
    archives,
    completing,
    completion,
    harness,
    judging,
    language,
    messages,
    models,
    publishing,
    reports,
    runs,
    serving,
    studies,
    teach,
    texts,
    training,
)

USAGE = "cpu1 COMMAND [options]"
LEAST = 40  # columns that a help needs
VERSION_HELP = "show the version, the instruction set in use and the default model"
ABOUT = "Byte-level language models that run on CPUs, and the tools that train and compare them."
START = """start here:
  cpu1 generate "Once upon a time"
  cpu1 COMMAND --help"""


class Group(NamedTuple):
    """Commands under one heading of the help, and on one page of docs/cli/."""

    name: str
    title: str
    commands: tuple[str, ...]


FAMILIES = {"messages": "Code short messages in few bytes, for narrow links."}  # commands of two words, by the first
MESSAGES = tuple(f"messages {action}" for action in messages.ACTIONS)
TEXTS = ("generate", "complete", "score", "judge", "serve", "learn", "adapt", "compress", "decompress")
USE = (*TEXTS, "check", "lm-eval", "bench")
GROUPS = (
    Group("use", "use a model", USE),
    Group("messages", "send short messages", MESSAGES),
    Group("train", "train a model", ("train", "eval", "pack", "unpack", "data", "mix", "teach")),
    Group("study", "compare models", ("ladder", "study", "sweep", "held-out", "compare", "report", "gather")),
    Group("publish", "publish models", ("publish", "checkpoints")),
    Group("setup", "set up", ("completion",)),
)
MODULES = (
    models,
    completing,
    judging,
    serving,
    adapting,
    archives,
    messages,
    language,
    harness,
    training,
    runs,
    texts,
    teach,
    studies,
    reports,
    publishing,
    completion,
)


class TopParser(argparse.ArgumentParser):
    """The parser of `cpu1`, whose help is written by `overview`: argparse cannot show commands in groups."""

    overview = ""

    def format_help(self) -> str:
        """The overview of all commands, in groups."""
        return self.overview


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps words with hyphens whole, and the lines of a description as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=columns() - 2)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


@cache
def columns() -> int:
    """The width of the terminal, from 40 to 100. argparse would import shutil for it, which takes milliseconds."""
    try:
        width = int(os.environ.get("COLUMNS", 0)) or os.get_terminal_size(1).columns
    except (ValueError, OSError):
        width = 0
    return min(max(width, LEAST) if width > 0 else 80, 100)


class Version(argparse.Action):
    """Prints what is installed, and exits."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from cpu1.cli.version import installed

        print(installed())
        parser.exit()


def build() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of `cpu1`, and those of its commands by name, which has one word or two."""
    top = TopParser(prog="cpu1", usage=USAGE, formatter_class=Formatter)
    top.add_argument("--version", action=Version, help=VERSION_HELP)
    commands = top.add_subparsers(required=True, metavar="COMMAND", prog="cpu1", parser_class=argparse.ArgumentParser)

    found: dict[str, argparse.ArgumentParser] = {}
    families = {
        name: commands.add_parser(name, help=summary(about), description=about, formatter_class=Formatter)
        for name, about in FAMILIES.items()
    }
    within = {
        name: family.add_subparsers(required=True, metavar="ACTION", prog=f"cpu1 {name}")
        for name, family in families.items()
    }

    def command(function: Callable[[argparse.Namespace], int], name: str, *examples: str) -> argparse.ArgumentParser:
        family, _, word = name.rpartition(" ")
        added = (within[family] if family else commands).add_parser(
            word,
            help=summary(function.__doc__ or ""),
            description=unindented(function.__doc__ or ""),
            epilog="\n".join(["examples:", *(f"  cpu1 {example}" for example in examples)]),
            formatter_class=Formatter,
        )
        added.set_defaults(command=function, parser=added)
        found[name] = added
        return added

    for module in MODULES:
        module.add(command)
    for added in found.values():
        added.usage = usage(added)
    top.overview = overview(found)
    return top, found


def overview(commands: Mapping[str, argparse.ArgumentParser]) -> str:
    """The help of `cpu1` itself."""
    lines = [f"usage: {USAGE}", "", ABOUT, ""]
    for group in GROUPS:
        about = [(name, summary(commands[name].description or "")) for name in group.commands]
        lines += [f"{group.title}:", *(f"  {name:<17}{text}" for name, text in about), ""]
    options = [("-h, --help", "show this help, or that of a command"), ("--version", VERSION_HELP)]
    lines += ["options:", *(f"  {name:<17}{text}" for name, text in options), "", START, ""]
    return "\n".join(lines)


def summary(doc: str) -> str:
    """The first line of a docstring as a phrase for a list."""
    first = doc.splitlines()[0].rstrip(".")
    return first[:1].lower() + first[1:]


def unindented(doc: str) -> str:
    """A docstring without indentation, each line stripped."""
    return "\n".join(line.strip() for line in doc.strip().splitlines())


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Positional arguments and options of a command, in the order of its help, --help left out."""
    return [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]


def value_name(action: argparse.Action) -> str:
    """What the help calls an argument's value."""
    return str(action.metavar or "|".join(map(str, action.choices or ())))


def usage(parser: argparse.ArgumentParser) -> str:
    """One line: positional arguments and required options by name, all others as [options]."""
    words = [parser.prog]
    for action in actions(parser):
        if not action.option_strings:
            shape = {"?": "[{}]", "*": "[{} ...]"}.get(str(action.nargs), "{}")
            words.append(shape.format(value_name(action)))
        elif action.required:
            words.append(f"{action.option_strings[0]} {value_name(action)}")
    return " ".join([*words, "[options]"])
