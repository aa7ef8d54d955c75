"""Reading run folders, and the intervals."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.study_folders import make_run, write

from cpu1.errors import UserError
from cpu1.evaluation.statistics import bpb_interval, difference
from cpu1.runs.folders import Key
from cpu1.runs.progress import progress
from cpu1.runs.studies import load_runs

LN2 = np.log(2)


# ------------------------------------------------------------------------------------- run folders


def test_a_finished_run_is_read_whole(tmp_path: Path) -> None:
    make_run(tmp_path, "07", seed=2)
    (run,) = load_runs(tmp_path)
    assert run.key == Key("07", "demo", "r1", 2)
    assert run.result
    assert run.result.gate
    assert run.result.gate.target == 0.3
    assert run.result.ternary
    assert run.result.parent == "06"
    assert run.documents is not None
    assert len(run.documents.bytes_D) == run.result.corpus.documents
    assert run.speed
    assert run.speed.unit == "patch"
    assert list(run.result.curve.bytes) == list(range(40960, 801 * 4096, 8 * 40960))


@pytest.mark.parametrize("run", ["01", "02a", "05b"])
@pytest.mark.parametrize("round", ["r1", "custom", "2-hours"])
def test_a_folder_name_tells_the_run(run: str, round: str) -> None:
    key = Key(run, "nano", round, 11)
    assert Key.of(key.folder) == key
    assert Key.of("teacher-cache") is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"bpb": None}, '"bpb"'),
        ({"params": "many"}, '"params"'),
        ({"nonfinite_steps": -1}, '"nonfinite_steps"'),
        ({"level": "word"}, '"level"'),
        ({"gate": {"soft_bpb": 2.0}}, '"gate.hard_bpb"'),
        ({"generation": {}}, '"generation.verdict"'),
        ({"corpus": {"name": "x"}}, '"corpus.sha256"'),
        ({"format": 2}, '"format"'),
        ({"seed": 5}, "07-demo-r1-s5"),
    ],
)
def test_a_damaged_result_is_named_with_its_key(tmp_path: Path, change: dict, named: str) -> None:
    path = make_run(tmp_path, "07") / "result.json"
    write(path, json.loads(path.read_text()) | change)
    with pytest.raises(UserError) as error:
        load_runs(tmp_path)
    assert str(path) in str(error.value)
    assert named in str(error.value)


def test_infinity_is_not_a_number(tmp_path: Path) -> None:
    path = make_run(tmp_path, "07") / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"val_loss": float("inf")}))
    with pytest.raises(UserError, match="Infinity is not JSON"):
        load_runs(tmp_path)


@pytest.mark.parametrize("damage", ['{"bytes": [1, 2], "nats": [1.0]}', '{"bytes": [], "nats": []}', "{", "[]"])
def test_damaged_documents_are_named(tmp_path: Path, damage: str) -> None:
    path = make_run(tmp_path, "07") / "documents.json"
    path.write_text(damage)
    with pytest.raises(UserError, match=r"documents\.json"):
        load_runs(tmp_path)


def test_documents_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    path = make_run(tmp_path, "07") / "documents.json"
    write(path, {"bytes": [1000], "nats": [1000.0]})
    with pytest.raises(UserError, match=r"its documents give 1\.4427 BPB"):
        load_runs(tmp_path)


def test_a_result_under_a_strange_name_is_not_dropped(tmp_path: Path) -> None:
    make_run(tmp_path, "07").rename(tmp_path / "mine")
    with pytest.raises(UserError, match="rename it"):
        load_runs(tmp_path)


def test_a_curve_has_a_bpb_for_each_of_its_bytes(tmp_path: Path) -> None:
    make_run(tmp_path, "07", curve={"bytes": [1, 2], "bpb": [3.0]})
    with pytest.raises(UserError, match="bpb"):
        load_runs(tmp_path)


def test_progress_tells_the_states_apart(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "07")
    assert progress(folder).state == "done"
    assert progress(folder).share == 1
    (folder / "result.json").unlink()
    assert progress(folder).state == "interrupted"
    assert progress(folder, running=True).state == "running"
    write(folder / "error.json", {"error": "stalled"})
    assert progress(folder).state == "failed"
    assert progress(tmp_path / "nothing").state == "waiting"


def test_progress_reads_only_the_tail_and_passes_over_a_half_line(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "07")
    (folder / "result.json").unlink()
    line = {"step": 200, "loss": 1.5, "bpb": 2.5, "bytes_per_s": 1e5, "seconds": 10.0}
    with (folder / "metrics.jsonl").open("w") as file:
        file.write("x" * 300_000 + "\n" + json.dumps(line) + "\n" + '{"step": 210, "lo')
    now = progress(folder, running=True)
    assert (now.step, now.steps, now.loss, now.bpb) == (200, 800, 1.5, 2.5)
    assert now.seconds_left == pytest.approx(30)


# -------------------------------------------------------------------------------------- statistics


def simulate(documents: int, seeds: int, seed_spread: float, trials: int) -> float:
    """How often the interval of a difference holds the true one, for documents and seeds drawn at random."""
    random, true, hits = np.random.default_rng(0), -0.05, 0
    for trial in range(trials):
        size = random.lognormal(7, 0.8, documents)
        hard = 2.3 + 0.35 * random.standard_normal(documents)

        def side(shift: float, size: np.ndarray = size, hard: np.ndarray = hard) -> np.ndarray:
            own = seed_spread * random.standard_normal((seeds, 1))
            return size * LN2 * (hard + shift + own + 0.05 * random.standard_normal((seeds, documents)))

        found = difference(side(true), side(0.0), size, draws=500, seed=trial)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= true <= found.high
    return hits / trials


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    assert 0.92 <= simulate(documents=80, seeds=1, seed_spread=0.0, trials=400) <= 0.98
    assert 0.92 <= simulate(documents=80, seeds=3, seed_spread=0.03, trials=400) <= 0.99


def test_one_seed_does_not_cover_the_choice_of_seed() -> None:
    assert simulate(documents=80, seeds=1, seed_spread=0.03, trials=200) < 0.6


def test_a_mean_over_seeds_is_covered_too() -> None:
    random, hits, trials = np.random.default_rng(3), 0, 400
    for trial in range(trials):
        size = random.lognormal(6, 0.5, 100)
        seeds = 0.02 * random.standard_normal((3, 1))
        nats = size * LN2 * (2 + 0.3 * random.standard_normal(100) + seeds)
        found = bpb_interval(nats, size, draws=500, seed=trial)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 2 <= found.high
    assert 0.92 <= hits / trials <= 0.99


def test_bits_per_byte_weighs_documents_by_their_bytes() -> None:
    found = bpb_interval([10 * LN2, 300 * LN2], [10, 100])
    assert found.value == pytest.approx(310 / 110)
    assert not found.seeds


def test_pairing_removes_what_documents_share() -> None:
    random = np.random.default_rng(5)
    size = random.lognormal(6, 1, 50)
    parent = size * random.uniform(1, 3, 50)
    paired = difference(parent - 0.1 * size * LN2, parent, size)
    alone = bpb_interval(parent, size)
    assert paired.low == pytest.approx(-0.1)
    assert paired.high == pytest.approx(-0.1)
    assert alone.high is not None
    assert alone.low is not None
    assert alone.high - alone.low > 0.1


def test_intervals_are_deterministic_and_cover_seeds_only_when_both_sides_have_them() -> None:
    random = np.random.default_rng(6)
    size, nats = random.lognormal(6, 1, 40), random.lognormal(6, 1, (3, 40))
    assert bpb_interval(nats, size) == bpb_interval(nats, size)
    assert bpb_interval(nats, size, seed=1) != bpb_interval(nats, size)
    assert difference(nats, nats[:2], size).seeds
    assert not difference(nats, nats[0], size).seeds


def test_one_document_has_no_interval() -> None:
    assert (bpb_interval([5.0], [3]).low, bpb_interval([5.0], [3]).high) == (None, None)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="no"):
        bpb_interval([1.0, 2.0], [1])
    with pytest.raises(ValueError, match="byte"):
        bpb_interval([1.0, 2.0], [1, 0])
