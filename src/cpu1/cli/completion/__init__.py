"""The command that prints a script for the completion of a shell. The scripts are made by docs/update.py."""

import argparse
from pathlib import Path

from cpu1.cli.options import Command

FOLDER = Path(__file__).parent
SHELLS = ("bash", "zsh", "fish")


def add(command: Command) -> None:
    """Adds the command `completion`."""
    p = command(
        completion,
        "completion",
        "completion bash > ~/.local/share/bash-completion/completions/cpu1",
        "completion zsh > ~/.zfunc/_cpu1",
        "completion fish > ~/.config/fish/completions/cpu1.fish",
    )
    p.add_argument("shell", choices=SHELLS, metavar="SHELL", help="name of the shell: bash, zsh or fish")


def completion(args: argparse.Namespace) -> int:
    """Print a script that completes commands and options in a shell.

    Save it in a folder that the shell reads, as in the examples, and open a new shell. For zsh, ~/.zshrc needs
    `fpath+=~/.zfunc` before `compinit`.
    """
    print(script(args.shell).read_text(encoding="utf-8"), end="")
    return 0


def script(shell: str) -> Path:
    """The file of a shell's script."""
    return FOLDER / f"cpu1.{shell}"
