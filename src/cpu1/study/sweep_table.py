"""The table of a sweep: a pure function of its run folders, as JSON and in Markdown.

Every figure is a mean over the finished seeds. A variant is compared with the first one of the same run, seed by
seed. *At equal time*: each variant's held-out learning curve, read at the training time at which the fastest variant
had finished, linearly in the logarithm of time between its points.

In a search (`asha`), variants that were stopped early have a table of their own: their bits per byte are of fewer
steps, at a learning rate that has not come down, and on the fewer documents of the learning curve.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from cpu1.errors import UserError
from cpu1.evaluation.statistics import Interval, difference
from cpu1.records import to_json
from cpu1.report.render.markdown import escape
from cpu1.report.render.markdown import table as markdown_table
from cpu1.runs.folders import Key, Run, load_run
from cpu1.runs.progress import progress
from cpu1.runs.result import Curve
from cpu1.study.asha import Rule, scores_at
from cpu1.study.plan import Plan
from cpu1.training.loop import curve_step

FORMAT = 1
MACHINE = ("processor", "cores", "threads", "torch")  # of env.json, on which speeds depend


@dataclass(frozen=True)
class Member:
    """One variant: its values, by what is varied, and its runs and seeds."""

    values: Mapping[str, str]
    plan: Plan


@dataclass(frozen=True)
class Line:
    """One run of one variant, over seeds."""

    run: str
    values: Mapping[str, str]
    folders: tuple[Run, ...]

    @property
    def done(self) -> dict[int, Run]:
        """The finished runs of this line by seed."""
        return {folder.key.seed: folder for folder in self.folders if folder.result}


def tabulate(members: Sequence[Member], options: Sequence[str] = (), rule: Rule | None = None) -> dict[str, Any]:
    """What sweep.json holds; `options` are the words of the training command that all runs share.

    rule: that of a search; None: every variant was to be trained to its end.
    Raises UserError for a damaged run folder, or runs that were not scored on the same documents.
    """
    plan = members[0].plan
    lines = [Line(run, member.values, load(member.plan, run)) for run in plan.runs for member in members]
    first = {line.run: line for line in reversed(lines)}
    time = equal_time(lines)
    folders = [folder for line in lines for folder in line.done.values()]
    rows = [row(line, first[line.run], time, rule) for line in lines]
    return {
        "format": FORMAT,
        "scale": plan.scale,
        "round": plan.round,
        "seeds": len(plan.seeds),
        "options": list(options),
        "varied": list(dict.fromkeys(name for member in members for name in member.values)),
        "corpus": to_json(folders[0].result.corpus) if folders and folders[0].result else None,
        "machine": machine(folders[0]) if folders else None,
        "equal_time_seconds": time,
        **({} if rule is None else {"search": about(rule, lines)}),
        "rows": rows,
    }


def about(rule: Rule, lines: Sequence[Line]) -> dict[str, Any]:
    """The rule of a search, and what share of all steps it trained, each run counting the same."""
    shares = [progress(folder.path).share for line in lines for folder in line.folders]
    return {"eta": rule.eta, "rungs": [str(rung) for rung in rule.rungs], "share_trained": sum(shares) / len(shares)}


def stop(line: Line, rule: Rule) -> dict[str, Any] | None:
    """Where a search has stopped a line, and what it scored there; None unless that is so for all its seeds."""
    seeds = [(folder.path, scores_at(folder.path, rule.stops)) for folder in line.folders]
    reached = min(len(scores) for _, scores in seeds)
    looks = [progress(path) for path, _ in seeds]
    if line.done or any(folder.fault for folder in line.folders) or not reached:
        return None
    share = rule.stops[reached - 1]
    if any(look.step != curve_step(share, look.steps or 0) for look in looks):
        return None  # on its way
    bpb = mean([scores[-1] for _, scores in seeds])
    return {"stopped_at_step": looks[0].step, "stopped_at_share": str(share), "stopped_bpb": bpb}


def load(plan: Plan, run: str) -> tuple[Run, ...]:
    """A run of a plan with all its seeds. UserError for a damaged folder."""
    keys = [Key(run, plan.scale, plan.round, seed) for seed in plan.seeds]
    return tuple(load_run(plan.folder / key.folder, key) for key in keys)


def machine(folder: Run) -> dict[str, Any]:
    """What of a run's machine decides its speed; empty where that is not known."""
    return {name: getattr(folder.env, name) for name in MACHINE} if folder.env else {}


def row(line: Line, first: Line, time: float | None, rule: Rule | None = None) -> dict[str, Any]:
    """The figures of a line; those of its finished seeds are None where there is none."""
    results = [folder.result for folder in line.done.values() if folder.result]
    bpb = [result.bpb for result in results]
    at_time = [at(result.curve, time) for result in results]
    gap = None if line is first else against(line, first)
    stopped = None if rule is None else stop(line, rule)
    return {
        "run": line.run,
        "values": dict(line.values),
        "seeds": list(line.done),
        "params": results[0].params if results else None,
        "bytes_seen": mean([result.bytes_seen for result in results]),
        "bpb": mean(bpb),
        "document_bpb": mean([result.document_bpb for result in results]),
        "file_bytes": mean([result.file_bytes for result in results]),
        "half_range": (max(bpb) - min(bpb)) / 2 if len(bpb) > 1 else None,
        "difference": asdict(gap) if gap else None,
        "train_bytes_per_s": mean([result.train.bytes_per_s for result in results]),
        "bpb_at_equal_time": mean(at_time),
        "generated_bytes_per_s": mean([f.speed.bytes_per_s if f.speed else None for f in line.done.values()]),
        "deleted": mean([result.gate.deletion_rate if result.gate else None for result in results]),
        "soft_bpb": mean([result.gate.soft_bpb if result.gate else None for result in results]),
        **(stopped or {}),
        "troubles": [] if stopped else [trouble(folder) for folder in line.folders if not folder.result],
    }


def mean(values: Sequence[float | None]) -> float | None:
    """None where there is nothing, or where something is missing."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present and len(present) == len(values) else None


def against(line: Line, first: Line) -> Interval | None:
    """BPB less that of the first variant, over the seeds that both have finished."""
    pairs = [(line.done[seed].documents, first.done[seed].documents) for seed in line.done if seed in first.done]
    ours, theirs = zip(*pairs, strict=True) if pairs else ((), ())
    if not pairs:
        return None
    sizes = theirs[0].bytes_D
    if any(not np.array_equal(documents.bytes_D, sizes) for documents in (*ours, *theirs)):
        raise UserError(f"{line.folders[0].path}: scored on other documents than {first.folders[0].path}")
    return difference([d.nats_D for d in ours], [d.nats_D for d in theirs], sizes, paired=True)


def equal_time(lines: Sequence[Line]) -> float | None:
    """Seconds of training after which the fastest variant had finished."""
    curves = [[folder.result.curve for folder in line.done.values() if folder.result] for line in lines]
    times = [mean([curve.seconds[-1] if curve.seconds else None for curve in seeds]) for seeds in curves]
    return min((time for time in times if time is not None), default=None)


def at(curve: Curve, time: float | None) -> float | None:
    """BPB of a learning curve after `time` seconds; None before its first point or where it does not tell times."""
    points = [(seconds, bpb) for seconds, bpb in zip(curve.seconds or (), curve.bpb, strict=False) if seconds]
    if time is None or not points or time < points[0][0]:
        return None
    seconds, bpb = zip(*points, strict=True)
    return float(np.interp(math.log(time), np.log(seconds), bpb))


def trouble(folder: Run) -> str:
    """Why a seed has no result."""
    if folder.fault:
        return f"seed {folder.key.seed} failed: {folder.fault.error.splitlines()[0]}"
    return f"seed {folder.key.seed} unfinished: {progress(folder.path).share:.0%} of its steps"


# ------------------------------------------------------------------------------------------ Markdown

MORE: dict[str, tuple[str, Callable[[float], str]]] = {  # columns where a row has them: heading and form
    "document_bpb": ("in documents", lambda value: f"{value:.4f}"),
    "file_bytes": ("file KB", lambda value: f"{value / 1e3:,.0f}"),
    "generated_bytes_per_s": ("generates KB/s", lambda value: f"{value / 1e3:.1f}"),
    "deleted": ("deleted", lambda value: f"{value:.1%}"),
    "soft_bpb": ("soft", lambda value: f"{value:.4f}"),
}
NOTES = (
    "BPB: mean over seeds; ±: half the range over seeds.",
    "Less the first: BPB less that of the run's first variant, paired by seed, with its 95% interval (bootstrap over "
    "documents, Student's t over the differences of seeds); a star marks one that rests on one seed.",
)
GATE_NOTE = "Deleted: share of held-out patches, decided hard, as in BPB; soft: BPB with k as it is, nothing skipped."
TIME_NOTE = (
    "At equal time: BPB on the held-out learning curve after {:,.0f} seconds of training, when the fastest variant had "
    "finished, linear in log time between its points; a slower variant is read there before its rate has come down, "
    "which counts against it. The curve is scored on fewer documents than BPB."
)
STOP_NOTE = (
    "Stopped by the search, which trained {:.0%} of all steps. BPB there: on the held-out learning curve, which has "
    "fewer documents than BPB, and before the rate has come down; compare it within the same share of the steps only."
)


def markdown(table: Mapping[str, Any]) -> str:
    """The table of a sweep.json, with notes on how to read it."""
    heads, cells, names = grid(table)
    notes = [*NOTES, *([TIME_NOTE.format(table["equal_time_seconds"])] if table["equal_time_seconds"] else [])]
    notes += [GATE_NOTE] if MORE["deleted"][0] in heads else []
    troubles = [f"- {escape(label(row, names))}: {escape(line)}" for row in table["rows"] for line in row["troubles"]]
    parts = [markdown_table(heads, cells, [head in names for head in heads]), "\n".join(troubles), " ".join(notes)]
    if any(is_stopped(row) for row in table["rows"]):
        parts += [stops(table, names), STOP_NOTE.format(table["search"]["share_trained"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def is_stopped(row: Mapping[str, Any]) -> bool:
    """Whether a search has stopped a row."""
    return row.get("stopped_at_step") is not None


def stops(table: Mapping[str, Any], names: Sequence[str]) -> str:
    """The table of what a search has stopped: the last first, and of those the best."""
    rows = [row for row in table["rows"] if is_stopped(row)]
    rows.sort(key=lambda row: (-Fraction(row["stopped_at_share"]), row["stopped_bpb"]))
    last = [(row["stopped_at_share"], f"{row['stopped_at_step']:,}", decimal(row["stopped_bpb"])) for row in rows]
    cells = [[*values(row, names), *more] for row, more in zip(rows, last, strict=True)]
    heads = [*names, "stopped at", "step", "BPB there"]
    return markdown_table(heads, cells, [head in names for head in heads])


def grid(table: Mapping[str, Any]) -> tuple[list[str], list[list[str]], list[str]]:
    """The headings, the cells of each row that no search has stopped, and the headings of what was varied."""
    several = len({row["run"] for row in table["rows"]}) > 1
    names = [*(["run"] if several else []), *table["varied"]]
    more = [name for name in MORE if any(row.get(name) is not None for row in table["rows"])]  # older tables lack them
    last = [*(MORE[name][0] for name in more), "seeds"]
    heads = [*names, "params", "BPB", "±", "less the first, 95%", "KB/s", "at equal time", *last]
    rows = [row for row in table["rows"] if not is_stopped(row)]
    return heads, [markdown_row(row, names, more, table["seeds"]) for row in rows], names


def markdown_row(row: Mapping[str, Any], names: Sequence[str], more: Sequence[str], seeds: int) -> list[str]:
    """A row of the sweep as cells of Markdown."""
    params = "" if row["params"] is None else f"{row['params'] / 1e6:.2f} M"
    speed = "" if row["train_bytes_per_s"] is None else f"{row['train_bytes_per_s'] / 1e3:.0f}"
    done = str(len(row["seeds"])) if len(row["seeds"]) == seeds else f"{len(row['seeds'])} of {seeds}"
    bpb, half_range, time = (decimal(row[name]) for name in ("bpb", "half_range", "bpb_at_equal_time"))
    other = ["" if row.get(name) is None else MORE[name][1](row[name]) for name in more]
    return [*values(row, names), params, bpb, half_range, change(row), speed, time, *other, done]


def values(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The cells of what was varied; empty where a row has none."""
    held = {**dict.fromkeys(names, ""), "run": row["run"], **row["values"]}
    return [escape(held[name]) for name in names]


def label(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """The values that were varied, as "name=value, ..."; "as it is" for none."""
    values = {"run": row["run"], **row["values"]}
    return ", ".join(f"{name}={values[name]}" for name in names if name in values) or "as it is"


def decimal(value: float | None) -> str:
    """Four digits after the point; empty for None."""
    return "" if value is None else f"{value:.4f}"


def change(row: Mapping[str, Any]) -> str:
    """The difference and its interval, with true minus signs."""
    gap = row["difference"]
    if gap is None:
        return ""
    bounds = "" if gap["low"] is None else f" [{gap['low']:+.4f}, {gap['high']:+.4f}]"
    return f"{gap['value']:+.4f}{bounds}".replace("-", "\N{MINUS SIGN}") + ("" if gap["seeds"] else r"\*")
