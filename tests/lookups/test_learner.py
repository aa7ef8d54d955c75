"""What learns while it reads: the engine's form is the plain one; causal, normalised, saved and restored."""

from pathlib import Path

import numpy as np
import pytest
from helpers.packing import packed_run
from numpy.typing import NDArray

from cpu1.lookups import readers
from cpu1.lookups.contexts import LEAST_COUNTS
from cpu1.lookups.learner import CHANCE, MOST, OPINION, Learner
from cpu1.lookups.recall import RecallShape
from cpu1.runtime import engine
from cpu1.runtime.coder import weights
from cpu1.runtime.engine import NativeFile
from cpu1.runtime.model import Model
from cpu1.runtime.plain import PlainStream
from cpu1.runtime.reference import Reference
from cpu1.runtime.sampling import Sampler, Sampling
from cpu1.runtime.streams import NativeStream

LOG = b"".join(b"10:%02d:07 status installed lib%d:amd64 1.%d\n" % (i, i % 7, i) for i in range(12))
native = pytest.mark.skipif(not engine.available(), reason="built without the engine")


def text_of(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


@pytest.fixture(scope="module", params=["04", "18", "19"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of random weights: without and with a memory of the document."""
    return packed_run(request.param, tmp_path_factory.mktemp("learner")).path


def bits(nats: NDArray[np.float64]) -> float:
    return float(nats.sum() / np.log(2) / len(nats))


def test_chances_and_opinions_are_inverse() -> None:
    assert len(CHANCE) == 2 * MOST + 1
    assert sorted(CHANCE) == CHANCE
    assert CHANCE[MOST] == 32768
    for opinion in range(-1500, 1501):  # further out, neighbouring opinions share a chance
        assert abs(OPINION[CHANCE[MOST + opinion]] - opinion) <= 1


@native
def test_the_engine_learns_what_the_plain_form_learns(path: Path) -> None:
    """The logits of each byte are those of a session that does not learn, corrected."""
    model = NativeFile(path)
    frozen, learning = NativeStream(model), NativeStream(model, learn=True, counts=12)
    op = next((op for op in model.about["program"]["head"] if op["op"] == "recall"), None)
    parts = len(op["contexts"]) + 1 if op else 0
    plain, reader = Learner(parts, 12), None
    if op:
        reader = readers.recall_reader(
            RecallShape(tuple(op["contexts"]), op["memory_size"], op["history"], op["match"])
        )
    for byte in LOG:
        code = reader.look() if reader else np.zeros((0, 3), np.uint8)
        logits = frozen.next_logits()
        plain.correct(logits, weights(logits[:256]), code)
        assert np.array_equal(learning.next_logits(), logits)
        plain.learn(byte, code)
        for session in (frozen, learning):
            session.advance(bytes([byte]))
        if reader:
            reader.read(text_of(bytes([byte])))


@native
def test_learning_pays_and_is_read_in_any_pieces(path: Path) -> None:
    model = NativeFile(path)
    whole = NativeStream(model, learn=True).score(LOG)
    assert bits(whole) < 0.6 * bits(NativeStream(model).score(LOG))
    session = NativeStream(model, learn=True)
    parts = [session.score(LOG[i : i + 7]) for i in range(0, len(LOG), 7)]
    assert np.array_equal(np.concatenate(parts), whole)
    session = NativeStream(model, learn=True)
    session.advance(LOG[:101])
    assert np.array_equal(session.score(LOG[101:]), whole[101:])


@native
def test_threads_streams_and_instruction_sets_learn_the_same(path: Path) -> None:
    wanted = NativeStream(NativeFile(path), learn=True).score(LOG)
    assert np.array_equal(NativeStream(NativeFile(path), threads=2, learn=True).score(LOG), wanted)
    other = LOG[::-1]
    scores = Model(path, threads=2, learn=True).score([other, LOG, other])
    assert np.array_equal(scores[1], wanted / np.log(2))  # nothing leaks from stream to stream
    assert np.array_equal(scores[0], scores[2])
    arithmetic = NativeFile(path).arithmetic
    for isa in engine.isas():
        if engine.arithmetic(isa) == arithmetic:
            assert np.array_equal(NativeStream(NativeFile(path, isa), learn=True).score(LOG), wanted)


@native
def test_what_comes_depends_on_what_was_read_alone(path: Path) -> None:
    """Causal: another next byte changes no prediction before it. Normalised: the softmax of logits sums to one."""
    model = NativeFile(path)
    one, other = (NativeStream(model, learn=True).score(LOG[:200] + end) for end in (b"a", b"\xff"))
    assert np.array_equal(one[:200], other[:200])
    session = NativeStream(model, learn=True)
    session.advance(LOG)
    logits = session.next_logits().astype(np.float64)
    costs = []
    for byte in (0, 10, 65, 255):
        fork = NativeStream(model, learn=True)
        fork.state = session.state
        costs.append(fork.score(bytes([byte]))[0])
    total = np.log(np.exp(logits).sum())
    assert np.allclose(costs, [total - logits[byte] for byte in (0, 10, 65, 255)], atol=1e-6)


@native
def test_states_are_saved_restored_and_checked(path: Path) -> None:
    model = NativeFile(path)
    session = NativeStream(model, learn=True)
    session.advance(LOG[:300])
    state, rest = session.state, session.score(LOG[300:])
    fork = NativeStream(model, learn=True)
    fork.state = state
    assert np.array_equal(fork.score(LOG[300:]), rest)
    with pytest.raises(ValueError, match="the state is of a session that learns"):
        NativeStream(model).state = state
    with pytest.raises(ValueError, match="the state is of a session that does not learn"):
        fork.state = NativeStream(model).state
    for place in (-1, -29, -29 - 3072):  # the upper bytes of how much was learned, and of weights
        hostile = bytearray(state)
        hostile[place] = 0x7F
        with pytest.raises(ValueError, match="damaged"):
            fork.state = bytes(hostile)


@native
def test_nothing_is_learned_from_its_own_words(path: Path) -> None:
    """What is drawn does not change what follows the same text later."""
    model = NativeFile(path)
    session = NativeStream(model, learn=True)
    session.advance(LOG)
    drawn = session.generate(64, Sampler(Sampling(seed=1)), may_end=False)
    read = NativeStream(model, learn=True)
    read.advance(LOG)
    read.advance(drawn)
    assert not np.array_equal(session.next_logits(), read.next_logits())
    assert len(set(NativeStream(model).generate(64, Sampler(Sampling(seed=1)), may_end=False).tolist())) > 8


@native
def test_sizes_are_checked(path: Path) -> None:
    with pytest.raises(ValueError, match=r"a learner has 2\^10 to 2\^22 counts a context"):
        NativeStream(NativeFile(path), learn=True, counts=LEAST_COUNTS - 1)


def test_the_plain_session_learns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a compiler: the same figures, to the rounding of the frozen model."""
    reference = Reference(Model(path, arithmetic="numpy")._open.reference.packed)
    plain = PlainStream(reference, learn=True, counts=12)
    costs = plain.score(text_of(LOG[:160]))
    again = PlainStream(reference, learn=True, counts=12)
    again.state = plain.state
    assert np.array_equal(again.next_logits(), plain.next_logits())
    if engine.available():
        native = NativeStream(NativeFile(path), learn=True, counts=12).score(LOG[:160])
        assert abs(bits(costs) - bits(native)) < 0.02
    drawn = plain.generate(6, Sampler(Sampling(temperature=0)), may_end=False)
    again = PlainStream(reference, learn=True, counts=12)
    again.state = plain.state
    assert len(drawn) == 6
    assert np.array_equal(again.next_logits(), plain.next_logits())


def test_a_loaded_model_learns_where_it_is_asked_to(path: Path) -> None:
    if not engine.available():
        pytest.skip("built without the engine")
    frozen, learning = Model(path), Model(path, learn=True)
    assert learning.score(LOG).sum() < frozen.score(LOG).sum()
    before = learning.score(LOG[-80:]).sum()
    learning.prime(LOG[:-80].decode())
    assert learning.score(LOG[-80:]).sum() < 0.5 * before
    with pytest.raises(ValueError, match="of a session that learns"):
        learning.units(learn=False)
