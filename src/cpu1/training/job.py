"""A training job from its words to its result: text, budget, loop, evaluation, run folder."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cpu1 import device as devices
from cpu1.data.bpe import TokenCorpus, Tokenizer, tokenize
from cpu1.data.corpus import Corpus, prepare
from cpu1.errors import UserError
from cpu1.evaluation.bits import TOKEN_BYTES, context_bytes, score
from cpu1.evaluation.report import EVAL_BYTES, evaluation
from cpu1.files import digest, read_json, write_json
from cpu1.model import ladder
from cpu1.model.network import parameter_count
from cpu1.model.recipe import Recipe, changed
from cpu1.runs.pack import pack_trained
from cpu1.runs.trained import Trained, environment, load, save_weights
from cpu1.teachers.cache import Cache, Manifest
from cpu1.training import guards, loop, parallel
from cpu1.training.checkpoint import Checkpoints
from cpu1.training.lessons import CacheTeacher, ModelTeacher, StepTeacher, open_cache, projection_size
from cpu1.training.settings import Budget, Settings

CURVE_BYTES = 32 * 1024  # held-out bytes behind each point of a learning curve


@dataclass(frozen=True)
class Job:
    """What is asked for. Everything that decides the weights ends up in `recipe.json` and `settings.json`."""

    run: str
    folder: Path
    scale: str = "nano"
    round: str = "r1"
    budget: Budget | None = None  # None: the round's
    seed: int = 0
    data: str = "python-stdlib"
    field: str = "text"
    cache: Path | None = None
    threads: int | None = None
    device: str = "auto"
    shard: bool = False  # a group's model is split among its processes
    teacher: Path | None = None
    teacher_cache: Path | None = None
    overrides: tuple[tuple[str, float | int | str], ...] = ()  # of Settings
    changes: tuple[tuple[str, str], ...] = ()  # of the recipe, see recipes.changed
    eval_bytes: int = EVAL_BYTES
    tensorboard: bool = False
    checkpoint_seconds: float = loop.CHECKPOINT_SECONDS

    def __post_init__(self) -> None:
        if self.teacher and self.teacher_cache:
            raise UserError("--teacher and --teacher-cache: a run learns from one of them")


Report = Callable[[str | dict[str, Any]], None]


def train(job: Job, report: Report = lambda _: None) -> dict[str, Any]:
    """Runs or resumes the job and returns its `result.json`; a finished folder is returned as it is.

    In a group of processes (`parallel`) all call this; the one that leads writes and reports, and the others
    return {} when their part is done.

    Raises UserError for bad input (also written to `error.json`), loop.Interrupted when a signal ended it.
    """
    device = devices.choose(job.device, parallel.Ranks.read().local_rank)
    fault = job.folder / "error.json"
    with parallel.join(device, job.shard) as group:
        finished = (job.folder / "result.json").exists()
        if group.leads and not finished:
            fault.unlink(missing_ok=True)
        if group.first(finished):
            return _finished(job, report) if group.leads else {}
        try:
            return _train(job, report if group.leads else lambda _: None, group)
        except UserError as error:
            _write_fault(fault, error)
            raise
        except RuntimeError as error:
            if not parallel.lost(error):
                raise
            gone = UserError(
                f"process {group.ranks.rank}: another one is gone; the newest checkpoint is good, start again to go on"
            )
            if not fault.exists():  # which the other one wrote, if it could: it knows why
                _write_fault(fault, gone)
            raise gone from None


def _finished(job: Job, report: Report) -> dict[str, Any]:
    _agree_with_folder(job, {"recipe.json": make_recipe(job).to_json()})
    report(f"{job.folder}: already done")
    return read_json(job.folder / "result.json")


def _write_fault(path: Path, error: UserError) -> None:
    write_json(path, {"error": str(error), "kind": type(error).__name__})


def _train(job: Job, report: Report, group: parallel.Group) -> dict[str, Any]:
    if threads := job.threads or group.threads:
        torch.set_num_threads(threads)
    recipe = make_recipe(job)
    model_teacher = _teacher(job, recipe, group.device)
    if job.data == "-" and group.ranks.world > 1:
        raise UserError("several processes cannot read one standard input: save it to a file first")
    corpus = prepare(job.data, field=job.field, cache=job.cache)
    cache = open_cache(job.teacher_cache, recipe, corpus) if job.teacher_cache else None
    tokens = tokenize(corpus, recipe.embedding.vocabulary) if recipe.level == "token" else None
    text = read_text(corpus, tokens)
    started = group.first(_started(job.folder))
    settings = draft(job, recipe, corpus, group.device, started)
    group.check(settings)
    if "steps" not in dict(job.overrides):
        teacher = _lessons(model_teacher, cache, recipe, settings)
        steps = _steps(job, recipe, settings, tokens, text, teacher, started, group)
        settings = replace(settings, steps=steps)
    settings = _agree_in_group(settings, group)
    if group.leads:
        wanted = {"recipe.json": recipe.to_json(), "settings.json": settings.to_json()}
        _agree_with_folder(job, wanted)
        for name, value in wanted.items():
            write_json(job.folder / name, value)
        write_json(job.folder / "env.json", environment(group.device, group.ranks.world))
        if tokens:
            tokens.tokenizer.save(job.folder / "tokenizer.json")

    curve = corpus.select("valid", CURVE_BYTES, 4096)
    hooks = loop.Hooks(
        validate=lambda model: _curve_point(model, curve, settings, tokens.tokenizer if tokens else None),
        report=_reporter(job, report),
        teacher=_lessons(model_teacher, cache, recipe, settings),
        checkpoint_seconds=job.checkpoint_seconds,
    )
    model, progress = loop.run(job.folder, recipe, settings, text, hooks, group)
    group.leave()
    if not group.leads:
        return {}

    save_weights(model, job.folder / "model.safetensors")
    trained = Trained(model, recipe, tokens.tokenizer if tokens else None, job.folder)
    context = context_bytes(settings.window, settings.level)
    found, documents = evaluation(trained, corpus, "valid", context, job.eval_bytes)
    guards.check_held_out(progress.step, found["bpb"], *(found["gate"] or {}).values())
    result = {
        "format": 1,
        **{key: getattr(settings, key) for key in ("run", "title", "level", "parent", "scale", "round", "seed")},
        "params": (params := parameter_count(recipe)),
        "ram_fp32_mb": 4 * params / 1e6,
        "file_bytes": None,  # of the packed model, once the rest is known
        "step": progress.step,
        "units_seen": progress.units,
        "bytes_seen": progress.bytes,
        "tok_per_param": progress.units / params,
        **found,
        "nonfinite_steps": progress.nonfinite,
        "ternary": _last_ternary(job.folder),
        "curve": _curve(job.folder),
        "train": {"seconds": progress.seconds, "bytes_per_s": progress.bytes / progress.seconds},
    }
    result["file_bytes"] = _packed_size(trained, result, report)
    write_json(job.folder / "documents.json", documents)
    write_json(job.folder / "result.json", result)
    Checkpoints(job.folder / "checkpoints", "", group).clear()
    return result


def read_text(corpus: Corpus, tokens: TokenCorpus | None) -> loop.Text:
    """The training split as units, with the entropy of their frequencies."""
    if tokens is None:
        lengths = np.ones(256, np.int64)
        stream, counts = corpus.splits["train"].stream, corpus.byte_counts
    else:
        lengths = np.array([len(text) for text in tokens.tokenizer.token_bytes], np.int64)
        lengths = np.pad(lengths, (0, max(0, tokens.tokenizer.vocabulary - len(lengths))))
        stream = tokens.splits["train"].stream
        counts = np.bincount(stream, minlength=len(lengths))
    lengths[0] = 0
    shares = counts[counts > 0] / counts.sum()
    return loop.Text(stream, lengths, float(-(shares * np.log(shares)).sum()))


def make_recipe(job: Job) -> Recipe:
    """The run's recipe at its scale, with what the job changes in it. UserError for what does not fit."""
    return changed(ladder.recipe(job.run, job.scale), job.changes)


def draft(job: Job, recipe: Recipe, corpus: Corpus, device: torch.device, started: Settings | None = None) -> Settings:
    """The settings of a job, but for the steps that its budget comes to. UserError for what does not fit.

    `started`: those that the run began with, if it did.
    """
    rung = ladder.find(job.run)
    scale = ladder.SCALES[rung.scale if job.scale == "card" else job.scale]
    unit = TOKEN_BYTES if recipe.level == "token" else 1
    settings = Settings(
        run=rung.run,
        title=rung.title,
        parent=rung.parent,
        level=recipe.level,
        scale=job.scale,
        round=job.round,
        seed=job.seed,
        data=corpus.name,
        data_source=job.data,
        data_sha256=corpus.sha256,
        steps=1,
        batch=scale.batch_bytes // scale.window_bytes,
        window=scale.window_bytes // unit,
        rate=scale.rate,
        precision=started.precision if started else devices.fast_precision(device),
        ternary_rate=ladder.ROUNDS[job.round].ternary_rate if job.round in ladder.ROUNDS else 1.0,
        teacher=_content(job.teacher) if job.teacher else None,
        teacher_cache=Manifest.read(job.teacher_cache).key[:16] if job.teacher_cache else None,
        **_weights(recipe),
    )
    return settings.override(dict(job.overrides))


def _weights(recipe: Recipe) -> dict[str, Any]:
    """How much a teacher counts where the recipe says so."""
    return {
        key: getattr(recipe.distill, key) for key in ("alpha", "temperature", "beta") if hasattr(recipe.distill, key)
    }


def _started(folder: Path) -> Settings | None:
    """The settings that a run began with. What its machine decided then stays: a resumed run is the same run."""
    path = folder / "settings.json"
    return Settings.read(path) if path.exists() else None


def _steps(
    job: Job,
    recipe: Recipe,
    settings: Settings,
    tokens: TokenCorpus | None,
    text: loop.Text,
    teacher: StepTeacher | None,
    started: Settings | None,
    group: parallel.Group,
) -> int:
    """The budget in steps."""
    budget = job.budget or Budget(units_per_parameter=ladder.ROUNDS[job.round].units_per_parameter)
    units = settings.batch * settings.window
    if budget.units_per_parameter is not None:
        return max(1, round(budget.units_per_parameter * parameter_count(recipe) / units))
    if budget.bytes is not None:
        return max(1, round(budget.bytes / (units * (tokens.bytes_per_token if tokens else 1))))
    if started is not None:  # minutes become steps once
        return started.steps
    assert budget.minutes is not None
    return max(1, round(budget.minutes * 60 / loop.seconds_a_step(recipe, settings, text, teacher, group)))


def _agree_in_group(settings: Settings, group: parallel.Group) -> Settings:
    """The leading process's settings; raises UserError if this one does not have the same text and teacher."""
    agreed = group.first(settings)
    for name in ("data_sha256", "teacher", "teacher_cache"):
        if getattr(settings, name) != getattr(agreed, name):
            raise UserError(
                f"process {group.ranks.rank} has {name} = {getattr(settings, name)}, process 0 has "
                f"{getattr(agreed, name)}: all machines need the same files"
            )
    return agreed


def _agree_with_folder(job: Job, wanted: dict[str, Any]) -> None:
    """Raises UserError where one of the files `wanted` holds something else in the folder: it is another run's."""
    for name, value in wanted.items():
        path = job.folder / name
        if path.exists() and (found := read_json(path)) != value:
            key = next(k for k in {**found, **value} if found.get(k) != value.get(k))
            raise UserError(
                f"{path}: the folder holds a run with {key} = {found.get(key)!r}, asked for is {value.get(key)!r}; "
                "choose another folder or remove this one"
            )


def _teacher(job: Job, recipe: Recipe, device: torch.device) -> Trained | None:
    if recipe.distill is None or job.teacher_cache:
        return None
    if job.teacher is None:
        raise UserError(
            f"run {job.run} learns from a teacher: give --teacher with the folder of a trained byte-level run, "
            "or --teacher-cache with what `cpu1 teach` wrote"
        )
    teacher = load(job.teacher, device)
    if teacher.recipe.level != "byte":
        raise UserError(f"{job.teacher}: the teacher reads tokens; a byte-level run is needed")
    return teacher


def _lessons(model: Trained | None, cache: Cache | None, recipe: Recipe, settings: Settings) -> StepTeacher | None:
    size = projection_size(recipe)
    if cache is not None:
        return CacheTeacher(cache, settings, recipe.embedding.patch, hidden=size > 0)
    return ModelTeacher(model.model, settings, size) if model else None


def _curve_point(model: Any, documents: list, settings: Settings, tokenizer: Tokenizer | None) -> float:
    context = context_bytes(settings.window, settings.level)
    return score(model, documents, context, tokenizer).bpb


def _packed_size(trained: Trained, result: dict[str, Any], report: Report) -> int:
    """Packs the model beside its weights; an ingredient that cannot be packed yet counts as fp32."""
    try:
        return pack_trained(trained, result, trained.folder / "model.cpu1")
    except UserError as error:
        report(str(error))
        return (trained.folder / "model.safetensors").stat().st_size


def _curve(folder: Path) -> dict[str, list[float]]:
    """The held-out learning curve: bytes seen, seconds of training, bits per byte."""
    lines = [line for line in loop.Metrics.read(folder / "metrics.jsonl") if "valid_bpb" in line]
    names = {"bytes": "bytes", "seconds": "seconds", "bpb": "valid_bpb"}
    return {name: [line[key] for line in lines] for name, key in names.items()}


def _last_ternary(folder: Path) -> dict[str, float] | None:
    lines = [line for line in loop.Metrics.read(folder / "metrics.jsonl") if "zero_fraction" in line]
    if not lines:
        return None
    return {"zero_fraction": lines[-1]["zero_fraction"], "flip_rate": lines[-1].get("flip_rate", 0.0)}


def _content(teacher: Path) -> str:
    """What tells one teacher's weights from another's."""
    weights = teacher / "model.safetensors"
    if not weights.exists():
        raise UserError(f"{weights}: no such file; is the teacher's run finished?")
    return digest(weights).hex()[:16]


def _reporter(job: Job, report: Report) -> Callable[[dict[str, Any]], None]:
    """Passes each line of metrics on, and to TensorBoard if asked."""
    if not job.tensorboard:
        return report
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("TensorBoard is not installed: pip install 'cpu1[tensorboard]'") from None
    writer = SummaryWriter(str(job.folder / "tensorboard"))

    def both(line: dict[str, Any]) -> None:
        for key, value in line.items():
            if key != "step" and value is not None:
                writer.add_scalar(key, value, line["step"])
        writer.flush()
        report(line)

    return both
