"""Where tables are shown: a terminal or a file, of as many columns as figures need."""

from rich.console import Console

LEAST = 80  # columns; a narrower terminal breaks lines, which is better than figures cut off


def open_console() -> Console:
    """A console on standard output that is never too narrow, whatever COLUMNS says."""
    console = Console()
    console.width = max(console.width, LEAST)
    return console


def is_narrow() -> bool:
    """Whether the terminal has fewer columns than are written, so that nothing can be redrawn in place."""
    return Console().width < LEAST
