"""A training job from its words to its result: plan, run, finish."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cpu1 import device as devices
from cpu1.data.sources import files
from cpu1.errors import UserError
from cpu1.evaluation.bits import context_bytes, score
from cpu1.evaluation.report import EXCERPT_BYTES, evaluation
from cpu1.files import locked, read_json, write_json
from cpu1.format.packed import UNPACKED
from cpu1.model.network import Model, build, parameter_count
from cpu1.records import read, to_json
from cpu1.runs.folders import AGAIN, LOCK
from cpu1.runs.pack import pack_trained
from cpu1.runs.result import FORMAT, Curve, Fault, Result, Ternary, Train
from cpu1.runs.trained import Metrics, Trained, environment, save_weights
from cpu1.training import guards, loop, parallel
from cpu1.training.checkpoint import Checkpoints, Progress
from cpu1.training.plan import Job, OtherRun, Plan, make_plan
from cpu1.training.tracking import tracker
from cpu1.training.tracking.follow import Tracking

CURVE_BYTES = 32 * 1024  # held-out bytes behind each point of a learning curve
OWN = ("recipe.json", "settings.json")  # mark a folder as a run's, and say which
BEFORE = {"log.txt", "error.json", LOCK}  # what a study may have left in a run's folder before the run began
NOTHING = object()  # where a key is missing
SHOWN = 200  # characters of a value in an error
LABELS = ("run", "title", "level", "parent", "scale", "round", "seed")  # of the settings, in a result too

Report = Callable[[str | dict[str, Any]], None]


def train(job: Job, report: Report = lambda _: None) -> dict[str, Any]:
    """Runs or resumes the job and returns its `result.json`; a finished folder is returned as it is.

    In a group of processes (`parallel`) all call this; the one that leads writes and reports, and the others
    return {} when their part is done.

    Raises UserError for bad input (also written to `error.json` where there is a folder of this run), OtherRun for a
    folder that is not this run's, loop.Interrupted when a signal ended it, and loop.Reached when it has come to
    `job.until`.
    """
    _check_folder(job)
    tracker.check(job.track)
    device = devices.choose(job.device, parallel.Ranks.read().local_rank)
    fault = job.folder / "error.json"
    with parallel.join(device, job.shard) as group:
        if group.first((job.folder / "result.json").exists()):
            return _finished(job, report, group)
        if threads := job.threads or group.threads:
            torch.set_num_threads(threads)
        begun = group.first((job.folder / OWN[1]).exists())
        try:
            plan = make_plan(job, group)
            begun = False  # what goes wrong from here on is the run's own fault
            return _train(plan, report if group.leads else lambda _: None, group)
        except OtherRun:
            raise
        except UserError as error:
            if not begun:
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


def _check_folder(job: Job) -> None:
    """Raises OtherRun for a folder in which no run can be: nothing is written there, not even the error."""
    if job.folder.exists() and not job.folder.is_dir():
        raise OtherRun(f"{job.folder}: is a file; name a folder for the run with --out")
    if (job.folder / UNPACKED).exists():
        raise OtherRun(
            f"{job.folder}: holds a model unpacked from a file, not a run; train on from it with "
            f"--from {job.folder} --out NEW"
        )
    if job.start and job.start.resolve() == job.folder.resolve():
        raise OtherRun(f"{job.folder}: is what --from names; give the new run a folder of its own with --out")
    _keep_text(job)
    names = {path.name for path in job.folder.iterdir()} if job.folder.exists() else set()
    if names.isdisjoint(OWN) and (strangers := sorted(name for name in names if not _may_precede(name))):
        raise OtherRun(
            f"{job.folder}: holds {', '.join(strangers[:3])}{', ...' if len(strangers) > 3 else ''} and no run; "
            "name a new or empty folder with --out"
        )


def _keep_text(job: Job) -> None:
    """Raises OtherRun where the text lies in the folder of the run, which writes there."""
    try:
        text, folder = files(job.data), job.folder.resolve()
    except UserError:
        return  # which is told where the text is read
    if own := next((path for path in text if folder in path.resolve().parents), None):
        raise OtherRun(f"{own}: is in the folder of the run, and of the text as well; name another folder with --out")


def _may_precede(name: str) -> bool:
    """Whether a file may lie in a folder before its run begins; a killed process leaves hidden halves of its own."""
    return name in BEFORE or name.startswith(tuple(f".{own}." for own in (*OWN, *BEFORE)))


def _finished(job: Job, report: Report, group: parallel.Group) -> dict[str, Any]:
    """The result of a run that is done; OtherRun where what is asked for would have become another one."""
    plan = make_plan(job, group)
    if not group.leads:
        return {}
    result = read(Result, job.folder / "result.json", AGAIN)
    _agree_with_folder(job, _wanted(plan))
    with Tracking(job.folder, job.track, job.track_to, report) as tracking:
        tracking.result(to_json(result))
    report(f"{job.folder}: already done")
    return to_json(result)


def _write_fault(path: Path, error: UserError) -> None:
    """For a study and its report; a job that was refused before it had a folder leaves none."""
    if path.parent.exists():
        write_json(path, to_json(Fault(str(error), type(error).__name__)))


def _train(plan: Plan, report: Report, group: parallel.Group) -> dict[str, Any]:
    folder = plan.job.folder
    with ExitStack() as kept:
        if group.leads:
            _lock(kept, folder)
            _write_plan(plan, group)
            _report_start(plan, report)
        kinds = plan.job.track if group.leads else ()
        tracking = kept.enter_context(Tracking(folder, kinds, plan.job.track_to, report))
        hooks = _hooks(plan, report, tracking)
        model, progress = loop.run(folder, plan.recipe, plan.settings, plan.text, hooks, group)
        group.leave()
        if not group.leads:
            return {}
        result = _finish(plan, model, progress, report)
        tracking.result(to_json(result))
        Checkpoints(folder / "checkpoints", "", group).clear()
        return to_json(result)


def _lock(kept: ExitStack, folder: Path) -> None:
    """Makes the folder this process's own until `kept` is closed; OtherRun where another process trains in it."""
    try:
        kept.enter_context(locked(folder / LOCK, held=f"{folder}: another process is training here; wait, or stop it"))
    except UserError as error:
        raise OtherRun(str(error)) from None


def _write_plan(plan: Plan, group: parallel.Group) -> None:
    """What a run folder holds from the start; OtherRun, and nothing is written, where it holds another run."""
    folder, wanted = plan.job.folder, _wanted(plan)
    _agree_with_folder(plan.job, wanted)
    (folder / "error.json").unlink(missing_ok=True)
    for name, value in wanted.items():
        write_json(folder / name, value)
    write_json(folder / "env.json", to_json(environment(group.device, group.ranks.world)))
    if plan.tokenizer:
        plan.tokenizer.save(folder / "tokenizer.json")


def _wanted(plan: Plan) -> dict[str, Any]:
    """Everything that decides a run's weights, by the file of its folder that holds it."""
    return dict(zip(OWN, (plan.recipe.to_json(), plan.settings.to_json()), strict=True))


def _report_start(plan: Plan, report: Report) -> None:
    """Scores the weights that a new run starts from, on the text that it will be scored on at its end."""
    if plan.weights is None or (plan.job.folder / "metrics.jsonl").exists():
        return
    model = build(plan.recipe, plan.settings.seed).eval()
    model.load_state_dict(plan.weights, strict=False)
    documents = plan.corpus.select("valid", plan.job.eval_bytes, EXCERPT_BYTES)
    found = score(model, documents, context_bytes(plan.settings.window, plan.settings.level), plan.tokenizer)
    report(f"before training: {found.bpb:.4f} bits per byte of the held-out text")


def _hooks(plan: Plan, report: Report, tracking: Tracking) -> loop.Hooks:
    curve = plan.corpus.select("valid", CURVE_BYTES, 4096)
    context = context_bytes(plan.settings.window, plan.settings.level)

    def validate(model: Model) -> float:
        return score(model, curve, context, plan.tokenizer).bpb

    def line(figures: dict[str, Any]) -> None:
        tracking.line(figures)
        report(figures)

    return loop.Hooks(
        validate=validate,
        report=line,
        teacher=plan.teacher,
        weights=plan.weights,
        checkpoint_seconds=plan.job.checkpoint_seconds,
        until=None if plan.job.until is None else loop.curve_step(plan.job.until, plan.settings.steps),
    )


def _finish(plan: Plan, model: Model, progress: Progress, report: Report) -> Result:
    """Saves, evaluates and packs a trained model; its result.json comes last."""
    folder, settings = plan.job.folder, plan.settings
    save_weights(model, folder / "model.safetensors")
    trained = Trained(model, plan.recipe, plan.tokenizer, folder)
    context = context_bytes(settings.window, settings.level)
    found, documents = evaluation(trained, plan.corpus, "valid", context, plan.job.eval_bytes)
    guards.check_held_out(progress.step, found.bpb, *(vars(found.gate).values() if found.gate else ()))
    params = parameter_count(plan.recipe)
    result = Result(
        format=FORMAT,
        **{name: getattr(settings, name) for name in LABELS},
        params=params,
        ram_fp32_mb=4 * params / 1e6,
        file_bytes=0,  # of the packed model, which holds some of the rest
        step=progress.step,
        units_seen=progress.units,
        bytes_seen=progress.bytes,
        tok_per_param=progress.units / params,
        **vars(found),
        nonfinite_steps=progress.nonfinite,
        ternary=_last_ternary(folder),
        curve=_curve(folder),
        train=Train(progress.seconds, progress.bytes / progress.seconds),
    )
    result = replace(result, file_bytes=_packed_size(trained, to_json(result), report))
    write_json(folder / "documents.json", to_json(documents))
    write_json(folder / "result.json", to_json(result))
    return result


def _agree_with_folder(job: Job, wanted: dict[str, Any]) -> None:
    """Raises OtherRun where one of the files `wanted` holds something else in the folder: it is another run's."""
    for name, value in wanted.items():
        path = job.folder / name
        if path.exists() and (found := read_json(path)) != value:
            if not isinstance(found, dict):
                raise OtherRun(f"{path}: is not a run's; name a new or empty folder with --out")
            key = next(k for k in {**found, **value} if found.get(k, NOTHING) != value.get(k, NOTHING))
            old, new = _shown(found, key), _shown(value, key)
            raise OtherRun(
                f"{path}: the folder holds a run with {key} = {old}, asked for is {new}; "
                "choose another folder or remove this one"
            )


def _shown(values: dict[str, Any], key: str) -> str:
    text = repr(values[key]) if key in values else "nothing"
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _packed_size(trained: Trained, about: Mapping[str, Any], report: Report) -> int:
    """Packs the model beside its weights; an ingredient that cannot be packed yet counts as fp32."""
    try:
        return pack_trained(trained, about, trained.folder / "model.cpu1")
    except UserError as error:
        report(str(error))
        return (trained.folder / "model.safetensors").stat().st_size


def _curve(folder: Path) -> Curve:
    """The held-out learning curve."""
    lines = [line for line in Metrics.read(folder / "metrics.jsonl") if "valid_bpb" in line]
    seen, seconds, bpb = (tuple(line[key] for line in lines) for key in ("bytes", "seconds", "valid_bpb"))
    return Curve(bytes=seen, seconds=seconds, bpb=bpb)


def _last_ternary(folder: Path) -> Ternary | None:
    lines = [line for line in Metrics.read(folder / "metrics.jsonl") if "zero_fraction" in line]
    return Ternary(lines[-1]["zero_fraction"], lines[-1].get("flip_rate", 0.0)) if lines else None
