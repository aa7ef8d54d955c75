"""Bits per byte: a valid code length, document by document."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.text import write_text

from cpu1.data.bpe import tokenize
from cpu1.data.corpus import prepare
from cpu1.errors import UserError
from cpu1.evaluation.bits import score
from cpu1.evaluation.report import by_position, evaluate_text, frequency_bpb
from cpu1.evaluation.speed import measure
from cpu1.model import ladder
from cpu1.model.network import build
from cpu1.training.job import Job, train


@pytest.fixture(scope="module")
def model():
    return build(ladder.recipe("07", "demo"), seed=3).eval()


def documents(*texts: bytes) -> list[np.ndarray]:
    return [np.frombuffer(text, np.uint8) for text in texts]


@torch.no_grad()
def test_score_equals_the_chain_rule_unit_by_unit(model):
    text = b"The first document, of an odd length."
    found = score(model, documents(text), context=16)
    nats = 0.0
    for begin in range(0, len(text), 16):
        window = torch.tensor(list(text[begin : begin + 16]))[None]
        state, begun = model.start(), window[:, :0]
        for i in range(window.shape[1]):
            nats -= float(model.next_logits(begun, state).log_softmax(-1)[0, window[0, i]])
            begun = torch.cat((begun, window[:, i : i + 1]), 1)
            if begun.shape[1] == 4:
                _, state = model.extend(begun, state)
                begun = begun[:, :0]
    assert found.nats[0] == pytest.approx(nats, rel=1e-5)
    assert found.bpb == pytest.approx(nats / len(text) / np.log(2), rel=1e-5)


def test_bits_by_place_in_the_window(model):
    text = bytes(range(32, 126)) * 3
    found = score(model, documents(text, text[:70]), context=64)
    assert found.nats_at.sum() == pytest.approx(found.nats.sum())
    assert found.units_at.tolist() == [7 if place < 6 else 6 if place < 26 else 5 for place in range(64)]
    places = by_position(found)
    assert places.start == (0, 4, 8, 16, 32)
    assert places.bpb[2] == pytest.approx(found.nats_at[8:16].sum() / found.units_at[8:16].sum() / np.log(2))


def test_documents_do_not_run_into_each_other(model):
    texts = documents(b"one document", b"another, longer than the first" * 9, b"x", b"")
    together = score(model, texts, context=64)
    apart = [score(model, [text], context=64).nats[0] for text in texts if len(text)]
    np.testing.assert_allclose(together.nats[:3], apart, rtol=1e-5)
    assert together.nats[3] == 0
    assert together.bytes.tolist() == [12, 270, 1, 0]


def test_a_uniform_model_has_eight_bits_and_the_separator_among_its_choices(model):
    flat = build(ladder.recipe("02a", "demo"))
    torch.nn.init.zeros_(flat.head.output)
    assert score(flat, documents(bytes(range(256))), context=64).bpb == pytest.approx(np.log2(257), rel=1e-6)


def test_longer_context_is_used(model):
    text = documents(b"abcdefghij" * 40)
    assert score(model, text, context=16).nats[0] != score(model, text, context=400).nats[0]


def test_nothing_to_score_is_an_error(model):
    with pytest.raises(UserError, match="nothing to score"):
        score(model, documents(b""), context=16)


def test_soft_and_hard_gate_differ_and_deletion_is_counted(model):
    text = documents(bytes(range(32, 127)) * 6)
    with torch.no_grad():
        model.gate.down_bias.fill_(0.0)
    hard, soft = score(model, text, 64), score(model, text, 64, hard=False)
    assert 0 < hard.deleted < 1
    assert hard.bpb != soft.bpb
    with torch.no_grad():
        model.gate.down_bias.fill_(1e4)
    assert score(model, text, 64).deleted == 0


def test_token_runs_are_scored_in_bytes_of_text(tmp_path):
    corpus = prepare(str(write_text(tmp_path)), cache=tmp_path / "cache")
    recipe = ladder.recipe("13", "demo")
    tokens = tokenize(corpus, recipe.head.vocabulary)
    text = corpus.select("valid", 3000, 1000)
    found = score(build(recipe), text, 256, tokens.tokenizer)
    assert found.bytes.sum() == sum(map(len, text))
    assert found.units.sum() == sum(len(tokens.tokenizer.encode(bytes(t))) for t in text)
    assert found.bpb == pytest.approx(found.loss * found.units.sum() / found.bytes.sum() / np.log(2))


def test_frequency_baseline_is_the_cross_entropy_with_training_counts(tmp_path):
    corpus = prepare(str(write_text(tmp_path)), cache=tmp_path / "cache")
    text = corpus.select("valid", 500, 100)
    counts = np.bincount(np.concatenate(list(corpus.splits["train"])), minlength=256) + 0.5
    slow = -sum(np.log2(counts[b] / counts.sum()) for d in text for b in d) / sum(map(len, text))
    assert frequency_bpb(corpus, text) == pytest.approx(slow)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    text = write_text(folder)
    job = Job(run="07", folder=folder / "07", scale="demo", data=str(text), threads=1, eval_bytes=2000,
              overrides=(("steps", 4), ("batch", 2), ("window", 64)))  # fmt: skip
    train(job)
    train(replace(job, run="01", folder=folder / "01", overrides=(("steps", 4), ("batch", 2), ("window", 16))))
    return folder


def test_evaluate_text_on_its_own_and_on_another_text(run_folder, tmp_path):
    own = evaluate_text(run_folder / "07", None, "text", "valid", None, 2000, False)
    assert own["bpb"] == pytest.approx(json.loads((run_folder / "07" / "result.json").read_text())["bpb"], rel=1e-6)
    assert set(own["baselines"]) == {"uniform", "byte frequencies", "order-2 bytes", "zstd -19", "xz -9e"}
    assert own["gate"]["hard_bpb"] == own["bpb"]
    other = tmp_path / "other.txt"
    other.write_bytes(bytes(range(256)) * 40)
    strange = evaluate_text(run_folder / "07", str(other), "text", "all", 32, 20_000, False)
    assert strange["corpus"]["bytes"] == 10_240
    assert strange["bpb"] > own["bpb"]
    joined = evaluate_text(run_folder / "07", None, "text", "valid", None, 2000, True)
    assert joined["corpus"]["documents"] == 1


def test_a_loaded_model_is_the_trained_one(run_folder, tmp_path):
    """Fixed decays of the memory (run 09) are in no weights file: they must come from the recipe."""
    job = Job(run="09", folder=tmp_path / "09", scale="demo", data=str(run_folder / "topics.txt"), threads=1,
              eval_bytes=2000, overrides=(("steps", 25), ("batch", 2), ("window", 64)))  # fmt: skip
    for folder, result in ((tmp_path / "09", train(job)), (run_folder / "07", None), (run_folder / "01", None)):
        result = result or json.loads((folder / "result.json").read_text())
        assert evaluate_text(folder, None, "text", "valid", None, 2000, False)["bpb"] == result["bpb"]


def test_speed_is_measured_for_bytes_and_tokens(run_folder):
    measure([run_folder / "07", run_folder / "01"])
    for run, unit in (("07", "patch"), ("01", "token")):
        speed = json.loads((run_folder / run / "speed.json").read_text())
        assert speed["unit"] == unit
        assert speed["bytes_per_s"] > 0
    byte = json.loads((run_folder / "07" / "speed.json").read_text())
    assert byte["bytes_per_s"] == pytest.approx(4 * byte["patches_per_s"])
