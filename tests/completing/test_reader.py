"""Completions while someone types: those of a new session, to the bit, by reading only what is new."""

import random

import pytest

import cpu1
from cpu1.completing import Reader
from cpu1.completing.reader import ENDS, EVERY, recent
from cpu1.errors import UserError
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model
from cpu1.runtime.plain import PlainStream

STORY = "The old lighthouse stood on the rock, and the keeper's wife counted the ships that went by. "


@pytest.fixture(scope="module")
def model():
    return cpu1.load()


def test_a_key_reads_one_byte(model):
    reader, text = Reader(model), STORY * 4
    for end in range(len(text) - 12, len(text)):
        assert reader.complete(text[:end]) == model.complete(text[:end])
        assert reader.bytes_read == (1 if end > len(text) - 12 else end)


def test_what_was_deleted_is_not_read_again(model):
    reader = Reader(model)
    for text in ("The sh", "The shi", "The ship", "The shi", "The sh", "The she"):
        reader.complete(text)
    assert reader.bytes_read == 1
    assert reader.complete("The sh") == model.complete("The sh")
    assert reader.bytes_read == 0


def test_a_change_in_the_middle_is_read_from_the_place_before_it(model):
    text = (STORY * 40)[: 3 * EVERY + 100]
    reader = Reader(model)
    reader.complete(text)
    changed = text[: 2 * EVERY + 50] + "X" + text[2 * EVERY + 50 :]
    assert reader.complete(changed, 2) == model.complete(changed, 2)
    assert reader.bytes_read == len(changed) - 2 * EVERY


def test_texts_in_turn(model):
    reader, texts = Reader(model), ["The sea", "A letter to", "Dear Madam, I", ""]
    first = [reader.complete(text) for text in texts]
    again = []
    for text in texts:
        again.append(reader.complete(text))
        assert reader.bytes_read == 0
    assert again == first == [model.complete(text) for text in texts]


@pytest.mark.parametrize("learn", [False, True])
def test_any_edits_give_what_a_new_session_gives(learn):
    model, chance, text = cpu1.load(learn=learn), random.Random(1), STORY.encode()
    reader = Reader(model, longest=2048, kept_bytes=20 << 20)
    for _ in range(40):
        place = chance.randrange(len(text) + 1)
        if chance.random() < 0.3:
            text = text[:place] + chance.randbytes(chance.randrange(4)) + text[place:]
        elif chance.random() < 0.3:
            text = text[: max(0, len(text) - chance.randrange(9))]
        else:
            text += STORY.encode()[: chance.randrange(400)]
        found = reader.complete(text, 3, 6)
        assert found == model.complete(recent(text, 2048), 3, 6)
        assert reader.size <= 20 << 20


def test_memory_is_bounded(model):
    state = len(model.session().save())
    reader = Reader(model, kept_bytes=5 * state)
    for number in range(20):
        reader.complete(f"{number} ships", 1, 1)
    assert 3 * state < reader.size <= 5 * state
    assert Reader(model).complete("19 ships") == reader.complete("19 ships")
    wide = Reader(model)
    for number in range(2 * ENDS):
        wide.complete(f"{number} ships", 1, 1)
    assert wide.size < (ENDS + 1) * (state + 100)


def test_nothing_is_kept_where_nothing_fits(model):
    reader = Reader(model, kept_bytes=0)
    for text in ("The sh", "The ship", "The"):
        assert reader.complete(text) == model.complete(text)
    assert reader.size == 0
    reader.complete("The s")
    assert reader.bytes_read == 2


def test_an_interrupt_while_it_reads_spoils_nothing(model, monkeypatch):
    reader, text = Reader(model), STORY * 30
    read, calls = reader._session.read, []

    def interrupted(part):
        calls.append(part)
        read(part)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(reader._session, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reader.complete(text)
    assert reader.complete(text) == model.complete(text)
    assert reader.bytes_read == len(text) - EVERY


def test_the_end_of_a_long_text_counts():
    text = "".join(f"{number} häuser, " for number in range(400)).encode()
    ends, starts = [recent(text[:size], 1000) for size in range(1, len(text))], set()
    for size, end in enumerate(ends, 1):
        assert text[:size].endswith(end)
        assert min(size, 500 - 3) <= len(end) <= 1000
        end.decode(errors="strict" if text[:size].decode(errors="ignore").encode() == text[:size] else "ignore")
        starts.add(size - len(end))
    assert len(starts) == -(-(len(text) - 1001) // 500) + 1  # so that what was read stays of use


def test_a_primed_model_is_where_texts_start(model):
    primed = cpu1.load()
    primed.prime(STORY * 3)
    assert Reader(primed).complete("The old li") == primed.complete("The old li") != model.complete("The old li")


def test_the_plain_form_gives_the_same(model):
    plain = Model(default_model(), arithmetic="numpy")
    assert isinstance(plain.units(), PlainStream)
    reader = Reader(plain)
    for text in ("The ship", "The shi", "The ship"):
        found, wanted = reader.complete(text, 2, 3), model.complete(text, 2, 3)
        assert [each.data for each in found] == [each.data for each in wanted]


def test_bad_arguments_are_one_line(model):
    reader = Reader(model)
    for arguments, message in (
        (("The", 0), "n is 0"),
        (("The", 2, True), "max_bytes is True"),
        ((7,), "a text is a string or bytes"),
    ):
        with pytest.raises(UserError, match=message):
            reader.complete(*arguments)
    with pytest.raises(UserError, match="longest is 3"):
        Reader(model, longest=3)
    assert reader.complete("The") == model.complete("The")
