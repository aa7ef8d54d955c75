"""Patches that end behind words: the rule, its two forms, and any kind of text in all of a model's readers."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.packing import packed_run

from cpu1.format.operations import WORDS
from cpu1.lookups.contexts import WHOLE, stirred
from cpu1.lookups.patches import FIRST, count_whole, is_whole, patch_rows, starts
from cpu1.model import ladder
from cpu1.model.network import build
from cpu1.runtime.archive import compress, decompress
from cpu1.runtime.model import Model

TEXTS = {
    "English": b"It was, he said (in 1897), the internationalisation of cats!  \n\n  And then? " * 4,
    "no spaces": b"abcdefghij" * 30,
    "code": b"for (int i = 0; i < n; ++i) { x[i] += y[i] * 2.5f; }\n\treturn *x;\n" * 4,
    "Chinese": "天地玄黄宇宙洪荒日月盈昃辰宿列张。寒来暑往秋收冬藏。闰余成岁。".encode() * 3,
    "NULs": bytes(200),
    "binary": np.random.default_rng(1).bytes(300),
}


def patches(text: bytes) -> list[bytes]:
    places = starts(np.frombuffer(text, np.uint8))
    return [text[first:last] for first, last in pairwise(places)]


def test_the_rule():
    assert patches(b"The cat, 2 of us... ") == [b"The ", b"cat,", b" 2 ", b"of ", b"us.", b".. "][:5]
    assert patches(b"international ") == [b"internat", b"ional "]
    assert patches(b"together with ") == [b"together", b" with "]
    assert patches(b"        x") == [b" " * 8]
    assert patches("né à".encode() + b"!") == ["né ".encode(), "à".encode() + b"!"]


@pytest.mark.parametrize("name", TEXTS)
def test_places_are_those_that_reading_unit_by_unit_finds(name):
    units = np.frombuffer(TEXTS[name], np.uint8)
    found, begun = [0], []
    for place, unit in enumerate(units.tolist()):
        begun.append(unit)
        if is_whole(begun):
            found.append(place + 1)
            begun = []
    places = starts(units)
    assert places.tolist() == found
    assert np.diff(places).max() <= WORDS
    assert count_whole(units) == len(found) - 1


def test_what_follows_changes_no_patch_before():
    text = np.frombuffer(TEXTS["English"], np.uint8)
    for count in range(1, 60):
        before = starts(text)
        after = starts(np.concatenate((text[:count], np.full(20, 32, np.uint8))))
        assert before[before <= count].tolist() == after[after <= count].tolist()


def test_a_separator_is_no_letter_and_is_hashed_as_nul():
    assert is_whole([65, 256])
    assert not is_whole([256])
    rows = patch_rows(np.array([[65, 256] + [-1] * 6, [65, 0] + [-1] * 6]), -1, 1024)
    assert rows[0] == rows[1]


def test_the_row_is_that_of_the_hash_of_contexts():
    (row,) = patch_rows(np.array([[*b"cat "] + [-1] * 4]), -1, 4096)
    assert row == (stirred(int.from_bytes(b"cat ", "big"), FIRST + 4) & WHOLE) >> 52


def test_bytes_that_differ_in_length_alone_select_other_rows():
    one, two = patch_rows(np.array([[0] + [-1] * 7, [0, 0] + [-1] * 6]), -1, 65536)
    assert one != two


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(packed_run("19", tmp_path_factory.mktemp("words")).path)


@pytest.mark.parametrize("name", TEXTS)
def test_blocks_pieces_and_units_agree_to_the_bit(name, model):
    units = np.frombuffer(TEXTS[name], np.uint8).astype(np.uint32)
    whole = model.units(False, 16, 1).score(units)
    for size in (1, 7, 64):
        stream = model.units(False, 16, 1)
        pieces = [stream.score(units[first : first + size]) for first in range(0, len(units), size)]
        assert np.array_equal(np.concatenate(pieces), whole)
        read = model.units(False, 16, 1)
        for first in range(0, len(units), size):
            read.advance(units[first : first + size])
        assert np.array_equal(read.next_logits(), stream.next_logits())


@pytest.mark.parametrize("name", TEXTS)
def test_archives_give_any_text_back(name, model):
    assert decompress(compress(TEXTS[name], model), model.path) == TEXTS[name]


@torch.no_grad()
def test_rows_of_a_batch_do_not_depend_on_their_neighbours():
    """Windows of one batch have different numbers of patches; those that have fewer are padded."""
    network = build(ladder.recipe("19", "demo")).eval()
    rows = [torch.tensor(list(TEXTS[name][:128])) for name in ("English", "no spaces", "binary")]
    together = network(torch.stack(rows), hard=True).logits
    for row, logits in zip(rows, together, strict=True):
        torch.testing.assert_close(network(row[None], hard=True).logits[0], logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("part", ["gate", "distill"])
def test_what_counts_patches_of_one_length_is_refused(part):
    from cpu1.errors import UserError

    other = ladder.recipe({"gate": "07", "distill": "14"}[part], "demo")
    with pytest.raises(UserError, match="counts patches of one length; WordPatchEmbedding has others"):
        build(ladder.recipe("19", "demo").replace(**{part: getattr(other, part)}))
