"""What a text looks up: the engine's form is the plain one, byte for byte; nothing leaks from text to text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.lookups import readers
from cpu1.lookups.contexts import check_contexts, check_power
from cpu1.lookups.recall import RecallShape

LOG = b"".join(
    b"2026-11-%02d 10:%02d:07 status installed lib%d:amd64 1.%d\n" % (i % 28, i, i % 7, i) for i in range(60)
)
PROSE = b"The wood was dark, and in the wood the Wolf was waiting. The woodcutter's wolf! The wolf of the WOOD. " * 8
SMALL = RecallShape((1, 2, 3, 8, 9, 10), 16, 256, 3)  # so small that contexts and matches push each other out
LARGE = RecallShape((2, 3, 4, 6, 9), 16384, 65536, 6)
CONTEXTS = (1, 3, 8, 9, 10)

native = pytest.mark.skipif(readers.native is None, reason="built without the engine")


def text_of(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def noise(symbols: int, count: int) -> bytes:
    return np.random.default_rng(0).integers(0, symbols, count, dtype=np.uint8).tobytes()


TEXTS = {"log": LOG, "prose": PROSE, "few": noise(3, 1500), "any": noise(256, 1500), "one": b"a" * 700, "none": b""}


@native
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("shape", [SMALL, LARGE], ids=["small", "large"])
def test_the_engines_memory_is_the_plain_one(shape: RecallShape, text: bytes) -> None:
    fast, plain = readers.recall_reader(shape), readers.plain_recall_reader(shape)
    codes = fast.read(text_of(text))
    assert np.array_equal(codes, plain.read(text_of(text)))
    assert np.array_equal(fast.look(), plain.look())
    assert codes.shape == (len(text), len(shape.contexts) + 1, 3)
    assert codes[..., 2].max(initial=0) < 32


@native
@given(st.lists(st.sampled_from([b"ab", b"abc ", b"b", b"cab", b"\x00", b"xyzxyzxyzxyzxyzxyzxyz", b"A"]), max_size=80))
@settings(max_examples=60, deadline=None)
def test_both_memories_agree_on_any_text(pieces: list[bytes]) -> None:
    text = text_of(b"".join(pieces))
    fast, plain = readers.recall_reader(SMALL), readers.plain_recall_reader(SMALL)
    assert np.array_equal(fast.read(text), plain.read(text))


@native
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_engines_rows_are_the_plain_ones(text: bytes) -> None:
    fast, plain = readers.table_reader(CONTEXTS, 1024), readers.plain_table_reader(CONTEXTS, 1024)
    rows = fast.read(text_of(text))
    assert np.array_equal(rows, plain.read(text_of(text)))
    assert np.array_equal(fast.look(), plain.look())
    assert np.array_equal(rows // 1024, np.broadcast_to(np.arange(len(CONTEXTS)), rows.shape))


@pytest.mark.parametrize("make", [lambda: readers.recall_reader(LARGE), lambda: readers.table_reader(CONTEXTS, 64)])
def test_a_text_in_pieces_is_read_as_a_whole(make) -> None:
    whole = make().read(text_of(LOG))
    reader, parts = make(), []
    for first in range(0, len(LOG), 97):
        assert np.array_equal(reader.look(), whole[first])
        fork = reader.copy()
        fork.read(text_of(b"a fork reads something else"))
        parts.append(reader.read(text_of(LOG[first : first + 97])))
    assert np.array_equal(np.concatenate(parts), whole)


def test_what_is_said_depends_on_what_was_read_alone() -> None:
    """Causal, and no reader knows another's text."""
    readers.recall_reader(LARGE).read(text_of(LOG))
    first, changed = PROSE[:300], PROSE[:299] + b"?"
    codes = readers.recall_reader(LARGE).read(text_of(first))
    assert np.array_equal(codes, readers.recall_reader(LARGE).read(text_of(changed)))
    assert not codes[0].any()


def test_memory_says_what_followed() -> None:
    """By hand: after `ab` came `c` twice and then `d`, so `d` is first with a run of 1, `c` second with a run of 2."""
    reader = readers.recall_reader(RecallShape((2,), 64, 256, 3))
    reader.read(text_of(b"abcabcabdab"))
    assert reader.look()[0].tolist() == [ord("d"), ord("c"), 4 * 1 + 2]
    reader.read(text_of(b"cab"))
    # `c` came back: it had a run of 2, and keeps half of it
    assert reader.look()[0].tolist() == [ord("c"), ord("d"), 4 * 1 + 1]


def test_a_match_that_breaks_goes_on_beside() -> None:
    line = b"the quick brown fox jumps over the lazy dog, "
    reader = readers.recall_reader(LARGE)
    reader.read(text_of(line + b"1 and more of it. "))
    before = reader.read(text_of(line))
    assert before[-1, -1].tolist() == [ord(" "), 0, 28]  # 32 bytes agree
    reader.read(text_of(b"2"))
    assert reader.look()[-1].tolist() == [0, ord(" "), 1]
    reader.read(text_of(b" and"))
    assert reader.look()[-1].tolist() == [0, ord(" "), 2]
    reader.read(text_of(b" mor"))
    assert reader.look()[-1].tolist() == [ord("e"), 0, 8]  # found again: one match, not two


def test_words_do_not_depend_on_what_stands_before_them() -> None:
    reader = readers.table_reader((9, 10), 65536)
    rows = reader.read(text_of(b"a wolf, the WOLF; a  wolf. the wolf?"))
    assert rows[6, 0] == rows[16, 0] == rows[25, 0] == rows[35, 0]  # the whole word
    assert rows[6, 1] == rows[25, 1] != rows[16, 1] == rows[35, 1]  # and the word before it


def test_unknown_contexts_and_sizes_are_refused() -> None:
    with pytest.raises(UserError, match=r"X: contexts are \[\]; give 1 to 16 different ones"):
        check_contexts((), "X")
    with pytest.raises(UserError, match="X: contexts are"):
        check_contexts((3, 3), "X")
    with pytest.raises(UserError, match="X: no context 11; there are 1 to 8"):
        check_contexts((3, 11), "X")
    with pytest.raises(UserError, match="X: rows is 100; it must be a power of two from 16 to 64"):
        check_power("X: rows", 100, 16, 64)


@native
def test_saved_memories_are_checked() -> None:
    module = readers.native
    shape = readers.native_shape(LARGE)
    memory, codes = module.Recall(shape), np.empty((len(LOG), 18), np.uint8)
    memory.read(text_of(LOG), False, codes)
    state = memory.save()
    assert len(state) == 458_800  # what docs/lookups.md says
    other = module.Recall(shape)
    other.restore(state)
    assert other.save() == state
    with pytest.raises(ValueError, match="a state of another size"):
        other.restore(state[:-1])
    for place in (-4, -8, -16):  # missed, held, agreed
        hostile = bytearray(state)
        hostile[place + len(state)] = 77
        with pytest.raises(ValueError, match="damaged"):
            other.restore(bytes(hostile))
    assert other.save() == state
    garbage = np.random.default_rng(1).integers(0, 256, len(state), dtype=np.uint8)
    garbage[-24:] = 0
    garbage[-24:-20] = 255  # the position: anything is a place in the history
    other.restore(garbage.tobytes())
    other.read(text_of(LOG), False, codes)
    assert codes[:, 2::3].max() < 32
