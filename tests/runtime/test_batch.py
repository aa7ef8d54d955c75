"""Streams that join and leave a batch write what they would write alone, to the bit."""

import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.packing import packed_run
from helpers.pages import ROOT

from cpu1.errors import UserError
from cpu1.runtime import engine
from cpu1.runtime.batch import Batch, Piece
from cpu1.runtime.model import Model
from cpu1.runtime.plain_batch import PlainBatch

DEFAULT = ROOT / "checkpoints/default.cpu1"  # with lookups
TEXT = b"It was a bright cold day in April, and the clocks were striking thirteen. " * 20
native = pytest.mark.skipif(not engine.available(), reason="built without the engine")

# prompt, and what else `add` takes
TASKS: list[tuple[bytes, dict]] = [
    (b"Once upon a time", {"max_bytes": 90, "seed": 1}),
    (b"", {"max_bytes": 33, "seed": 2, "temperature": 1.2}),
    (TEXT[:701], {"max_bytes": 40, "seed": 3, "top_k": 20, "stop": ["e ", b"th"]}),
    (b"abc", {"max_bytes": 61, "temperature": 0, "may_end": False, "bits": True}),
    (TEXT[:13], {"max_bytes": 70, "seed": 5, "min_p": 0.05, "stop": ["\n\n", ".", "?!"], "bits": True}),
    (TEXT[:1400], {"max_bytes": 7, "seed": 6, "top_p": 0.8}),
    (b"x", {"max_bytes": 0}),
    (b"The ", {"max_bytes": 120, "seed": 8, "temperature": 1.5, "bits": True}),
]


def finish(batch: Batch, found: dict[int, list[Piece]], patches: int = 1) -> None:
    while len(batch):
        for piece in batch.step(patches):
            found.setdefault(piece.stream, []).append(piece)


def joined(pieces: list[Piece]) -> tuple[bytes, str, list[float], str | None]:
    assert all(piece.end is None for piece in pieces[:-1])
    assert all(piece.bits is None or len(piece.bits) == len(piece.data) for piece in pieces)
    bits = [bit for piece in pieces if piece.bits is not None for bit in piece.bits.tolist()]
    return b"".join(p.data for p in pieces), "".join(p.text for p in pieces), bits, pieces[-1].end


def alone(model: Model, prompt: bytes, options: dict, plain: bool) -> tuple[bytes, str, list[float], str | None]:
    batch = model.batch()
    if plain:
        batch = Batch(model, PlainBatch(lambda learn: model.units(learn), model._spelling, model._open.patch), 9)
    found: dict[int, list[Piece]] = {}
    stream = batch.add(prompt, **options)
    finish(batch, found, patches=5)
    return joined(found[stream])


@pytest.fixture(scope="module", params=["07", "08", "13", "18", "19", "default", "learning"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    if request.param == "default":
        return Model(DEFAULT)
    if request.param == "learning":
        return Model(DEFAULT, learn=True)
    return Model(packed_run(request.param, tmp_path_factory.mktemp("batch")).path)


@native
def test_the_engine_writes_what_the_plain_form_writes(model: Model) -> None:
    for prompt, options in TASKS:
        data, text, bits, end = alone(model, prompt, options, plain=False)
        wanted = alone(model, prompt, options, plain=True)
        assert (data, text, end) == (wanted[0], wanted[1], wanted[3])
        np.testing.assert_allclose(bits, wanted[2], rtol=1e-6, atol=1e-5)
        if "may_end" not in options:
            kept = {key: value for key, value in options.items() if key != "bits"}
            assert text == model.generate(prompt, **kept)


@native
@pytest.mark.parametrize("threads", [1, 2])
def test_streams_that_join_and_leave_change_no_bit(model: Model, threads: int) -> None:
    rng = np.random.default_rng(threads)
    wanted = [alone(model, prompt, options, plain=False) for prompt, options in TASKS]
    batch, found, tasks, left = model.batch(threads), {}, {}, set()
    for number in rng.permutation(np.arange(2 * len(TASKS)) % len(TASKS)).tolist():
        prompt, options = TASKS[number]
        tasks[batch.add(prompt, **options)] = number
        if rng.random() < 0.3:
            gone = int(rng.choice(list(tasks)))
            batch.cancel(gone)
            left.add(gone)
        for piece in batch.step(int(rng.integers(1, 9))):
            assert piece.stream not in left
            found.setdefault(piece.stream, []).append(piece)
    finish(batch, found, patches=8)
    ended = {stream: pieces for stream, pieces in found.items() if pieces[-1].end}
    assert len(ended) >= len(TASKS)
    assert set(tasks) == set(ended) | left
    for stream, pieces in ended.items():
        assert joined(pieces) == wanted[tasks[stream]]


@native
def test_instruction_sets_write_the_same(tmp_path: Path) -> None:
    path = packed_run("18", tmp_path).path
    texts = []
    for isa in engine.isas():
        if engine.arithmetic(isa) != Model(path).arithmetic:
            continue
        model = Model(path)
        model._open = type(model._open)(path, isa)
        batch, found = model.batch(2), {}
        streams = [batch.add(prompt, **options) for prompt, options in TASKS]
        finish(batch, found)
        texts.append([joined(found[stream]) for stream in streams])
    assert all(text == texts[0] for text in texts)


@native
def test_learning_streams_beside_others() -> None:
    model, learning = Model(DEFAULT), Model(DEFAULT, learn=True)
    batch, found = model.batch(), {}
    frozen = batch.add(TEXT[:400], 60, temperature=1)
    learns = batch.add(TEXT[:400], 60, temperature=1, learn=True)
    finish(batch, found)
    assert joined(found[frozen])[1] == model.generate(TEXT[:400], 60, temperature=1)
    assert joined(found[learns])[1] == learning.generate(TEXT[:400], 60, temperature=1)
    assert joined(found[learns])[1] != joined(found[frozen])[1]


def test_streams_start_from_a_state() -> None:
    model = Model(DEFAULT)
    session = model.session()
    session.read(TEXT[:101])
    batch, found = model.batch(), {}
    from_state = batch.add("He ", 40, state=session.save(), seed=4)
    from_start = batch.add(TEXT[:101] + b"He ", 40, seed=4)
    finish(batch, found)
    assert joined(found[from_state]) == joined(found[from_start])
    model.prime(TEXT[:101])
    batch = model.batch()
    primed = batch.add("He ", 40, seed=4)
    with pytest.raises(UserError, match="of a session that does not learn"):
        batch.add("x", learn=True)
    finish(batch, again := {})
    assert joined(again[primed]) == joined(found[from_start])


def test_a_stream_that_is_cancelled_writes_no_more() -> None:
    batch = Model(DEFAULT).batch()
    reading, writing = batch.add(TEXT * 50, 9), batch.add("a", 1000, may_end=False)
    assert len(batch) == 2
    batch.step()
    batch.cancel(reading)
    assert reading not in batch
    assert writing in batch
    assert {piece.stream for _ in range(5) for piece in batch.step()} == {writing}
    batch.cancel(writing)
    batch.cancel(writing)
    assert batch.step() == []
    assert len(batch) == 0


@native
def test_streams_come_and_go_while_steps_run() -> None:
    model = Model(DEFAULT)
    batch, found, wanted = model.batch(2), {}, model.generate("In", 20, seed=7)
    ready = threading.Event()

    def visit() -> None:
        for _ in range(20):
            batch.cancel(batch.add(TEXT, 50))
            mine.append(batch.add("In", 20, seed=7))
        ready.set()

    mine: list[int] = []
    visitor = threading.Thread(target=visit)
    visitor.start()
    while not (ready.is_set() and len(batch) == 0):
        for piece in batch.step():
            found.setdefault(piece.stream, []).append(piece)
    visitor.join()
    assert sorted(found) == sorted(mine)
    assert all(joined(pieces)[1] == wanted for pieces in found.values())


def test_what_add_refuses() -> None:
    batch = Model(DEFAULT).batch(most=1)
    for arguments, words in [
        ({"prompt": 3}, "a text is a string or bytes"),
        ({"max_bytes": -1}, "max_bytes is -1"),
        ({"stop": "x"}, "give a list of strings"),
        ({"temperature": -1}, "temperature is -1"),
        ({"tempo": 1}, "there is no argument 'tempo'"),
        ({"state": b"none"}, "state"),
    ]:
        with pytest.raises(UserError, match=words):
            batch.add(**arguments)
        assert len(batch) == 0
    batch.add("a", 3)
    with pytest.raises(UserError, match="the batch is full: it runs 1 streams"):
        batch.add("b")
    with pytest.raises(UserError, match="patches is 0"):
        batch.step(0)
