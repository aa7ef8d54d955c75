"""What the command line says of itself: help, examples, version, pages of the docs, completion."""

import argparse
import ast
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cpu1.cli import completion, main, parser
from cpu1.cli.options import byte_size, count, positive
from cpu1.runtime import engine

ROOT = Path(__file__).parents[2]
_, COMMANDS = parser.build()
ARGUMENTS = [(name, action) for name, command in COMMANDS.items() for action in parser.actions(command)]
NAMES = [f"{name}:{action.option_strings[-1] if action.option_strings else action.dest}" for name, action in ARGUMENTS]
PRIVATE = re.compile(
    r"\b(anew|beside|in place of|so many|so much|at hand|to be had|stands|goes on|gone on|go on|tells|says|found"
    r"|of which|rungs?|lessons?|verbs?)\b"
)
HEAVY = {"torch", "numpy", "safetensors", "rich", "tempfile", "hashlib"}
VALUES = {byte_size: {"SIZE"}, count: {"N", "K", "SECONDS"}, positive: {"N", "K", "SECONDS"},
          Path: {"FILE", "FOLDER", "MODEL", "STUDY"}}  # fmt: skip


def help_of(name: str, action: argparse.Action) -> str:
    return (action.help or "") % {"default": action.default, "prog": COMMANDS[name].prog}


@pytest.mark.parametrize(("name", "action"), ARGUMENTS, ids=NAMES)
def test_every_argument_has_help_for_a_stranger(name, action):
    text = help_of(name, action)
    assert len(text.split()) >= 3
    assert text[0].islower()
    assert not text.endswith(".")
    assert not PRIVATE.search(text)
    if action.option_strings and action.default not in (None, False, [], argparse.SUPPRESS):
        assert "(default: " in text
    if action.nargs != 0 and not action.choices:
        assert re.fullmatch(r"[A-Z].*", action.metavar or ""), "the value has no name"
        assert action.metavar in VALUES.get(action.type, {action.metavar})


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_one_group_with_a_short_summary(name):
    assert [name in group.commands for group in parser.GROUPS].count(True) == 1
    summary = parser.summary(COMMANDS[name].description)
    assert len(summary) <= 64
    assert summary in parser.overview(COMMANDS)


@pytest.mark.parametrize("path", sorted((ROOT / "src/cpu1/cli").rglob("*.py")), ids=lambda path: path.name)
def test_messages_are_plain_english(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not PRIVATE.search(node.value), f"line {node.lineno}"


def examples() -> list[str]:
    lines = [line.strip() for command in COMMANDS.values() for line in (command.epilog or "").splitlines()]
    return [line for line in lines if line.startswith("cpu1 ")]


@pytest.mark.parametrize("line", sorted(set(examples())))
def test_every_example_parses(line):
    words = shlex.split(re.split(r" [<>|] ", line)[0])
    top, _ = parser.build()
    args = top.parse_args(words[1:])
    assert args.parser.prog in (" ".join(words[:2]), " ".join(words[:3]))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_shown_with_examples(name, capsys, monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        main([*name.split(), "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: cpu1 {name}")
    assert f"examples:\n  cpu1 {name}" in printed
    for action in parser.actions(COMMANDS[name]):
        assert (action.option_strings[-1] if action.option_strings else action.metavar) in printed


def test_without_a_command_the_groups_are_shown(capsys):
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == error
    for group in parser.GROUPS:
        assert f"\n{group.title}:\n  {group.commands[0]} " in error


@pytest.mark.parametrize(
    ("word", "message"), [("generat", "did you mean generate?"), ("heldout", "did you mean held-out?"), ("7", "--help")]
)
def test_an_unknown_command_gets_a_hint(word, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([word])
    assert stopped.value.code == 2
    assert f"no command '{word}'" in (error := capsys.readouterr().err)
    assert message in error


def test_version_names_the_package_and_the_engine(capsys, monkeypatch):
    def said() -> list[str]:
        with pytest.raises(SystemExit) as stopped:
            main(["--version"])
        assert stopped.value.code == 0
        return capsys.readouterr().out.splitlines()

    monkeypatch.delenv("CPU1_ISA", raising=False)
    if engine.available():
        assert f"native engine, instruction set {engine.isas()[0]}" in said()[2]
        monkeypatch.setenv("CPU1_ISA", "portable")
        assert "instruction set portable" in said()[2]
        monkeypatch.setenv("CPU1_ISA", "abacus")
        assert "CPU1_ISA=abacus is not one of" in said()[2]
    monkeypatch.setattr(engine, "available", lambda: False)
    version, python, native, model = said()
    assert re.fullmatch(r"cpu1 \d+\.\d+\.\d+\S*", version)
    assert python.startswith("Python 3.")
    assert native.startswith("no native engine")
    assert re.fullmatch(r"default model [0-9a-f]{16}, \d+\.\d MB", model)
    monkeypatch.setenv("CPU1_MODEL", "no-such-file")
    assert said()[3].startswith("no default model")


def test_the_parsers_import_nothing_heavy():
    code = "import sys; from cpu1.cli import parser; parser.build(); print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.decode().split())
    assert not loaded & HEAVY


# -------------------------------------------------------------------------------------- completion

BASH = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_shtab_cpu1 cpu1 "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
FISH = "source {script}; complete -C '{line}'"
CASES = [
    ("cpu1 gene", {"generate"}),
    ("cpu1 generate --temp", {"--temperature"}),
    ("cpu1 train 07 --scale n", {"nano"}),
    ("cpu1 completion z", {"zsh"}),
    ("cpu1 messages de", {"decode"}),
    ("cpu1 messages encode --adap", {"--adapter"}),
    ("cpu1 score -m mod", {"model.cpu1"}),
    ("cpu1 score tex", {"text.txt"}),
]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_completion_prints_the_script(shell, capsys):
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == completion.script(shell).read_text()
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(completion.script(shell))], check=True)


@pytest.mark.parametrize(("line", "expected"), CASES)
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_shell_completes(shell, line, expected, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    for name in ("model.cpu1", "text.txt"):
        (tmp_path / name).touch()
    template = BASH if shell == "bash" else FISH
    code = template.format(script=completion.script(shell), words=line, line=line)
    done = subprocess.run([shell, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    assert {row.split("\t")[0] for row in done.stdout.decode().splitlines()} == expected
