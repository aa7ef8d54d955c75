"""A packed model as a program uses it: the same text as torch, with and without the engine, from any thread."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.bare import WITHOUT_LAB
from helpers.packing import pack_model
from helpers.text import write_text

import cpu1
from cpu1.cli import main
from cpu1.errors import UserError
from cpu1.evaluation.bits import score
from cpu1.model import ladder
from cpu1.model.network import build
from cpu1.runs.generate import generate
from cpu1.runs.pack import pack_run
from cpu1.runs.trained import load
from cpu1.runtime import engine
from cpu1.runtime.model import Model
from cpu1.runtime.sampling import Sampling
from cpu1.training.job import Job, train

TEXT = b"The first line of a text, and the second.\nAnother one follows here; then it ends."


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A byte run and a BPE run, briefly trained, packed with full-precision parts in fp32."""
    folder = tmp_path_factory.mktemp("runs")
    text = write_text(folder)
    for run, window in (("07", 256), ("01", 64)):
        train(Job(run=run, folder=folder / run, scale="demo", data=str(text), threads=1, eval_bytes=2000,
                  overrides=(("steps", 40), ("batch", 4), ("window", window))))  # fmt: skip
        pack_run(folder / run, folder / f"{run}.cpu1", "fp32")
    return folder


@pytest.fixture(params=["engine", "reference"])
def way(request, monkeypatch):
    """With the native engine, and as on a machine without a compiler."""
    if request.param == "engine":
        if not engine.available():
            pytest.skip("installed without the native engine")
    else:
        monkeypatch.setattr(engine, "available", lambda: False)
    return request.param


@pytest.mark.parametrize("run", ["07", "01"])
def test_greedy_text_is_that_of_torch(folders, way, run):
    size = 400 if way == "engine" else 60
    trained, greedy = load(folders / run), Sampling(temperature=0)
    wanted = b"".join(generate(trained, b"The ", size, greedy))
    assert b"".join(cpu1.load(folders / f"{run}.cpu1").chunks(b"The ", size, greedy)) == wanted


@pytest.mark.parametrize("run", ["07", "01"])
def test_scores_are_those_of_torch(folders, way, run):
    trained = load(folders / run)
    wanted = score(trained.model, [np.frombuffer(TEXT, np.uint8)], 4096, trained.tokenizer)
    bits = cpu1.load(folders / f"{run}.cpu1").score(TEXT)
    assert bits.shape == (len(TEXT),)
    assert bits.sum() == pytest.approx(wanted.nats.sum() / np.log(2), rel=1e-5)


def test_sampled_text_is_a_function_of_the_seed(folders, way):
    model = cpu1.load(folders / "07.cpu1")
    texts = [model.generate("A", max_bytes=60, seed=seed, temperature=0.9) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert "".join(model.stream("A", max_bytes=60, seed=1, temperature=0.9)) == texts[0]


def test_a_saved_state_goes_on_where_it_was(folders, way):
    model = cpu1.load(folders / "07.cpu1")
    one, other = model.units(), model.units()
    one.advance(model.encode(TEXT[:42]))
    other.state = one.state
    np.testing.assert_array_equal(one.score(model.encode(TEXT[42:60])), other.score(model.encode(TEXT[42:60])))


def test_one_long_prompt_serves_many_texts(folders, way):
    model = cpu1.load(folders / "07.cpu1")
    begun = model.generate("Once upon", max_bytes=30, seed=3)
    start = model.state
    model.prime(b"Once ")
    after = model.state
    assert model.generate("upon", max_bytes=30, seed=3) == begun
    assert model.generate("upon", max_bytes=30, seed=3) == begun  # the state stayed as it was
    model.state = start
    assert model.generate("Once upon", max_bytes=30, seed=3) == begun
    model.state = after
    assert model.generate("upon", max_bytes=30, seed=3) == begun
    with pytest.raises(UserError, match="state"):
        model.state = b"no state"[:7]


def test_sessions_of_one_model_run_in_several_threads(folders):
    model = cpu1.load(folders / "07.cpu1")
    alone = [model.generate("x", max_bytes=80, seed=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda seed: model.generate("x", max_bytes=80, seed=seed), range(4))) == alone


def test_the_file_says_what_it_holds(folders, way):
    about = cpu1.load(folders / "07.cpu1").about
    assert about["run"]["run"] == "07"
    assert about["recipe"]["gate"]["kind"] == "DeleteGate"


@pytest.mark.parametrize("damage", [b"", b"\x00" * 7, b"garbage" * 100])
def test_what_is_no_packed_file_is_named(tmp_path, way, damage):
    (tmp_path / "x.cpu1").write_bytes(damage)
    with pytest.raises(UserError, match=r"x\.cpu1"):
        Model(tmp_path / "x.cpu1")
    with pytest.raises(UserError, match="nowhere"):
        Model(tmp_path / "nowhere.cpu1")


def test_command_line_without_torch(folders):
    """`generate` and `score` of a packed file import neither torch nor anything else of the lab."""
    for words in (["generate", "The ", "-m", str(folders / "01.cpu1"), "--max-bytes", "20"],
                  ["score", "-m", str(folders / "07.cpu1"), str(folders / "topics.txt"), "--json"]):  # fmt: skip
        done = subprocess.run([sys.executable, "-c", WITHOUT_LAB, *words], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
    assert 0 < json.loads(done.stdout)["bpb"] < 8


def test_bench_measures_bytes_and_tokens(folders, capsys):
    if not engine.available():
        pytest.skip("installed without the native engine")
    for run, least, most in (("07", 4, 4), ("01", 1, 30)):
        assert main(["bench", "-m", str(folders / f"{run}.cpu1"), "--json", "--steps", "16", "--repeats", "3"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert {"run", "isa", "threads", "generate_patches_per_s", "generate_bytes_per_s", "prompt_patches_per_s",
                "floor_patches_per_s", "load_ms", "file_bytes", "rss_bytes"} <= set(found)  # fmt: skip
        assert least <= found["generate_bytes_per_s"] / found["generate_patches_per_s"] <= most
    assert main(["bench", "-m", str(folders / "topics.txt")]) == 2
    assert "topics.txt" in capsys.readouterr().err


def test_bad_input_of_score(folders, tmp_path, capsys):
    (tmp_path / "empty.txt").write_bytes(b"")
    assert main(["score", "-m", str(folders / "07.cpu1"), str(tmp_path / "empty.txt")]) == 2
    assert main(["score", "-m", str(folders / "07.cpu1"), str(tmp_path / "nowhere.txt")]) == 2
    assert "nowhere.txt: not readable" in capsys.readouterr().err


def test_run_07_at_base_scale_is_a_file_of_eleven_megabytes(tmp_path):
    packed = pack_model(build(ladder.recipe("07", "base")), tmp_path / "07.cpu1", "int8")
    assert packed.path.stat().st_size <= 11_500_000
