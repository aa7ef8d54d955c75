"""The cache: what a teacher says is what training reads, whatever interrupts, and nothing else is read for it."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.text import write_text

from cpu1 import device as devices
from cpu1.cli import main
from cpu1.data.corpus import prepare
from cpu1.errors import UserError
from cpu1.model.ingredients.distillation import fixed_projection
from cpu1.teachers import cache as cache_module
from cpu1.teachers import codes as lesson_codes
from cpu1.teachers.cache import Cache, shard_path
from cpu1.teachers.open import open_teacher
from cpu1.teachers.own_run import OwnRun
from cpu1.teachers.pieces import CONTEXT, WORD, cut
from cpu1.teachers.teach import teach
from cpu1.teachers.teacher import Piece
from cpu1.training.job import Job, train

SMALL = 40_000  # bytes a shard, so that there are a few


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    return tmp_path_factory.mktemp("teach")


@pytest.fixture(scope="module")
def corpus(space):
    return prepare(str(write_text(space)), cache=space / "cache")


@pytest.fixture(scope="module")
def run(space, corpus):
    """A trained byte-level run."""
    job = Job(run="02", folder=space / "run", scale="demo", data=str(space / "topics.txt"), cache=space / "cache",
              threads=1, overrides=(("steps", 3), ("batch", 2), ("window", 256)), eval_bytes=2000)  # fmt: skip
    train(job)
    return space / "run"


@pytest.fixture(scope="module")
def whole(space, corpus, run):
    """A cache of several shards."""
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        teach(OwnRun(run), corpus, space / "whole", top_k=8, window=4096)
    return space / "whole"


def small(patch):
    """Shards of SMALL bytes."""
    defaults = cache_module.Manifest.__init__.__defaults__
    patch.setattr(cache_module.Manifest.__init__, "__defaults__", (SMALL, *defaults[1:]))


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 5000), (777, 12_345), (9_999, 10_001)])
def test_pieces_predict_every_byte_once_with_its_context(corpus, start, stop):
    split, window = corpus.splits["train"], 1024
    stop = stop or len(split.stream)
    at = start
    for begin, piece in cut(split, start, stop, window):
        assert begin == at
        at += piece.end - piece.begin
        np.testing.assert_array_equal(piece.text, split.stream[begin - piece.begin :][: len(piece.text)])
        document = np.searchsorted(split.offsets, begin, "right") - 1
        first, after = split.offsets[document : document + 2]
        assert first <= begin - piece.begin
        assert begin - piece.begin + len(piece.text) <= after
        assert piece.begin >= min(window // CONTEXT - WORD, begin - first)
        assert piece.end <= window
        assert len(piece.text) - piece.end <= WORD
    assert at == stop


def test_how_a_byte_is_predicted_does_not_depend_on_where_a_shard_ends(corpus):
    split = corpus.splits["train"]

    def contexts(start, stop):
        return {begin + i: begin - piece.begin for begin, piece in cut(split, start, stop, 512)
                for i in range(piece.end - piece.begin)}  # fmt: skip

    whole = contexts(0, 30_000)
    assert contexts(0, 7_001) | contexts(7_001, 30_000) == whole


def test_a_window_is_what_the_teacher_said(whole, corpus, run):
    """Across the shards' border, in the middle of documents and over their ends."""
    split, teacher, cache = corpus.splits["train"], OwnRun(run), Cache(whole)
    projection = fixed_projection(teacher.width, 128).numpy()
    start, length = SMALL - 1001, 2000
    ids, shares = cache.window(start, length)
    vectors, found = cache.hidden(start, length)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    expected, hidden = np.zeros((length, 256)), {}
    pieces = list(cut(split, start, start + length, min(4096, teacher.window)))
    for i, lesson in teacher.read([piece for _, piece in pieces]):
        place = pieces[i][0] - start
        expected[place : place + len(lesson.probabilities)] = lesson.probabilities
        hidden |= dict(zip((lesson.ends + place).tolist(), lesson.hidden @ projection, strict=True))
    told = np.take_along_axis(expected, ids.astype(np.int64), 1)
    np.testing.assert_allclose(told, -np.sort(-expected, 1)[:, :8], atol=1e-6)
    np.testing.assert_allclose(shares[:, :-1], told, rtol=0.05, atol=1e-4)
    assert sorted({place // 4 for place in hidden}) == np.flatnonzero(found).tolist()
    for place, vector in hidden.items():
        if not any(later in hidden for later in range(place + 1, place // 4 * 4 + 4)):
            assert np.abs(vectors[place // 4] - vector).max() <= np.abs(vector).max() / 250


def test_hidden_states_are_found_on_any_grid_of_patches(whole):
    cache = Cache(whole)
    single, at = cache.hidden(1000, 400, patch=1)
    for offset in range(4):
        vectors, found = cache.hidden(1000 + offset, 80, patch=4)
        for patch in range(20):
            places = np.flatnonzero(at[offset + 4 * patch : offset + 4 * patch + 4])
            assert found[patch] == bool(len(places))
            if len(places):
                np.testing.assert_array_equal(vectors[patch], single[offset + 4 * patch + places[-1]])


def test_reading_beyond_the_stream_is_an_error(whole):
    cache = Cache(whole)
    with pytest.raises(IndexError):
        cache.window(cache.manifest.units - 10, 11)
    with pytest.raises(IndexError):
        cache.hidden(-4, 8)
    with pytest.raises(ValueError, match="no whole number of patches"):
        cache.hidden(0, 10)


def test_quantised_probabilities_keep_what_they_promise():
    random = np.random.default_rng(0)
    logits = random.normal(0, 1, (2000, 256)) * random.uniform(0.1, 12, (2000, 1))
    exact = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    ids, codes = lesson_codes.encode(exact.astype(np.float32), 8)
    read = lesson_codes.decode(codes)
    told = np.take_along_axis(exact, ids.astype(np.int64), 1)
    kept = np.concatenate((told, 1 - told.sum(1, keepdims=True)), 1)
    above = kept > 1e-4
    assert np.abs(np.log2(read[above] / kept[above])).max() < 2.1 / 32  # half a step, and half of one by the sum
    assert read[~above].max() < 1.1e-4
    divergence = (kept * np.log(np.maximum(kept, 1e-30) / np.maximum(read, 1e-6))).sum(1)
    assert divergence.mean() < 1.5e-4


def test_certainty_and_zero_vectors_survive():
    certain = np.eye(256, dtype=np.float32)[[65]]
    ids, codes = lesson_codes.encode(certain, 4)
    assert ids[0, 0] == 65
    assert lesson_codes.decode(codes)[0].tolist() == [1, 0, 0, 0, 0]
    integers, scales = lesson_codes.encode_vectors(np.zeros((2, 5), np.float32))
    assert not integers.any()
    assert np.isfinite(scales).all()


def test_an_interrupted_cache_goes_on_and_ends_the_same(whole, corpus, run, tmp_path, monkeypatch):
    small(monkeypatch)

    def stop(done, _):
        if done > SMALL * 1.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teach(OwnRun(run), corpus, tmp_path, top_k=8, window=4096, progress=stop)
    with pytest.raises(UserError, match="unfinished"):
        Cache(tmp_path)
    kept = files(tmp_path)
    assert len(kept) == 2
    again = teach(OwnRun(run), corpus, tmp_path, top_k=8, window=4096)
    assert again.bytes == len(corpus.splits["train"].stream) - SMALL
    assert files(tmp_path) == files(whole)
    done = teach(OwnRun(run), corpus, tmp_path, top_k=8, window=4096)
    assert (done.bytes, done.bpb) == (0, None)
    assert done.size == sum(len(data) for name, data in files(whole).items() if name != "cache.json")


KILLED = """
import os, signal, sys
from cpu1 import files
from cpu1.cli import main

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

replace, seen = os.replace, []
def second(source, target):
    seen.append(target)
    die() if str(target).endswith("00000.safetensors") else replace(source, target)

os.replace = second
main(sys.argv[1:])
"""


def test_kill_9_before_a_rename_leaves_no_shard(space, corpus, run, tmp_path):
    words = ["teach", "--teacher", str(run), "--data", str(space / "topics.txt"), "-o", str(tmp_path / "c"), "--quiet"]
    environment = os.environ | {"CPU1_CACHE": str(space / "cache"), "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(files(tmp_path / "c")) == ["cache.json"]
    subprocess.run([sys.executable, "-m", "cpu1", *words], env=environment, check=True)
    Cache(tmp_path / "c").check(corpus)


def test_the_verb_reports_speed_and_size_and_finds_itself_done(space, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CPU1_CACHE", str(space / "cache"))
    words = ["teach", "--teacher", str(run), "--data", str(space / "topics.txt"), "-o", str(tmp_path), "--top-k", "4"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "KB/s" in printed
    assert "per byte of text" in printed
    assert main(words) == 0
    assert "KB/s:" not in capsys.readouterr().out
    assert main([*words, "--top-k", "5"]) == 2
    assert "top_k = 4, asked for is 5" in capsys.readouterr().err


@pytest.fixture
def copy(whole, tmp_path):
    for name, data in files(whole).items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_a_cache_of_another_text_is_refused(whole, space):
    (space / "other").mkdir()
    other = prepare(str(write_text(space / "other", documents=20)), cache=space / "cache")
    with pytest.raises(UserError, match=r"the cache is of .*, the training text is"):
        Cache(whole).check(other)


def test_another_teacher_does_not_go_on_with_a_cache(copy, corpus, run, monkeypatch):
    small(monkeypatch)
    teacher = OwnRun(run)
    teacher.identity = {"kind": "run", "sha256": "0" * 64}
    with pytest.raises(UserError, match="holds a cache with teacher ="):
        teach(teacher, corpus, copy, top_k=8, window=4096)


@pytest.mark.parametrize("size", [0, 5, 1000, -1])
def test_a_shard_cut_short_is_named(copy, corpus, run, size, monkeypatch):
    small(monkeypatch)
    path = shard_path(copy, 1)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=r"00001\.safetensors: damaged or cut short"):
        Cache(copy)
    with pytest.raises(UserError, match=r"00001\.safetensors: damaged or cut short"):
        teach(OwnRun(run), corpus, copy, top_k=8, window=4096)


def test_a_missing_a_swapped_and_a_foreign_shard_are_named(copy, corpus, run, tmp_path_factory, monkeypatch):
    last = Cache(copy).manifest.shards - 1
    first = shard_path(copy, 0).read_bytes()
    shard_path(copy, last).rename(copy / "kept")
    with pytest.raises(UserError, match=r"shard \d of \d is missing"):
        Cache(copy)
    shard_path(copy, last).write_bytes(first)
    with pytest.raises(UserError, match="damaged"):
        Cache(copy)
    (copy / "kept").rename(shard_path(copy, last))
    small(monkeypatch)
    other = tmp_path_factory.mktemp("foreign")
    teach(OwnRun(run), corpus, other, top_k=3, window=4096)
    shard_path(copy, 0).write_bytes(shard_path(other, 0).read_bytes())
    with pytest.raises(UserError, match="belongs to another cache"):
        Cache(copy)


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"units": "many"}, {"teacher": None}, {"shard": 0}, {"extra": 1}, None]
)
def test_a_manifest_of_another_version_or_damaged_is_refused(copy, change):
    path = copy / "cache.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change) if change else "{")
    with pytest.raises(UserError, match=r"cache\.json"):
        Cache(copy)


def test_settings_out_of_range_are_refused(corpus, run, tmp_path):
    for wrong in ({"top_k": 0}, {"top_k": 65}, {"window": 63}):
        with pytest.raises(UserError):
            teach(OwnRun(run), corpus, tmp_path, **{"top_k": 8, "window": 256, **wrong})
    with pytest.raises(UserError, match="neither a run folder"):
        open_teacher(str(tmp_path / "nothing.txt"), 0.1)


def test_a_run_of_tokens_does_not_teach(space, run, tmp_path):
    job = Job(run="01", folder=tmp_path / "bpe", scale="demo", data=str(space / "topics.txt"), cache=space / "cache",
              threads=1, overrides=(("steps", 1), ("batch", 1), ("window", 16)), eval_bytes=2000)  # fmt: skip
    train(job)
    with pytest.raises(UserError, match="a byte-level run can teach"):
        OwnRun(tmp_path / "bpe")


@pytest.mark.parametrize(("precision", "off"), [("fp32", 1e-6), ("bf16", 1e-2)])
def test_own_run_says_what_it_scores(corpus, run, precision, off, monkeypatch):
    monkeypatch.setattr(devices, "fast_precision", lambda _: precision)
    teacher = OwnRun(run)
    text = np.asarray(corpus.splits["valid"].document(0)[:200])
    ((_, lesson),) = teacher.read([Piece(text, 0, 200)])
    with torch.inference_mode():
        output = teacher._model(torch.from_numpy(text.astype(np.int64))[None], hard=True)
    expected = torch.softmax(output.logits[0], -1).numpy()
    expected[:, 0] += expected[:, 256]  # the end of a document is NUL, to every student
    np.testing.assert_allclose(lesson.probabilities, expected[:, :256], atol=off)
    assert lesson.ends.tolist() == list(range(3, 200, 4))
    np.testing.assert_allclose(lesson.hidden[:-1], output.s[0, 1:].numpy(), atol=10 * off)
