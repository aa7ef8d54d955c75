"""Judging text: percentiles that rise, worst passages where the damage is, the better of two, any number of jobs."""

import json
import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest

import cpu1
from cpu1.errors import UserError
from cpu1.judging import calibration as calibrating
from cpu1.judging.calibration import LEVELS, Calibration, beside_model, calibrate, find
from cpu1.judging.judge import Judge, better, judge
from cpu1.judging.passages import PASSAGE, excerpt, windows, worst
from cpu1.judging.scoring import _bits, bits_of_each
from cpu1.runtime.default import default_model

CLEAN = (
    "The little harbour lay quiet under the morning fog, and the fishermen waited on the stone wall with their nets "
    "folded beside them. Nobody spoke. When the bell of the church had struck seven, the first boat put out, and the "
    "gulls followed it as far as the lighthouse.\n"
)
DAMAGED = CLEAN.replace("waited on the stone wall", "vvaitcd qn tlie st0nc wa11")
RISING = tuple(1 + 0.1 * level for level in range(len(LEVELS)))


@pytest.fixture(scope="module")
def model():
    return cpu1.load()


def table(model_name: str = "00") -> Calibration:
    """Texts of 100 bytes cost 1 to 2.4 bits a byte, those of 1,600 half a bit less."""
    return Calibration(model_name, 50, (100, 1600), (RISING, tuple(value - 0.5 for value in RISING)), RISING)


def test_percentiles_rise_with_the_bits():
    for length in 100, 157, 700, 1600, 50_000:
        found = [table().percentile(bits, length) for bits in np.linspace(0, 4, 200)]
        assert found == sorted(found)
        assert (found[0], found[-1]) == (0, 100)
        assert len(set(found)) > 40


def test_a_percentile_is_that_of_the_length():
    middle = RISING[LEVELS.index(50)]
    assert table().percentile(middle, 100) == pytest.approx(50)
    assert table().percentile(middle - 0.5, 1600) == pytest.approx(50)
    assert table().percentile(middle - 0.25, 400) == pytest.approx(50)  # halfway, as lengths are ratios
    assert table().percentile(middle - 0.5, 10**6) == pytest.approx(50)
    assert table().percentile(middle, 99) is None


def test_a_calibration_of_ones_own_model(model, tmp_path):
    """Its levels are those of the texts that it was made of, and the file gives it back."""
    texts = [f"On day {day} the keeper wrote of {day * 37 % 101} ships and of the wind.\n" for day in range(60)]
    found = calibrate(model, [text.encode() for text in texts])
    assert (found.texts, found.lengths) == (60, (50,))
    costs = [float(model.score(text)[:50].mean()) for text in texts]
    assert found.percentile(min(costs) - 0.01, 50) == 0
    assert found.percentile(max(costs) + 0.01, 50) == 100
    assert found.percentile(float(np.median(costs)), 50) == pytest.approx(50, abs=2)
    found.write(tmp_path / "own.json")
    assert Calibration.read(tmp_path / "own.json") == found


def test_a_calibration_needs_text_enough(model):
    with pytest.raises(UserError, match=r"gives 3 passages of 50 bytes or more, and a calibration needs 40"):
        calibrate(model, [b"x" * 60] * 3)


def test_texts_of_a_long_document_are_drawn_from_all_of_it(monkeypatch):
    monkeypatch.setattr(calibrating, "MOST_TEXTS", 20)
    document = b"".join(b"%06d is a line of the document.\n" % number for number in range(20_000))
    drawn = calibrating._draw([document])
    firsts = [int(text[:6]) for text in drawn]  # each begins at the beginning of a line
    assert len(drawn) == 20
    assert min(firsts) < 5000
    assert max(firsts) > 15_000
    assert drawn == calibrating._draw([document])


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"levels": [1, 2]},
        {"model": 5},
        {"lengths": []},
        {"lengths": [100, 100]},
        {"bits": [[1.0]]},
        {"bits": "much"},
        {"passages": list(reversed(RISING))},
        {"passages": [float("nan")] * len(LEVELS)},
        {"passages": None},
    ],
)
def test_damaged_calibrations_are_refused(tmp_path, change):
    file = tmp_path / "bad.json"
    table().write(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=r"bad\.json: no calibration"):
        Calibration.read(file)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b" " * (2 << 20)])
def test_other_files_are_no_calibrations(tmp_path, content):
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.json: no calibration"):
        Calibration.read(tmp_path / "bad.json")


def test_the_bundled_model_is_calibrated(model):
    found = find(model)
    assert found is not None
    assert found.lengths[0] <= 50
    assert found.lengths[-1] >= 3200
    assert found.texts >= 200


def test_a_calibration_beside_the_model_comes_first(tmp_path):
    file = tmp_path / "mine.cpu1"
    file.write_bytes(default_model().read_bytes())
    model = cpu1.load(file)
    own = Calibration(find(model).model, 50, (100,), (RISING,), RISING)
    own.write(beside_model(file))
    assert find(model) == own
    table("another").write(beside_model(file))
    with pytest.raises(UserError, match=r"mine\.judge\.json: made for another model, another"):
        find(model)


def test_windows_are_means_of_passages():
    bits = np.random.default_rng(0).random(300)
    found = windows(bits)
    assert len(found) == 300 - PASSAGE + 1
    assert found[100] == pytest.approx(bits[100 : 100 + PASSAGE].mean())
    assert found[0] < bits[:PASSAGE].mean()  # the start of a text weighs less
    assert len(windows(bits[:10])) == 1


def test_the_worst_passage_is_where_the_damage_is(model):
    text = (CLEAN * 3 + DAMAGED + CLEAN).encode()
    place = text.index(b"vvaitcd")
    first = judge(text, model).passages[0]
    assert first.start <= place < first.end
    assert first.percentile >= 99
    assert "vvaitcd qn tlie" in excerpt(text, first)


def test_passages_do_not_overlap_and_end_at_words():
    text = (CLEAN * 4).encode()
    found = worst(text, np.random.default_rng(1).random(len(text)), 6)
    assert len(found) == 6
    assert [each.bits_per_byte for each in found] == sorted((each.bits_per_byte for each in found), reverse=True)
    for each in found:
        assert each.start == 0 or text[each.start - 1 : each.start].isspace()
        assert each.end == len(text) or text[each.end : each.end + 1].isspace()
        assert sum(abs(each.start - other.start) < PASSAGE - 30 for other in found) == 1
    assert worst(text, np.zeros(len(text)), 0) == []
    assert worst(b"", np.empty(0), 3) == []


def test_an_excerpt_is_one_printable_line():
    text = "Häuser\x1b[31m rot\r\n\tund \x00 blau".encode() + b"\xff\xfe" * 40
    passage = worst(text, np.ones(len(text)), 1)[0]
    shown = excerpt(text, passage)
    assert shown.isprintable()
    assert "\x1b" not in shown


def test_the_better_of_two_readings(model):
    found = better(CLEAN, DAMAGED, model)
    assert found.better == 0
    assert found.bits_per_byte > 0.1
    assert better(DAMAGED, CLEAN, model).better == 1
    assert better(CLEAN, CLEAN, model).better is None
    with pytest.raises(UserError, match="the second reading is empty"):
        better(CLEAN, "", model)


def test_verdicts(model):
    nonsense = "xq zvkj wpq fgh kkd jjw qqz vbn mxz lkj hgf dsa poi uyt rew qas wed rft gyh uji kol"
    assert judge(CLEAN, model).verdict == "ordinary"
    assert judge(nonsense, model).verdict == "suspect"
    assert judge("all work and no play. " * 60, model).verdict == "predictable"
    assert judge("hi", model).verdict == "too short"
    assert judge("", model).verdict == "empty"
    assert judge("", model).bits_per_byte == 0


def test_one_call_takes_one_text_or_many(model):
    one, two = cpu1.judge([CLEAN, DAMAGED], model)
    assert cpu1.judge(CLEAN, model) == one
    assert one.bits_per_byte < two.bits_per_byte
    assert one.bits == pytest.approx(model.score(CLEAN).sum())
    assert cpu1.judge([], model) == []
    with pytest.raises(UserError, match="a text is a string or bytes"):
        cpu1.judge(7, model)


def test_jobs_and_pieces_change_nothing(model):
    texts = [(CLEAN * (number % 4)).encode()[number:] + b"\0\xff" for number in range(14)] + [
        DAMAGED.encode() * 20,
        b"",
    ]
    one = list(bits_of_each(model, texts, 1))
    several = list(bits_of_each(model, iter(texts), 5))
    assert [text for text, _ in several] == texts
    for text, (_, bits), (_, others) in zip(texts, one, several, strict=True):
        assert np.array_equal(bits, others)
        assert np.array_equal(bits, model.score(text) if text else np.empty(0))


def test_documents_are_taken_as_they_are_needed(model):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield CLEAN.encode()[:100]

    found = bits_of_each(model, endless(), 2)
    for _ in range(3):
        next(found)
    found.close()
    assert len(taken) < 20


def test_work_stops_within_a_piece(model):
    stop = threading.Event()
    seen = []

    def progress(size):
        seen.append(size)
        stop.set()

    with pytest.raises(CancelledError):
        _bits(model, CLEAN.encode() * 100, stop, progress)
    assert len(seen) == 1


def test_a_judge_without_a_calibration(model, monkeypatch, tmp_path):
    monkeypatch.setattr(calibrating, "SHIPPED", tmp_path)
    found = next(Judge(model).each([CLEAN.encode()]))
    assert (found.percentile, found.verdict, len(found.passages)) == (None, "not calibrated", 3)
    assert json.loads(json.dumps(found.to_json()))["percentile"] is None
