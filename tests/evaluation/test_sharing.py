"""Texts that begin alike are read once, and cost what each costs alone."""

import numpy as np
import pytest
from helpers.packing import packed_run

from cpu1.evaluation.language.sharing import Asked, costs
from cpu1.runtime import engine
from cpu1.runtime.model import Model
from cpu1.runtime.sampling import Sampler, Sampling

LONG = "It was the best of times, it was the worst of times, it was the age of wisdom, "
TEXTS = [
    ("", LONG + "it was the age of foolishness"),
    (LONG, "it was the age of foolishness"),  # what was only read before must now be measured
    (LONG, "it was the epoch of belief"),
    (LONG[:40], LONG[40:] + "it was the epoch of belief"),
    ("", "It was the best of times, so far"),
    ("", LONG + "it was the age of foolishness"),  # again
    (LONG + "it was the age", ""),
    ("", ""),
    ("Other", " words"),
    ("Other words", "."),
]


class Counting:
    """A stream that counts the units it reads."""

    def __init__(self, stream) -> None:
        self._stream, self.units = stream, 0

    def __getattr__(self, name):
        return getattr(self._stream, name)

    @property
    def state(self):
        return self._stream.state

    @state.setter
    def state(self, state):
        self._stream.state = state

    def advance(self, units):
        self.units += len(units)
        self._stream.advance(units)

    def score(self, units):
        self.units += len(units)
        return self._stream.score(units)


@pytest.fixture(scope="module", params=["07", "01", "18"])
def model(request, tmp_path_factory):
    """A byte model, a BPE model, and one with a memory of the document; random weights."""
    return Model(packed_run(request.param, tmp_path_factory.mktemp("packed")).path)


def asked_of(model, texts=TEXTS):
    return [Asked(model.encode(context), model.encode(target)) for context, target in texts]


def greedy(model, asked):
    """By the definition: the model writes it after the context."""
    stream = model.units()
    stream.advance(asked.context)
    return stream.generate(len(asked.target), Sampler(Sampling(temperature=0)))


def test_costs_are_those_of_each_text_alone(model):
    texts = asked_of(model)
    for one, cost in zip(texts, costs(model.units(), texts), strict=True):
        stream = model.units()
        stream.advance(one.context)
        assert np.array_equal(cost.nats, stream.score(one.target))
        assert cost.greedy is None


def test_greedy_is_what_the_model_would_write(model):
    texts = asked_of(model)
    for context in ("", LONG, "Other"):
        begun = Asked(model.encode(context), model.encode("x" * 9))
        written = greedy(model, begun)
        texts += [Asked(begun.context, written), Asked(begun.context, written[:5])]
        if len(written):
            texts.append(Asked(begun.context, np.append(written[:-1], (written[-1] + 1) % 256).astype(np.uint32)))
    found = [cost.greedy for cost in costs(model.units(), texts, greedy=True)]
    assert found == [np.array_equal(greedy(model, one), one.target) for one in texts]
    assert True in found
    assert False in found


@pytest.mark.skipif(not engine.available(), reason="the reference reads a text again to restore its state")
def test_a_common_beginning_is_read_once(model):
    stream = Counting(model.units())
    texts = asked_of(model, [(LONG, end) for end in ("one", "two", "three", "four")])
    costs(stream, texts)
    assert stream.units < 2 * len(texts[0].context)
