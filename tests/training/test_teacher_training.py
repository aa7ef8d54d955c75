"""Training from a cache: the loss is what it says, a run resumes bit for bit, and nothing else is learned from."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.settings import PLAN
from helpers.text import write_text

from cpu1.cli import main
from cpu1.data.corpus import prepare
from cpu1.data.order import Windows
from cpu1.errors import UserError
from cpu1.model.ingredients.distillation import HiddenProjection, likeliest_divergence
from cpu1.model.network import Output
from cpu1.study.plan import Plan, make_jobs, with_teachers
from cpu1.teachers.cache import Cache, shard_path
from cpu1.teachers.open import open_teacher
from cpu1.teachers.teach import teach
from cpu1.training.job import Job, train
from cpu1.training.lessons import CacheTeacher
from cpu1.training.loop import Interrupted

SHORT = (("steps", 12), ("batch", 2), ("window", 64))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("taught")


@pytest.fixture(scope="module")
def job(shared):
    return Job(run="04", folder=shared / "unset", scale="demo", data=str(write_text(shared, documents=10)),
               cache=shared / "data", threads=1, overrides=SHORT, eval_bytes=500)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(job):
    return prepare(job.data, cache=job.cache)


@pytest.fixture(scope="module")
def cache(shared, job, corpus):
    train(replace(job, run="02", folder=shared / "teacher"))
    teach(open_teacher(str(shared / "teacher"), 1.0), corpus, shared / "cache", top_k=5, window=256)
    return shared / "cache"


def plain(logits, likeliest, shares, temperature):
    """As it is defined, all of it by autograd."""
    others = logits.shape[-1] - likeliest.shape[-1]
    student = F.softmax(logits / temperature, -1)
    chosen = student.gather(-1, likeliest)
    student = torch.cat((chosen, 1 - chosen.sum(-1, keepdim=True)), -1)
    spread = torch.cat((shares[:, :-1], shares[:, -1:] / others), -1) ** (1 / temperature)
    spread = torch.cat((spread[:, :-1], spread[:, -1:] * others), -1)
    spread = spread / spread.sum(-1, keepdim=True)
    return (spread * (spread.clamp(min=1e-300).log() - student.log())).sum(-1).mean()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
def test_the_divergence_and_its_gradient_are_those_of_the_definition(temperature, kind):
    random = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(40, 256, generator=random)).to(kind).requires_grad_()
    shares = torch.softmax(3 * torch.randn(40, 6, generator=random), -1)
    shares[0] = torch.eye(6)[2]  # certain
    shares[1] = torch.eye(6)[5]  # none of the likeliest
    likeliest = torch.rand(40, 256, generator=random).argsort(-1)[:, :5]
    wanted_at = logits.detach().double().requires_grad_()
    wanted = plain(wanted_at, likeliest, shares.double(), temperature)
    found = likeliest_divergence(likeliest, shares, logits, temperature)
    rough = {torch.float64: 1e-6, torch.float32: 1e-5, torch.bfloat16: 1e-2}[kind]
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(found, logits)
    assert gradient.dtype == kind
    torch.testing.assert_close(gradient.double(), torch.autograd.grad(wanted, wanted_at)[0], rtol=rough, atol=1e-8)


def test_a_student_that_is_sure_of_the_wrong_bytes_gets_a_finite_gradient():
    logits = torch.zeros(1, 256)
    logits[0, 0] = 500
    logits.requires_grad_()
    found = likeliest_divergence(torch.tensor([[1, 2]]), torch.tensor([[0.5, 0.3, 0.2]]), logits, 1.0)
    (gradient,) = torch.autograd.grad(found, logits)
    assert torch.isfinite(found)
    assert torch.isfinite(gradient).all()
    assert gradient[0, 0] > 0 > gradient[0, 1]


def test_a_lesson_is_about_the_windows_it_is_asked_about(cache, corpus):
    stream = corpus.splits["train"].stream
    places = Windows(stream, 64, seed=3).starts(5, 4)
    units = torch.from_numpy(stream[places[:, None] + np.arange(64)].astype(np.int64))
    held = Cache(cache)
    settings = replace(PLAN, alpha=0.25, temperature=2.0, beta=0.5)
    lesson = CacheTeacher(held, settings, patch=4, hidden=True)(units, places)
    random = torch.Generator().manual_seed(0)
    output = Output(torch.randn(4, 64, 256, generator=random), torch.randn(4, 16, 8, generator=random))
    projection = HiddenProjection(128, 8)
    for parameter in projection.parameters():
        torch.nn.init.normal_(parameter, generator=random)
    own = torch.tensor(1.5)
    found = lesson.loss(own, output, projection, torch.Tensor.detach).detach()

    divergences, error, size = [], 0.0, 0.0
    for row, place in enumerate(places):
        ids, shares = held.window(int(place), 64)
        told = torch.from_numpy(shares).double()
        divergences.append(plain(output.logits[row].double(), torch.from_numpy(ids.astype(np.int64)), told, 2.0))
        vectors, there = held.hidden(int(place), 64)
        for patch in np.flatnonzero(there[:-1]):  # s after the patch is the one that predicts the next
            target = torch.from_numpy(vectors[patch])
            guess = projection.projection.detach() @ output.s[row, patch + 1] + projection.projection_bias.detach()
            error += float((guess - target).square().sum())
            size += float(target.square().sum())
    expected = 0.75 * 1.5 + 0.25 * 4 * float(sum(divergences)) / 4 + 0.5 * error / size
    assert float(found) == pytest.approx(expected, rel=1e-4)
    without = lesson.loss(own, output, None, lambda tensor: tensor)
    assert float(without) == pytest.approx(expected - 0.5 * error / size, rel=1e-4)


def stop_at(step):
    def report(line):
        if isinstance(line, dict) and line["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    return report


@pytest.mark.parametrize("run", ["04", "14", "15"])
def test_a_run_taught_by_a_cache_resumes_bit_identical_and_learns_from_it(job, cache, tmp_path, run):
    job = replace(job, run=run, teacher_cache=cache)
    train(replace(job, folder=tmp_path / "whole"))
    for step in (3, 8):
        with pytest.raises(Interrupted):
            train(replace(job, folder=tmp_path / "pieces"), stop_at(step))
    train(replace(job, folder=tmp_path / "pieces"))
    train(replace(job, folder=tmp_path / "ignorant", overrides=(*SHORT, ("alpha", 0.0), ("beta", 0.0))))
    whole, pieces, ignorant = ((tmp_path / name / "model.safetensors").read_bytes()
                               for name in ("whole", "pieces", "ignorant"))  # fmt: skip
    assert pieces == whole != ignorant
    settings = json.loads((tmp_path / "whole" / "settings.json").read_text())
    assert settings["teacher_cache"] == Cache(cache).manifest.key[:16]


def test_how_much_a_teacher_counts_is_a_setting_of_training(job, cache, tmp_path):
    """Whose default is the recipe's."""
    changes = (("distill.alpha", "0.7"),)
    job = replace(job, run="14", teacher_cache=cache)
    train(replace(job, folder=tmp_path / "recipe", changes=changes))
    train(replace(job, folder=tmp_path / "both", changes=changes, overrides=(*SHORT, ("alpha", 0.6))))
    found = [json.loads((tmp_path / name / "settings.json").read_text())["alpha"] for name in ("recipe", "both")]
    assert found == [0.7, 0.6]


def test_what_does_not_fit_a_cache_is_refused(job, cache, shared, tmp_path):
    job = replace(job, folder=tmp_path / "run", teacher_cache=cache)
    (tmp_path / "other").mkdir()
    text = write_text(tmp_path / "other", documents=11)
    for changes, message in (
        ({"run": "01"}, "this run reads tokens"),
        ({"run": "13"}, "this run reads tokens"),
        ({"data": str(text)}, r"the cache is of topics .*, the training text is topics .*`cpu1 teach`"),
        ({"run": "14", "teacher": shared / "teacher"}, "learns from one of them"),
        ({"run": "15", "changes": (("distill.projection", "64"),)}, "a cache keeps vectors of 128"),
        ({"teacher_cache": tmp_path / "none"}, r"cache\.json"),
        ({"overrides": (*SHORT, ("temperature", 0))}, "temperature is 0"),
    ):
        with pytest.raises(UserError, match=message):
            train(replace(job, **changes))


def test_a_cache_cut_short_or_another_one_is_refused(job, cache, corpus, shared, tmp_path):
    job = replace(job, folder=tmp_path / "run", teacher_cache=tmp_path / "cache")
    teach(open_teacher(str(shared / "teacher"), 1.0), corpus, tmp_path / "cache", top_k=3, window=256)
    with pytest.raises(Interrupted):
        train(job, stop_at(3))
    with pytest.raises(UserError, match="holds a run with teacher_cache"):
        train(replace(job, teacher_cache=cache))
    shard = shard_path(tmp_path / "cache", 0)
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged or cut short"):
        train(job)
    shard.unlink()
    with pytest.raises(UserError, match="is missing"):
        train(job)


def test_in_a_study_a_cache_teaches_the_students_only(tmp_path):
    plan = Plan(tmp_path, ("16", "14"), (0,), "demo", "r1", "", teacher_cache=tmp_path / "cache")
    teachers = {"14": "02", "15": "02"}
    jobs = make_jobs(with_teachers(plan, teachers), teachers, {})
    assert [(job.key.run, job.teacher, job.teacher_cache) for job in jobs] == [
        ("16", None, None),
        ("14", None, tmp_path / "cache"),
    ]


def test_study_and_sweep_take_a_cache(job, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CPU1_CACHE", str(job.cache))
    words = ["--scale", "demo", "--data", job.data, "--eval-bytes", "500", "--teacher-cache", str(cache), "--jobs", "1"]
    words += [word for name, value in SHORT for word in ("--set", f"{name}={value}")]
    assert main(["study", "--runs", "16", "--out", str(tmp_path / "study"), *words]) == 2
    assert "in a study it teaches runs 14 and 15" in capsys.readouterr().err
    assert main(["sweep", "01", "--vary", "alpha=0.1", "--out", str(tmp_path / "tokens"), *words]) == 2
    assert "this run reads tokens" in capsys.readouterr().err
    assert main(["sweep", "16", "--vary", "alpha=0.5", "--seeds", "1", "--out", str(tmp_path / "s"), *words]) == 0
    (settings,) = (json.loads(path.read_text()) for path in (tmp_path / "s").glob("runs/alpha=0.5/*/settings.json"))
    assert settings["alpha"] == 0.5
    assert settings["teacher_cache"] == Cache(cache).manifest.key[:16]
    (row,) = json.loads((tmp_path / "s" / "sweep.json").read_text())["rows"]
    assert row["generated_bytes_per_s"] > 0  # a sweep measures what it trained
