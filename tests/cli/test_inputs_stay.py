"""No command writes over what it reads, whatever names and links lead there; it says so before it works."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.jobs import SHORT
from helpers.pages import ROOT
from helpers.study_folders import make_study
from helpers.text import write_text

from cpu1.cli import main
from cpu1.errors import UserError
from cpu1.files import apart
from cpu1.training.job import Job, train

MODEL = ROOT / "checkpoints/04-nano-r2-s0.cpu1"
WAYS: dict[str, Callable[[Path, Path], None]] = {
    "link": lambda file, other: other.symlink_to(file),
    "link beside it": lambda file, other: other.symlink_to(os.path.relpath(file, other.parent)),
    "hard link": lambda file, other: os.link(file, other),
}


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a text, an archive, a model, an adapter, records and a study, in which commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CPU1_CACHE", str(tmp_path.with_name("cache")))
    shutil.copy(MODEL, "m.cpu1")
    Path("t.txt").write_bytes(b"some words of a text\n" * 10)
    Path("pairs.jsonl").write_text('{"uid": "x", "good": "a b", "bad": "b a"}\n')
    Path("folder").mkdir()
    Path("folder/part.txt").write_bytes(b"".join(b"line %d\n" % i for i in range(2000)))
    assert main(["compress", "t.txt", "-m", "m.cpu1", "-o", "t.cpz"]) == 0
    make_study(Path("study"))
    assert main(["gather", "study", "-o", "report.json"]) == 0
    return tmp_path


COMMANDS = {
    "compress onto the text": "compress t.txt -m m.cpu1 -o t.txt",
    "compress onto the model": "compress t.txt -m m.cpu1 -o m.cpu1",
    "decompress onto the archive": "decompress t.cpz -m m.cpu1 -o ./t.cpz",
    "decompress onto the model": "decompress t.cpz -m m.cpu1 -o m.cpu1",
    "learn onto a text": "learn folder/part.txt t.txt -m m.cpu1 -o t.txt",
    "learn onto the model": "learn t.txt -m m.cpu1 -o m.cpu1",
    "adapt onto a text": "adapt folder/part.txt t.txt -m m.cpu1 -o t.txt",
    "adapt onto a text of a folder": "adapt folder -m m.cpu1 -o folder/part.txt",
    "adapt onto the model": "adapt folder/part.txt -m m.cpu1 -o m.cpu1 --minutes 1",
    "mix onto a part": "mix t.txt --part folder/=1 --part t.txt=1 --bytes 8k",
    "mix into a part": "mix folder/part.txt --part folder/=1 --bytes 8k",
    "mix into a glob": "mix folder/part.txt --part folder/*.txt=1 --bytes 8k",
    "gather onto a run's result": "gather study -o study/04-demo-r1-s0/result.json",
    "gather onto the baselines": "gather study -o study/baselines.json",
    "gather onto itself": "gather report.json -o report.json",
    "report beside a file of that name": "report report.json -o .",
    "check onto its records": "check -m m.cpu1 --blimp pairs.jsonl -o pairs.jsonl",
    "check onto its words": "check -m m.cpu1 --words t.txt -o t.txt",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_what_is_read_is_not_written(here: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(here)
    assert main(command.split()) == 2
    assert "is what is read here" in capsys.readouterr().err
    assert content(here) == before


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("compress t.txt -m m.cpu1 -o other", "m.cpu1"),
        ("mix other --part folder/=1 --bytes 8k", "folder/part.txt"),
        ("gather study -o other", "study/04-demo-r1-s0/result.json"),
    ],
)
def test_nor_by_another_name(here: Path, way: str, command: str, file: str) -> None:
    WAYS[way](here / file, here / "other")
    before = content(here)
    assert main(command.split()) == 2
    assert content(here) == before
    (here / "other").unlink()
    assert main(command.split()) == 0


def test_standard_input_is_read_as_well(here: Path) -> None:
    program = [sys.executable, "-c", "import sys; from cpu1.cli import main; sys.exit(main(sys.argv[1:]))"]
    before = content(here)
    for words in ("compress - -o t.txt", "decompress - -o t.cpz", "learn - -o folder/part.txt"):
        with open(words.split()[-1], "rb") as text:
            done = subprocess.run([*program, *words.split(), "-m", "m.cpu1"], stdin=text, capture_output=True)
        assert (done.returncode, b"standard input" in done.stderr) == (2, True)
    assert content(here) == before


def test_a_text_among_the_files_of_a_study(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its report would replace the text that it is about."""
    shutil.copy("folder/part.txt", "study/report.md")
    before = content(here)
    for command in (
        "held-out study --text x=study/report.md",
        "study --runs 04 --scale demo --bytes 9k --data study/report.md --out study",
        "sweep 04 --vary rate=1e-3 --scale demo --bytes 9k --data study/ --out study",
    ):
        assert main(command.split()) == 2
        assert "is what is read here" in capsys.readouterr().err
    assert content(here) == before


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shared = tmp_path_factory.mktemp("run")
    train(Job(run="04", folder=shared / "04-demo-r1-s0", scale="demo", data=str(write_text(shared)),
              cache=shared / "cache", threads=1, overrides=SHORT, eval_bytes=2000))  # fmt: skip
    return shared / "04-demo-r1-s0"


@pytest.mark.parametrize("name", ["model.safetensors", "settings.json", "metrics.jsonl", "result.json"])
def test_a_run_is_not_packed_onto_its_own_files(run: Path, name: str) -> None:
    before = content(run)
    assert main(["pack", str(run), "-o", str(run / name)]) == 2
    assert content(run) == before


def test_a_run_is_packed_beside_its_files(run: Path) -> None:
    before = content(run)
    assert main(["pack", str(run), "-o", str(run / "model.cpu1")]) == 0
    assert content(run) == before


def test_a_run_is_not_published_onto_itself(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to, about = str(tmp_path / "to"), str(tmp_path / "to/README.md")
    assert main(["publish", str(run), "--to", to]) == 0
    before = content(tmp_path)
    for words in (["publish", to, "--to", to], ["publish", str(run), "--to", to, "--about-text", about]):
        assert main(words) == 2
        assert "is what is read here" in capsys.readouterr().err
    assert content(tmp_path) == before


def test_a_text_in_the_folder_of_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(write_text(tmp_path), tmp_path / "run/log.txt")
    (tmp_path / "topics.txt").unlink()
    before = content(tmp_path)
    for data in (tmp_path / "run/log.txt", tmp_path / "run", tmp_path):
        words = ["train", "04", "--scale", "demo", "--bytes", "9k", "--data", str(data), "--out", str(tmp_path / "run")]
        assert main(words) == 2
        assert "is in the folder of the run" in capsys.readouterr().err
    assert content(tmp_path) == before


def test_apart(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "dangling").symlink_to("nowhere")
    apart(tmp_path / "new", [tmp_path / "file"])
    apart(tmp_path / "dangling", [tmp_path / "dangling", tmp_path / "new"])
    apart(Path("a\0b"), [tmp_path / "file", Path("a\0b")])
    apart(Path(os.devnull), [Path(os.devnull)])
    around = tmp_path.parent / tmp_path.name / ".." / tmp_path.name / "file"
    with pytest.raises(UserError, match=r"file: is what is read here \(.*/\.\./"):
        apart(tmp_path / "file", [tmp_path / "new", around])
