"""The generation test on real prose, on every way to fail it, and on its measures' definitions."""

import json
from dataclasses import asdict
from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpu1.errors import UserError
from cpu1.evaluation.generation import MAX_LOOP, byte_entropy, check, judge, loop_share, reference_entropy

TEXTS = [np.frombuffer(text.encode(), np.uint8) for text in topics.values()]
PROSE = topics["execmodel"].encode()


def prose(length, start=1000):
    return PROSE[start : start + length]


@pytest.mark.parametrize("length", [64, 128, 256, 512, 2048])
@pytest.mark.parametrize("start", [1000, 4000, 7000])
def test_prose_passes(length, start):
    verdict = judge(prose(length, start), TEXTS)
    assert verdict.verdict == "PASS", str(verdict)
    assert verdict.utf8
    assert verdict.printable
    assert verdict.reasons == ()
    assert verdict.loop < MAX_LOOP


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (b"", "0 bytes, fewer than 64"),
        (prose(63), "63 bytes, fewer than 64"),
        (b"a" * 300, "a loop: 100% of its second half repeats"),
        (b"the " * 75, "a loop: 100%"),
        (prose(100) + 10 * b"and so it goes on ", "a loop: 100%"),
        (b"".join(b"item %d of the list; " % i for i in range(20)), "a loop: "),
        (b" \n" * 100 + prose(100), "byte entropy too low"),
        (np.random.default_rng(0).integers(32, 127, 300, np.uint8).tobytes(), "byte entropy too high"),
        (np.random.default_rng(0).integers(1, 256, 300, np.uint8).tobytes(), "no UTF-8 at byte"),
        (prose(150) + b"\x1b[2J" + prose(150), "1 control characters, the first U+001B"),
        (prose(150) + "\x85\x9b".encode() + prose(150), "2 control characters, the first U+0085"),
        (prose(150) + b"\xe2\x82" + prose(150), "no UTF-8 at byte 150 (0xe2)"),
        (prose(150) + b"\xff", "no UTF-8 at byte 150 (0xff)"),
        (prose(150) + b"\xe2\x82\0", "no UTF-8 at byte 150 (0xe2)"),
    ],
)
def test_broken_samples_fail_with_the_reason(sample, reason):
    verdict = judge(sample, TEXTS)
    assert verdict.verdict == "FAIL"
    assert reason in " ".join(verdict.reasons)
    assert reason in str(verdict)


def test_only_a_character_cut_at_the_very_end_is_forgiven():
    whole = prose(200) + "€".encode()
    assert [judge(whole[:end], TEXTS).verdict for end in (201, 202, 203)] == ["PASS"] * 3
    assert judge(whole[:202] + b" ", TEXTS).utf8 is False


def test_tab_line_feed_and_return_are_printable_other_controls_are_not():
    inside = prose(100) + b"%c" + prose(100)
    printable = {code for code in range(1, 128) if check(inside % code, 4.2).printable}
    assert printable == {9, 10, 13} | set(range(32, 127))


def test_the_tolerance_follows_the_corpus_and_has_a_least():
    sample = prose(256)
    entropy = byte_entropy(np.frombuffer(sample, np.uint8))
    assert check(sample, entropy + 0.49).verdict == "PASS"
    assert check(sample, entropy + 0.51).reasons == ("byte entropy too low",)
    assert check(sample, entropy - 0.51).reasons == ("byte entropy too high",)
    assert check(sample, entropy - 0.89, 0.3).verdict == "PASS"
    assert check(sample, entropy - 0.91, 0.3).verdict == "FAIL"


@pytest.mark.parametrize("reference", [(float("nan"),), (-1,), (9,), (4, float("nan"))])
def test_a_senseless_reference_is_refused(reference):
    with pytest.raises(ValueError, match="0 to 8 bits"):
        check(prose(100), *reference)


def test_the_verdict_shows_its_figures_and_is_plain_data():
    verdict = check(prose(256), 4.2)
    loop, entropy = verdict.loop, verdict.entropy
    assert str(verdict) == f"PASS · printable · loop {loop:.2f} · entropy {entropy:.2f} bits (corpus 4.20 ± 0.50)"
    assert json.loads(json.dumps(asdict(verdict)))["loop"] == verdict.loop


@given(st.lists(st.sampled_from(b"ab"), max_size=60))
def test_loop_share_is_its_definition(data):
    n, shares = len(data), [0.0]
    for period in range(1, min(n // 4, 128) + 1):
        tail = range(n // 2, n)
        shares.append(sum(data[i] == data[i - period] for i in tail) / len(tail))
    assert loop_share(np.array(data, np.uint8)) == pytest.approx(max(shares))


def test_a_loop_scores_by_where_it_begins():
    noise = np.random.default_rng(1).integers(0, 256, 512, np.uint8)
    for begin, low, high in [(256, 0.9, 1.0), (300, 0.75, 0.9), (450, 0.1, 0.3)]:
        looped = np.concatenate([noise[:begin], np.resize(noise[:20], 512 - begin)])
        assert low <= loop_share(looped) <= high
    assert loop_share(np.resize(noise[:129], 1024)) < 0.1  # longer than what counts as a short loop


def test_byte_entropy():
    assert byte_entropy(np.zeros(0, np.uint8)) == 0
    assert byte_entropy(np.zeros(9, np.uint8)) == 0
    assert byte_entropy(np.array([1, 1, 2, 3], np.uint8)) == pytest.approx(1.5)
    assert byte_entropy(np.arange(256, dtype=np.uint8)) == pytest.approx(8)


def test_the_reference_is_of_windows_of_the_same_length():
    """All windows of a short text, cut over three documents, one of them empty: mean and sd by hand."""
    text = np.frombuffer(b"abracadabra", np.uint8)
    documents = [text[:4], text[4:4], text[4:7], text[7:]]
    windows = [byte_entropy(text[i : i + 6]) for i in range(6)]
    mean, sd = reference_entropy(documents, 6, draws=20_000)
    assert mean == pytest.approx(np.mean(windows), abs=0.01)
    assert sd == pytest.approx(np.std(windows), abs=0.01)
    assert reference_entropy(documents, 11, draws=3) == (pytest.approx(byte_entropy(text)), pytest.approx(0))
    assert reference_entropy(TEXTS, 64)[0] < reference_entropy(TEXTS, 4096)[0]
    assert reference_entropy(TEXTS, 256) == reference_entropy(TEXTS, 256)


@pytest.mark.parametrize("texts", [[], [np.zeros(3, np.uint8), np.zeros(0, np.uint8)]])
def test_a_corpus_shorter_than_the_sample_is_refused(texts):
    with pytest.raises(UserError, match="fewer than the 10 of a sample"):
        reference_entropy(texts, 10)
