"""One text at a time: forks, states, the next byte, completions; the model's calls beside them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.packing import packed_run
from helpers.pages import ROOT

from cpu1.errors import UserError
from cpu1.runtime import completion, engine
from cpu1.runtime.model import Model

DEFAULT = ROOT / "checkpoints/default.cpu1"
TEXT = "It was a bright cold day in April, and the clo"


@pytest.fixture(scope="module", params=["default", "04", "numpy"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    if request.param == "default":
        return Model(DEFAULT)
    path = packed_run("04", tmp_path_factory.mktemp("session")).path
    return Model(path, arithmetic="numpy" if request.param == "numpy" else None)


def test_a_fork_goes_its_own_way(model: Model) -> None:
    session = model.session()
    session.read(TEXT[:21])
    fork, state = session.fork(), session.save()
    assert fork.generate(20, seed=4) == session.generate(20, seed=4) == model.generate(TEXT[:21], 20, seed=4)
    assert session.score("abc").tolist() == fork.score("abc").tolist()
    fork.restore(state)
    assert fork.save() == state
    with pytest.raises(UserError, match="state"):
        fork.restore(state[:-1])
    with pytest.raises(UserError, match="a state is bytes"):
        fork.restore(None)  # type: ignore[arg-type]
    assert fork.save() == state


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 7, 41])
def test_next_bytes_are_what_score_says(model: Model, size: int) -> None:
    session = model.session()
    session.read(TEXT[:3])
    before = session.save()
    p = session.next_bytes(TEXT[3 : 3 + size])
    assert p.shape == (256,)
    assert p.dtype == np.float64
    assert p.sum() <= 1 + 1e-9
    assert session.save() == before
    assert np.array_equal(p, model.next_bytes(TEXT[: 3 + size]))
    for byte in (ord("e"), ord(" "), 255):
        cost = model.session().score(TEXT[: 3 + size].encode() + bytes([byte]))[-1]
        assert -np.log2(p[byte]) == pytest.approx(cost, abs=1e-5)


def test_completions_have_the_probability_of_their_bytes_and_end(model: Model) -> None:
    if model.arithmetic == "numpy":
        prefix, n, longest = "Th", 2, 2
    else:
        prefix, n, longest = TEXT, 6, 12
    words = model.complete(prefix, n, longest)
    assert len(words) == n
    assert [w.probability for w in words] == sorted((w.probability for w in words), reverse=True)
    for word in words:
        assert 1 <= len(word.data) <= longest
        assert word.text == word.data.decode(errors="replace")
        assert all(completion.IN_WORDS[byte] for byte in word.data.removeprefix(b" "))
        session, probability = model.session(), 1.0
        session.read(prefix)
        for byte in word.data:
            probability *= session.next_bytes()[byte]
            session._stream.draw(byte)
        probability *= 1 - session.next_bytes()[completion.IN_WORDS].sum()
        assert word.probability == pytest.approx(probability, rel=1e-6)


@pytest.mark.skipif(not engine.available(), reason="built without the engine")
@pytest.mark.parametrize("learn", [False, True])
def test_the_engine_completes_as_the_plain_form(learn: bool) -> None:
    session = Model(DEFAULT, learn=learn).session()
    for part in (TEXT, "cks were str", "iking thirteen. ", "Wins"):
        session.read(part)
        before = session.save()
        found = session.complete(n=4, max_bytes=16)
        plain = completion.complete(session.fork()._stream, 4, 16)
        assert [word.data for word in found] == [word.data for word in plain]
        assert [w.probability for w in found] == pytest.approx([w.probability for w in plain], rel=1e-9)
        assert session.save() == before


def test_likely_words_come_first() -> None:
    model = Model(DEFAULT)
    assert model.complete("Once upon a ti")[0].text == "me"
    assert model.complete("She went up to the", n=8)[0].data.startswith(b" ")


def test_many_texts_are_scored_as_each_alone(model: Model) -> None:
    texts = [TEXT, b"", "e", TEXT.encode()[:17]]
    for found, text in zip(model.score(texts), texts, strict=True):
        assert np.array_equal(found, model.score(text))
    assert model.score([]) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_bytes": -1}, "max_bytes is -1; give a whole number of 0 or more"),
        ({"max_bytes": 1.5}, "max_bytes is 1.5"),
        ({"tempo": 1}, "there is no argument 'tempo'; sampling has temperature, top_k"),
        ({"seed": -1}, "seed is -1"),
        ({"stop": [""]}, "a stop string is empty"),
    ],
)
def test_bad_arguments_are_refused_at_once(model: Model, arguments: dict, words: str) -> None:
    for call in (model.generate, model.stream, model.astream):
        with pytest.raises(UserError, match=words):
            call("a", **arguments)
    with pytest.raises(UserError, match="n is 0; give a whole number from 1 to 64"):
        model.complete("a", 0)


def test_words_are_for_models_of_bytes(tmp_path: Path) -> None:
    model = Model(packed_run("13", tmp_path).path)
    for call in (model.next_bytes, model.complete):
        with pytest.raises(UserError, match="is for models that read bytes"):
            call("a")


def test_an_asynchronous_stream_is_the_stream() -> None:
    model = Model(DEFAULT)

    async def read(limit: int) -> list[str]:
        found: list[str] = []
        async for piece in model.astream("The sea", 60, seed=1):
            found.append(piece)
            if len(found) == limit:
                break
        return found

    async def several() -> list[list[str]]:
        return await asyncio.gather(read(99), read(2), read(99))

    whole, left, again = asyncio.run(several())
    assert "".join(whole) == model.generate("The sea", 60, seed=1)
    assert whole == again
    assert left == whole[:2]


def test_a_cancelled_task_leaves_its_stream() -> None:
    model = Model(DEFAULT)

    async def cancel() -> None:
        async def endless() -> None:
            async for _ in model.astream("a", 1 << 20):
                pass

        task = asyncio.create_task(endless())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())


def test_one_model_from_many_threads() -> None:
    model = Model(DEFAULT)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(model.generate, TEXT, 30, seed=seed % 2) for seed in range(6)]
        words = [pool.submit(model.complete, TEXT) for _ in range(4)]
    assert len({call.result() for call in calls}) == 2
    assert all(word.result() == words[0].result() for word in words)
