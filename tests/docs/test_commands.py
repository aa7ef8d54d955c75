"""The code of docs/: commands that the real parser accepts, and Python that runs."""

import re
import shlex
from itertools import takewhile

import pytest
from helpers.pages import DOCS, README, blocks, name, read

from cpu1.cli.parser import build

PLACEHOLDER = re.compile(r"[A-Z]{2,}[A-Z_]*(\.\w+)?")  # RUN, FILE, MODEL.gguf
ASSIGNMENT = re.compile(r"[A-Z0-9_]+=.*")


def commands(text: str) -> list[list[str]]:
    """The arguments of each `cpu1` in the shell blocks of a page, started by itself or by torchrun."""
    found = []
    indented = re.findall(r"^    (?:\$ )?(cpu1 [^\[\]\n]*)$", text, re.MULTILINE)
    for block in [*blocks(text, "sh"), *indented]:
        for line in block.replace("\\\n", " ").splitlines():
            words = list(takewhile(lambda word: word not in ("<", ">", "|"), shlex.split(line, comments=True)))
            while words and ASSIGNMENT.fullmatch(words[0]):
                words = words[1:]
            if words[:1] == ["torchrun"]:
                words = words[words.index("-m") + 1 :]
            if words[:1] == ["cpu1"]:
                found.append(words[1:])
    return found


LINES = [(name(page), words) for page in (README, *DOCS) for words in commands(read(page))]


@pytest.mark.parametrize(("page", "words"), LINES, ids=[f"{page}: {shlex.join(words)}" for page, words in LINES])
def test_a_command_parses(page, words, capsys):
    if any(PLACEHOLDER.fullmatch(word) for word in words):
        pytest.skip("holds a placeholder")
    try:
        build()[0].parse_args(words)
    except SystemExit:
        pytest.fail(capsys.readouterr().err)


def test_shell_blocks_hold_commands_of_ours():
    """A block of another language is not marked as one of the shell's."""
    starts = ("cpu1 ", "torchrun ", "python bench/", "make ")
    for page in DOCS:
        for block in blocks(read(page), "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                assert re.sub(r"^[A-Z0-9_]+=\S* ", "", line).startswith(starts), f"{name(page)}: {line}"


PYTHON = [(name(page), block) for page in DOCS for block in blocks(read(page), "python")]


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=[page for page, _ in PYTHON])
def test_python_runs(page, block, tmp_path, monkeypatch):
    (tmp_path / "book.txt").write_text("It was the best of times, it was the worst of times.\n")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, page, "exec"), {})
