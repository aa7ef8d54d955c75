"""What is handed on: whole folders that say what was measured, load as what they are, and overwrite nothing else."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.text import write_text

import cpu1
from cpu1.cli import main
from cpu1.errors import UserError
from cpu1.files import read_json, write_json
from cpu1.publishing import checkpoints, folder
from cpu1.publishing.facts import Terms, read_facts
from cpu1.publishing.model_card import model_card
from cpu1.records import to_json
from cpu1.runs.result import Documents, HeldOut, Scored, Speed
from cpu1.runs.trained import load
from cpu1.training.job import Job, train


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A byte run and a BPE run, barely trained."""
    place = tmp_path_factory.mktemp("runs")
    text = write_text(place)
    for run in ("07", "13"):
        train(Job(run=run, folder=place / run, scale="demo", data=str(text), threads=1, eval_bytes=2000,
                  overrides=(("steps", 3), ("batch", 2), ("window", 64))))  # fmt: skip
    write_json(place / "07" / "speed.json", to_json(Speed(3086.4, 12345.6, "patch")))
    return place


@pytest.mark.parametrize("run", ["07", "13"])
def test_a_published_folder_is_a_run_folder_and_a_packed_model(runs, tmp_path, run):
    to = tmp_path / "deep" / "model"
    assert main(["publish", str(runs / run), "--to", str(to)]) == 0
    assert {path.name for path in to.iterdir()} == folder.FILES - ({"tokenizer.json"} if run == "07" else set())
    ours, theirs = load(runs / run), load(to)
    assert all((a == b).all() for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True))
    wanted = cpu1.load(runs / run / "model.cpu1").generate("The ", max_bytes=40)
    assert cpu1.load(to / "model.cpu1").generate("The ", max_bytes=40) == wanted
    about = read_json(to / "config.json")
    assert (about["model_type"], about["recipe"]) == ("cpu1", read_json(runs / run / "recipe.json"))
    assert about["vocab_size"] == (257 if run == "07" else 512)
    assert main(["eval", str(to), "--data", str(runs / "topics.txt"), "--max-bytes", "500"]) == 0


def test_no_path_of_this_machine_is_published(runs, tmp_path):
    folder.publish(runs / "07", tmp_path / "model")
    for path in (tmp_path / "model").glob("*"):
        assert str(runs).encode() not in path.read_bytes(), path.name


def test_the_card_names_the_teacher(runs):
    facts = read_facts(runs / "07")
    for taught, said in (
        ({"teacher": "abc123"}, "a byte-level run whose weights begin with SHA-256 abc123"),
        ({"teacher_cache": "def456", "alpha": 0.8},
         "what `cpu1 teach` kept of one (cache def456), 0.8 of the loss, at temperature 1"),
    ):  # fmt: skip
        known = replace(facts, settings=replace(facts.settings, **taught))
        assert f"| teacher | {said} |" in model_card(known, Terms(), "model.cpu1", 1, "int8", unpacked=False)
    assert "| teacher |" not in model_card(facts, Terms(), "model.cpu1", 1, "int8", unpacked=False)


def test_the_card_says_what_was_measured(runs):
    facts, terms = read_facts(runs / "07"), Terms(language=("en",), datasets=("a/b",), about_text="Topics of Python.")
    card = model_card(facts, terms, "model.cpu1", 123456, "int8", unpacked=True)
    result = facts.result
    for part in (
        f"{result.bpb:.3f} [",
        f"{result.params:,}",
        f"{result.bytes_seen:,} bytes of text",
        facts.settings.data_sha256,
        *("12,346 bytes", "123,456 bytes", "Topics of Python.", "2 windows of 64 bytes"),
        *("patches deleted", "## Limits", "## Licence", "in 8 bits"),
    ):
        assert part in card
    assert "LAMBADA" not in card
    assert "not measured" in model_card(read_facts(runs / "13"), terms, "model.cpu1", 1, "int8", unpacked=False)


def test_other_texts_and_checks_of_language_are_on_the_card(runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "07", run)
    corpus = Scored("wiki", "0" * 64, "all", documents=2, bytes=100, context=64)
    wiki = HeldOut(corpus, 2.164, Documents(bytes=(50, 50), nats=(70.0, 80.0)))
    write_json(run / "held-out.json", to_json({"wiki": wiki}))
    (tmp_path / "pairs.jsonl").write_text('{"uid": "passive_1", "good": "a b c", "bad": "a b d"}\n')
    (tmp_path / "passages.jsonl").write_text('{"text": "of the old man"}\n')
    checks = ["--blimp", str(tmp_path / "pairs.jsonl"), "--lambada", str(tmp_path / "passages.jsonl"), "--bytes", "1k",
              "--words", str(runs / "topics.txt"), "--held-out", str(runs / "topics.txt")]  # fmt: skip
    assert main(["check", "-m", str(run / "model.cpu1"), *checks, "--out", str(run / "language.json")]) == 0
    card = model_card(read_facts(run), Terms(), "model.cpu1", 1, "int8", unpacked=False)
    for part in ("bits per byte of wiki, 95% | 2.164 [2.0", "100 bytes", "of 1 pairs", "LAMBADA, greedy | 0.0%",
                 "at temperature 0.8; of held-out text 100.0%"):  # fmt: skip
        assert part in card
    write_json(run / "language.json", {"blimp": {"accuracy": 1}})
    with pytest.raises(UserError, match=r"language\.json: not what `cpu1 check` writes"):
        model_card(read_facts(run), Terms(), "model.cpu1", 1, "int8", unpacked=False)
    write_json(run / "language.json", [])
    with pytest.raises(UserError, match=r"language\.json: the whole is \[\], should be an object"):
        read_facts(run)
    write_json(run / "held-out.json", {"wiki": {"bpb": 1}})
    with pytest.raises(UserError, match=r'held-out\.json: "wiki.corpus" is missing'):
        read_facts(run)


@pytest.mark.parametrize("name", ["a|b", "<b>bold</b>", "[x](http://y)", "`code`", "two\nlines", "*star*"])
def test_names_of_texts_are_no_markup_on_the_card(runs, name):
    facts = read_facts(runs / "07")
    facts = replace(facts, settings=replace(facts.settings, data=name))
    card = model_card(facts, Terms(), "model.cpu1", 1, "int8", unpacked=False)
    row = next(line for line in card.splitlines() if line.startswith("| text |"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert not re.search(r"(?<!\\)[<>`*\[\]]", row)


def test_the_front_matter_is_that_of_the_hub(runs):
    yaml = pytest.importorskip("yaml")
    facts = read_facts(runs / "07")
    corpus = replace(facts.result.corpus, name='odd: "name" # here')
    settings = replace(facts.settings, data_source="hf:someone/texts:train")
    facts = replace(facts, settings=settings, result=replace(facts.result, corpus=corpus))
    card = model_card(facts, Terms("mit", ("en", "es"), ("a/b",)), "model.cpu1", 1, "int8", unpacked=True)
    _, front, rest = card.split("---\n", 2)
    found = yaml.safe_load(front)
    assert rest.startswith("\n# CPU-1 run_07")
    assert (found["license"], found["language"], found["datasets"]) == ("mit", ["en", "es"], ["a/b", "someone/texts"])
    assert {"ternary", "byte-level"} <= set(found["tags"])
    measured = found["model-index"][0]["results"][0]
    assert measured["dataset"]["type"] == 'odd: "name" # here'
    assert measured["metrics"][0]["value"] == pytest.approx(facts.result.bpb, abs=1e-4)


def test_an_earlier_folder_is_replaced_and_no_other(runs, tmp_path, capsys):
    to = tmp_path / "model"
    to.mkdir()
    folder.publish(runs / "13", to)  # an empty folder is no obstacle
    folder.publish(runs / "07", to)
    assert not (to / "tokenizer.json").exists()
    assert read_json(to / "result.json")["run"] == "07"
    (to / "notes.txt").write_text("mine")
    before = sorted(path.name for path in to.iterdir())
    assert main(["publish", str(runs / "13"), "--to", str(to)]) == 2
    assert "holds something else (notes.txt)" in capsys.readouterr().err
    assert sorted(path.name for path in to.iterdir()) == before
    for other in (runs / "07", runs / "topics.txt"):
        with pytest.raises(UserError, match=r"is what is read here|is a file"):
            folder.publish(runs / "07", other)
    assert list(tmp_path.iterdir()) == [to]


@pytest.mark.parametrize("git", [".git", ".gitattributes", ".gitignore"])
def test_a_git_clone_keeps_what_is_gits(runs, tmp_path, git):
    to = tmp_path / "clone"
    to.mkdir()
    (to / git).write_text("git's")
    for run in ("13", "07"):
        folder.publish(runs / run, to)
    assert not (to / "tokenizer.json").exists()
    assert read_json(to / "result.json")["run"] == "07"
    assert (to / git).read_text() == "git's"
    assert {path.name for path in to.iterdir()} - {git} <= folder.FILES
    (to / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="something else"):
        folder.publish(runs / "07", to)


def test_what_fails_leaves_the_earlier_folder(runs, tmp_path):
    to, broken = tmp_path / "model", tmp_path / "broken"
    folder.publish(runs / "07", to)
    shutil.copytree(runs / "07", broken)
    (broken / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged"):
        folder.publish(broken, to)
    assert load(to).recipe == load(runs / "07").recipe
    assert sorted(tmp_path.iterdir()) == [broken, to]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "result.json").unlink(), "only a finished run"),
        (lambda run: (run / "env.json").unlink(), "no env.json"),
        (lambda run: write_json(run / "result.json", {"run": "07"}), '"format" is missing'),
        (lambda run: write_json(run / "settings.json", []), "should be an object"),
        (lambda run: (run / "model.safetensors").unlink(), "no model.safetensors"),
    ],
)
def test_folders_that_are_no_finished_run(runs, tmp_path, capsys, damage, message):
    shutil.copytree(runs / "07", tmp_path / "run")
    damage(tmp_path / "run")
    assert main(["publish", str(tmp_path / "run"), "--to", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class FakeRepository(str):
    """Like the library's RepoUrl: an address that knows its name."""

    @property
    def repo_id(self) -> str:
        return str(self)


class FakeHub:
    """Stands for huggingface_hub: keeps what would be uploaded."""

    def __init__(self) -> None:
        self.made: list[tuple[str, bool]] = []
        self.files: dict[str, bytes] = {}
        self.refuses = False

    def HfApi(self):
        return self

    def create_repo(self, name, private, exist_ok):
        if self.refuses:
            raise PermissionError("not logged in")
        self.made.append((name, private))
        return FakeRepository(f"me/{name}")

    def upload_folder(self, repo_id, folder_path, commit_message):
        self.files = {f"{repo_id}/{path.name}": path.read_bytes() for path in folder_path.iterdir()}


def test_upload(runs, capsys, monkeypatch):
    hub = FakeHub()
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert main(["publish", str(runs / "07"), "--to", "hub:small", "--private"]) == 0
    assert hub.made == [("small", True)]
    assert capsys.readouterr().out == "me/small\n"
    assert {name.removeprefix("me/small/") for name in hub.files} == folder.FILES - {"tokenizer.json"}
    hub.refuses = True
    assert main(["publish", str(runs / "07"), "--to", "hub:small"]) == 2
    assert "PermissionError: not logged in" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["publish", str(runs / "07"), "--to", "hub:small"]) == 2
    assert "pip install 'cpu1[hub]'" in capsys.readouterr().err
    for words in (
        ["--to", "hub:a/b/c"],
        ["--to", "hub:"],
        ["--to", "x", "--private"],
        ["--to", "x", "--language", "?"],
    ):
        assert main(["publish", str(runs / "07"), *words]) == 2


def test_checkpoints_are_models_with_cards_and_an_index(runs, tmp_path, capsys):
    to = tmp_path / "checkpoints"
    words = ["checkpoints", str(runs / "07"), str(runs / "13"), "--default", str(runs / "07"), "--to", str(to)]
    assert main(words) == 0
    names = ["default", "13-demo-r1-s0"]
    assert {p.name for p in to.iterdir()} == {"README.md", "index.json"} | {
        n + e for n in names for e in (".cpu1", ".md")
    }
    index = json.loads((to / "index.json").read_text())["models"]
    assert [model["file"] for model in index] == [f"{name}.cpu1" for name in names]
    for model in index:
        assert model["bytes"] == (to / model["file"]).stat().st_size
        assert cpu1.load(to / model["file"]).about["run"]["run"] == model["run"]
    assert (to / "default.md").read_text().count("default.cpu1") >= 3
    assert "[13-demo-r1-s0.cpu1](13-demo-r1-s0.md)" in (to / "README.md").read_text()

    assert main([*words[:1], *words[3:]]) == 0  # again, with one model: the folder is replaced
    assert {p.name for p in to.iterdir()} == {"README.md", "index.json", "default.cpu1", "default.md"}
    (to / "mine.cpu1").write_bytes(b"")
    assert main(words) == 2
    assert "holds something else (mine.cpu1)" in capsys.readouterr().err


def test_a_model_joins_the_others_or_replaces_its_namesake(runs, tmp_path, capsys):
    to = tmp_path / "checkpoints"
    assert main(["checkpoints", str(runs / "07"), "--add", "--to", str(to)]) == 2
    assert "no models to add one to" in capsys.readouterr().err
    assert not to.exists()
    assert main(["checkpoints", "--default", str(runs / "07"), "--to", str(to)]) == 0
    default = (to / "default.cpu1").read_bytes()
    for run in "13", "07":
        assert main(["checkpoints", str(runs / run), "--add", "--name", "tiny", "--to", str(to)]) == 0
        index = json.loads((to / "index.json").read_text())["models"]
        assert [(model["file"], model["run"]) for model in index] == [("default.cpu1", "07"), ("tiny.cpu1", run)]
        assert cpu1.load(to / "tiny.cpu1").about["run"]["run"] == run
        assert "[tiny.cpu1](tiny.md)" in (to / "README.md").read_text()
        assert (to / "default.cpu1").read_bytes() == default
        assert (to / "tiny.md").read_text().count("tiny.cpu1") >= 3

    before = {path.name: path.read_bytes() for path in to.iterdir()}
    tiny = [str(runs / "13"), "--add", "--name", "tiny"]
    for words, why in [
        ([str(runs / "13"), "--add", "--name", "../tiny"], "not the name of a file"),
        (["--add"], "name one run's folder, not 0"),
        ([str(runs / "13"), "--name", "tiny", "--default", str(runs / "07")], "--name is for --add"),
    ]:
        assert main(["checkpoints", *words, "--to", str(to)]) == 2
        assert why in capsys.readouterr().err
    index = {"kind": "cpu1 checkpoints", "models": [{"file": "default.cpu1"}, {"file": "tiny.cpu1"}]}
    (to / "index.json").write_text(json.dumps(index))
    assert main(["checkpoints", *tiny, "--to", str(to)]) == 2
    assert "index.json: changed, or of an earlier version" in capsys.readouterr().err
    before.pop("index.json")
    assert before == {path.name: path.read_bytes() for path in to.iterdir() if path.name != "index.json"}


def test_the_folder_of_this_project_is_as_its_index_says():
    folder = Path(__file__).parents[2] / "checkpoints"
    entries = json.loads((folder / "index.json").read_text())["models"]
    assert {entry["file"] for entry in entries} == {path.name for path in folder.glob("*.cpu1")}
    for entry in entries:
        assert (folder / entry["file"]).stat().st_size == entry["bytes"]
        assert checkpoints._row(entry) in (folder / "README.md").read_text()


def test_checkpoints_that_are_refused(runs, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="both 07-demo"):
        checkpoints.build(runs / "13", [runs / "07", runs / "07"], tmp_path / "x")
    monkeypatch.setattr(checkpoints, "LARGEST", 1000)
    with pytest.raises(UserError, match="leave some out"):
        checkpoints.build(runs / "07", [], tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
