"""The text of docs/cli.md, docs/cli/ and the scripts of `cpu1 completion`, which `docs/update.py` writes.

All of it comes from the parsers of the command line; nothing depends on the width of a terminal or the version of
Python. The scripts are made by shtab, which the package itself does not need.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import shtab

from cpu1.cli import completion, parser
from cpu1.cli.options import SOURCES

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NOTHING = {"zsh": "()"}  # zsh would list an option's name instead of completing it where free text is possible too
NOTE = "<!-- Made by `python docs/update.py`: change the help in src/cpu1/cli/ instead. -->\n\n"
INDEX = """# The command line

{groups}
`cpu1 COMMAND --help` shows the same as these pages.

## The model

Without `-m FILE`, a command uses the file that the environment variable `CPU1_MODEL` names, else the bundled model.

## Values

| value | meaning |
|---|---|
| `RUN` | a model that can be trained, by its number, like `07`; `cpu1 ladder` lists them |
| `FOLDER` | a folder, often that of a trained run, which `cpu1 train` and `cpu1 study` write |
| `FILE` | a file; `-` is standard input or standard output where the help mentions it |
| `SOURCE` | a text: {sources} |
| `SIZE` | a number of bytes: `500k` and `2M` count in thousands, `64Ki` and `1Mi` in powers of two |

## Exit status

| status | meaning |
|--:|---|
| 0 | done |
| 1 | some runs of a study failed |
| 2 | wrong arguments or bad input; one line on standard error names the remedy |
| 130 | interrupted; what was trained is saved |

## Completion

    cpu1 completion bash > ~/.local/share/bash-completion/completions/cpu1

and likewise for [zsh and fish](cli/setup.md).
"""


def files() -> Iterator[tuple[Path, str]]:
    """Every generated file with its text."""
    _, commands = parser.build()
    yield DOCS / "cli.md", index(commands)
    for group in parser.GROUPS:
        pages = [command_section(commands[name]) for name in group.commands]
        yield DOCS / "cli" / f"{group.name}.md", f"{NOTE}# cpu1: {group.title}\n\n" + "\n".join(pages)
    for shell in completion.SHELLS:
        yield completion.script(shell), completion_script(shell)


def index(commands: dict[str, argparse.ArgumentParser]) -> str:
    groups = []
    for group in parser.GROUPS:
        lines = [f"## [{group.title.capitalize()}](cli/{group.name}.md)\n", "| command | |", "|---|---|"]
        for name in group.commands:
            about = parser.summary(commands[name].description or "")
            lines.append(f"| [`{name}`](cli/{group.name}.md#cpu1-{name.replace(' ', '-')}) | {about} |")
        groups.append("\n".join(lines) + "\n")
    return NOTE + INDEX.format(groups="\n".join(groups), sources=SOURCES)


def command_section(command: argparse.ArgumentParser) -> str:
    """A command's help as Markdown: description, usage, examples, arguments."""
    title, _, examples = (command.epilog or "").partition("\n")
    rows = "".join(f"| {names(action)} | {cell(help_text(command, action))} |\n" for action in parser.actions(command))
    return (
        f"## {command.prog}\n\n{command.description}\n\n    {command.usage}\n\n{title.capitalize()}\n\n"
        f"```sh\n{dedent(examples)}\n```\n\n| argument | meaning |\n|---|---|\n{rows}"
    )


def names(action: argparse.Action) -> str:
    """`-m`, `--model FILE`; a choice shows what there is to choose from."""
    value = "" if action.nargs == 0 else f" {parser.value_name(action)}"
    if not action.option_strings:
        return code(value.strip())
    *short, last = action.option_strings
    return ", ".join([*map(code, short), code(last + value)])


def help_text(command: argparse.ArgumentParser, action: argparse.Action) -> str:
    return (action.help or "") % {"default": action.default, "prog": command.prog}


def code(text: str) -> str:
    return f"`{cell(text)}`"


def cell(text: str) -> str:
    return text.replace("|", r"\|")


def completion_script(shell: str) -> str:
    """Completes commands, options, choices, and the names of files for what takes a path."""
    top, commands = parser.build()
    for command in commands.values():
        for action in parser.actions(command):
            if action.type is Path or action.metavar in ("SOURCE", "FILE"):
                kind = shtab.DIRECTORY if action.metavar == "FOLDER" else shtab.FILE
                action.complete = kind  # type: ignore[attr-defined]
            elif not action.option_strings and not action.choices:
                action.complete = NOTHING  # type: ignore[attr-defined]
            action.help = help_text(command, action)
    return shtab.complete(top, shell).rstrip() + "\n"
