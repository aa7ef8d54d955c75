"""Checks of language: each figure is what its definition says, and files that are not what they should be are named."""

import json
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.bare import WITHOUT_LAB
from helpers.packing import packed_run

from cpu1.cli import main
from cpu1.errors import UserError
from cpu1.evaluation.language import blimp, lambada
from cpu1.evaluation.language import vocabulary as words
from cpu1.evaluation.language.work import in_blocks
from cpu1.evaluation.statistics import share_interval
from cpu1.runtime import engine
from cpu1.runtime.model import Model

PAIRS = [
    ("wh_island", "Who has Anna seen?", "Who Anna has seen?"),
    ("wh_island", "What did he do then and there?", "What did he do then and where?"),
    ("passive_1", "Some cake was eaten.", "Some cake was slept."),
    ("mine", "The same.", "The same."),
    ("mine", "A", "A longer one that begins like the other."),
]
PASSAGES = ["He saw the old man and the\n\nsea", "To be or not to be, that is the question  "]


@pytest.fixture(scope="module", params=["07", "01", "02a"])
def model(request, tmp_path_factory):
    """A byte model, a BPE model, and one of attention; random weights."""
    return Model(packed_run(request.param, tmp_path_factory.mktemp("packed")).path)


@pytest.fixture(scope="module")
def bytes_model(tmp_path_factory):
    return Model(packed_run("07", tmp_path_factory.mktemp("packed")).path)


@pytest.fixture
def files(tmp_path):
    """The three files of a check."""
    rows = [{"uid": uid, "good": good, "bad": bad} for uid, good, bad in PAIRS]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (tmp_path / "passages.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in PASSAGES))
    (tmp_path / "train.txt").write_text("It was one\n\f\nof the oldest. Don't!")
    return tmp_path


@pytest.mark.parametrize("native", [True, False])
def test_a_pair_is_right_when_the_good_sentence_costs_less(model, native, monkeypatch):
    if not native:
        monkeypatch.setattr(engine, "available", lambda: False)
        model = Model(model.path)
    pairs = [blimp.Pair(uid, good.encode(), bad.encode()) for uid, good, bad in PAIRS]
    if not native:
        pairs = pairs[2:4]
    wanted = [bool(model.score(pair.good).sum() < model.score(pair.bad).sum()) for pair in pairs]
    assert blimp.judge(model, pairs) == wanted
    swapped = [blimp.Pair(pair.uid, pair.bad, pair.good) for pair in pairs]
    equal = [pair.good == pair.bad for pair in pairs]
    assert blimp.judge(model, swapped) == [not (right or same) for right, same in zip(wanted, equal, strict=True)]


def test_accuracy_by_phenomenon(model):
    pairs = [blimp.Pair(uid, good.encode(), bad.encode()) for uid, good, bad in PAIRS]
    found = blimp.check(model, pairs * 50, threads=2)
    right = blimp.judge(model, pairs)
    assert set(found["phenomena"]) == {"island effects", "argument structure", "mine"}
    assert found["phenomena"]["mine"]["accuracy"] == 0.5 * right[4]  # equal costs are wrong
    assert found["phenomena"]["island effects"]["paradigms"] == {"wh_island": sum(right[:2]) / 2}
    assert found["accuracy"] == pytest.approx(sum(right) / 5)
    assert found["pairs"] == 250
    low, high = found["interval"]
    assert low <= found["accuracy"] <= high


def test_blocks_come_in_order_and_an_error_ends_them():
    seen: list[int] = []

    def double(block):
        seen.extend(block)
        time.sleep(0.001)  # other threads get their turn
        if 5 in block:
            raise UserError("five")
        return [2 * item for item in block]

    told: list[tuple[int, int]] = []
    assert list(in_blocks(double, range(5), 2, lambda *at: told.append(at), size=2)) == [0, 2, 4, 6, 8]
    assert told == [(2, 5), (4, 5), (5, 5)]
    seen.clear()
    with pytest.raises(UserError, match="five"):
        list(in_blocks(double, range(1000), 1, None, size=2))
    assert len(seen) < 1000  # what had not begun was left


def test_the_phenomena_are_twelve_of_67_paradigms():
    assert len(blimp.PHENOMENA) == 12
    assert len(blimp.PHENOMENON) == sum(len(uids.split()) for uids in blimp.PHENOMENA.values()) == 67


def test_wilson_interval():
    """The values of Brown, Cai and DasGupta's formula (2001) worked by hand, and the edges."""
    assert share_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert share_interval(0, 10)[0] == 0
    assert share_interval(10, 10)[1] == 1
    with pytest.raises(ValueError, match="share"):
        share_interval(0, 0)


class Scripted:
    """Stands for a model that writes one text, whatever it has read; a unit is a byte."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def units(self):
        return SimpleNamespace(
            state=b"",
            advance=lambda units: None,
            score=lambda units: np.full(len(units), np.log(2)),
            generate=lambda count, sampler: np.frombuffer(self.text[:count], np.uint8),
        )

    def encode(self, text: bytes):
        return np.frombuffer(text, np.uint8)

    def decode(self, units) -> bytes:
        return units.tobytes()


@pytest.mark.parametrize(
    ("written", "begun", "right"),
    [(" sea.", True, True), (" sea\n", True, True), (" sea", True, True), (" seas", True, False),
     (" sea's", True, False), (" sea\xc3", True, False), (" se", False, False), ("sea", False, False)],
)  # fmt: skip
def test_a_last_word_is_right_when_it_is_written_and_ends(written, begun, right):
    answer = lambada.answer(Scripted(written.encode("latin-1")), [lambada.Passage(b"the", b" sea")])[0]
    assert (answer.begun, answer.right, answer.bits) == (begun, right, 4.0)


def test_last_words_cost_what_the_model_says(model, files):
    passages = lambada.read_passages(files / "passages.jsonl")
    assert [p.target for p in passages] == [b"\n\nsea", b" question"]
    bits = [model.score(p.context + p.target)[-len(p.target) :].sum() for p in passages]
    found = lambada.check(model, passages)
    assert found["bits_per_word"] == pytest.approx(np.mean(bits))
    assert found["perplexity"] == pytest.approx(2 ** np.mean(bits))
    assert found["bits_per_byte"] == pytest.approx(sum(bits) / sum(len(p.target) for p in passages))
    assert found["begun"] == found["accuracy"] == 0  # of random weights


def test_words_are_letters_with_apostrophes_in_one_case():
    assert words.words("Don\u2019t say 'Éa2b' \xff".encode() + b"\xff") == ["don't", "say", "éa", "b", "ÿ"]


def test_only_whole_words_of_a_sample_count():
    assert words._inside(b"ing the man in\nthe hou").split() == [b"the", b"man", b"in", b"the"]
    assert words._inside(b"one") == words._inside(b"one two") .strip() == words._inside(b"") == b""  # fmt: skip


def test_the_share_of_known_words(bytes_model, monkeypatch):
    known = words.vocabulary([b"It was one", b"of the oldest."])
    monkeypatch.setattr(words, "_sample", lambda model, sampling: b"xx It was older. The oldest! yy")
    found = words.check(bytes_model, known, 3000, temperature=0.8)
    assert found["share"] == pytest.approx(4 / 5)
    assert found["unknown"] == ["older"]
    assert (found["samples"], found["words"], found["different_words"]) == (3, 15, 5)
    assert found["interval"] == pytest.approx([0.8, 0.8])
    assert words.share_of_text(known, [b"It was", b"older"]) == {"share": pytest.approx(2 / 3), "words": 3}
    monkeypatch.setattr(words, "_sample", lambda model, sampling: b"12 34 56")
    assert words.check(bytes_model, known, 10, temperature=0.8)["share"] is None
    for texts in ([], [b"12"]):
        with pytest.raises(UserError, match="no word"):
            words.vocabulary(texts)


def test_samples_are_a_function_of_the_seed(bytes_model):
    known = words.vocabulary([b"a i the"])
    one, other = (words.check(bytes_model, known, 2048, 1.0, seed=5, threads=threads) for threads in (1, 2))
    assert one == other
    assert one["bytes"] == 2048


def test_the_verb_prints_a_table_or_json(bytes_model, files, capsys):
    train = str(files / "train.txt")
    verb = ["check", "-m", str(bytes_model.path), "--blimp", str(files / "pairs.jsonl"), "--bytes", "1k",
            "--lambada", str(files / "passages.jsonl"), "--words", train, "--held-out", train]  # fmt: skip
    assert main([*verb, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["blimp"]["pairs"] == 5
    assert found["lambada"]["passages"] == 2
    assert found["words"]["heldout"]["share"] == 1
    assert main([*verb, "--limit", "1"]) == 0
    printed = capsys.readouterr().out
    for part in ("BLiMP", "of 3 pairs", "argument structure", "LAMBADA", "of 1 passages", "perplexity", "held-out"):
        assert part in printed


def test_plain_files_need_no_lab(bytes_model, files):
    verb = ["check", "-m", str(bytes_model.path), "--blimp", str(files / "pairs.jsonl"),
            "--words", str(files / "train.txt"), "--bytes", "1k"]  # fmt: skip
    done = subprocess.run([sys.executable, "-c", WITHOUT_LAB, *verb], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_compressed_files_and_the_names_of_the_original(files):
    import gzip

    rows = [{"UID": uid, "sentence_good": good, "sentence_bad": bad} for uid, good, bad in PAIRS]
    (files / "pairs.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    assert blimp.read_pairs(files / "pairs.jsonl.gz") == blimp.read_pairs(files / "pairs.jsonl")
    assert len(blimp.read_pairs(files / "pairs.jsonl", limit=1)) == 3


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("--blimp", "", "empty"),
        ("--blimp", " \n\n", "empty"),
        ("--blimp", '{"uid": "a", "good": "b", "bad": "c"}\nnot json', "line 2 is not JSON"),
        ("--blimp", '["a"]', "line 1 holds a list"),
        ("--blimp", '{"uid": "a", "good": "b"}', "no 'bad'; there are: uid, good"),
        ("--blimp", '{"uid": "a", "good": 3, "bad": "c"}', "'good' is 3, not text"),
        ("--blimp", '{"uid": "a", "good": "", "bad": "c"}', "'good' is '', not text"),
        ("--lambada", '{"text": "alone"}', "no word before its last"),
        ("--lambada", '{"passage": "a b"}', "no 'text'"),
        ("--lambada", None, "not readable"),
        ("--words", "1 2 3", "no word"),
        ("--words", None, "no such file"),
    ],
)
def test_bad_input_is_one_clear_line(bytes_model, tmp_path, capsys, option, content, message):
    path = tmp_path / ("text.txt" if option == "--words" else "records.jsonl")
    if content is not None:
        path.write_text(content)
    assert main(["check", "-m", str(bytes_model.path), option, str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("cpu1: ")
    assert message in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to check"),
        (["--blimp", "x", "--held-out", "y"], "--words"),
        (["--words", "train.txt", "--temperature", "0"], "temperature 0"),
    ],
)
def test_options_that_do_not_fit(bytes_model, files, capsys, monkeypatch, options, message):
    monkeypatch.chdir(files)
    assert main(["check", "-m", str(bytes_model.path), *options]) == 2
    assert message in capsys.readouterr().err
