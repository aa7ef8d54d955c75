"""What is to be trained: a job's words made into recipe, settings, text and teacher."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cpu1.data.bpe import TokenCorpus, Tokenizer, tokenize, tokenize_with
from cpu1.data.corpus import Corpus, prepare
from cpu1.errors import UserError
from cpu1.evaluation.bits import TOKEN_BYTES
from cpu1.evaluation.report import EVAL_BYTES
from cpu1.files import digest
from cpu1.format.tokens import SEPARATOR
from cpu1.model import ladder
from cpu1.model.network import Model, computing_count
from cpu1.model.recipe import Recipe, changed
from cpu1.ops.products import training_precision
from cpu1.runs.settings import Settings
from cpu1.runtime.sampling import is_whole
from cpu1.teachers.cache import Manifest
from cpu1.training import checkpoint, loop
from cpu1.training.lessons import StepTeacher, open_teacher
from cpu1.training.parallel import Group
from cpu1.training.start import RATE_SHARE, TUNED, Start, fitting, open_start, reopen_start

SCALE = "nano"  # where nothing says another
CUSTOM = "custom"  # the round of a budget of one's own


class OtherRun(UserError):
    """The folder holds another run, or none: not even the error may be written there."""


@dataclass(frozen=True)
class Budget:
    """How long to train: exactly one of the three is given."""

    units_per_parameter: float | None = None
    bytes: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.units_per_parameter, self.bytes, self.minutes) if value is not None]
        if len(given) != 1:
            raise UserError("give one budget: a round, --bytes or --minutes")
        number = is_whole(given[0]) or isinstance(given[0], float)
        if not (number and math.isfinite(given[0]) and given[0] > 0):
            raise UserError(f"the training budget is {given[0]!r}; it must be a positive number")


@dataclass(frozen=True)
class Job:
    """What is asked for. Everything that decides the weights ends up in `recipe.json` and `settings.json`."""

    run: str | None  # None: that of `start`
    folder: Path
    scale: str | None = None  # None: that of `start`, else nano
    round: str | None = None  # None: "tuned" with a `start`, "custom" with a budget, else r1
    budget: Budget | None = None  # None: the round's; with a `start`, one pass over the text
    seed: int = 0
    data: str = "python-stdlib"
    field: str = "text"
    cache: Path | None = None
    threads: int | None = None
    device: str = "auto"
    shard: bool = False  # a group's model is split among its processes
    teacher: Path | None = None  # a trained run to learn from
    teacher_cache: Path | None = None
    start: Path | None = None  # a run folder or a packed file whose weights the run starts from
    overrides: tuple[tuple[str, float | int | str], ...] = ()  # of Settings
    changes: tuple[tuple[str, object], ...] = ()  # of the recipe, see recipe.changed
    eval_bytes: int = EVAL_BYTES
    track: tuple[str, ...] = ()  # trackers that follow it
    track_to: Path | None = None  # where they keep their files; None: in `folder`
    checkpoint_seconds: float = loop.CHECKPOINT_SECONDS
    until: Fraction | None = None  # share of the steps after which it is saved and stops; it decides no weights

    def __post_init__(self) -> None:
        if self.teacher and self.teacher_cache:
            raise UserError("--teacher and --teacher-cache: a run learns from one of them")
        if not (is_whole(self.seed) and 0 <= self.seed < 2**63):
            raise UserError(f"seed is {self.seed!r}; give a whole number from 0 to 2^63 - 1")
        if not self.start and self.round not in (None, CUSTOM, *ladder.ROUNDS):
            raise UserError(f"round {self.round!r} is not known; there are {', '.join(ladder.ROUNDS)}")
        if self.round == CUSTOM and self.budget is None:
            raise UserError("the round `custom` needs a budget of its own: --bytes or --minutes")
        if self.threads is not None and not (is_whole(self.threads) and self.threads >= 1):
            raise UserError(f"threads is {self.threads!r}; give a whole number of at least 1")
        if self.start and self.round not in (None, TUNED):
            raise UserError(
                f"--round {self.round}: a round is a budget for training from scratch; with --from give --bytes or "
                "--minutes, or neither for one pass over the text"
            )


@dataclass(frozen=True)
class Plan:
    """All that a run needs to begin."""

    job: Job
    recipe: Recipe
    settings: Settings
    corpus: Corpus
    tokens: TokenCorpus | None  # of a token model
    text: loop.Text
    teacher: StepTeacher | None
    weights: dict[str, Tensor] | None  # to start from; None: the seed's, or a checkpoint's

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Of a token model; None for a byte model."""
        return self.tokens.tokenizer if self.tokens else None


def make_plan(job: Job, group: Group) -> Plan:
    """Reads what the job names and settles how long to train. UserError for what does not fit; writes nothing."""
    started = group.first(_started(job.folder))
    start = find_start(job, started, group.first(_begun(job.folder)))
    recipe = make_recipe(job, start)
    weights = fitting(start, recipe) if start else None
    if recipe.distill is not None and not (job.teacher or job.teacher_cache):
        raise UserError(
            f"run {job.run} learns from a teacher: give --teacher with the folder of a trained byte-level run, "
            "or --teacher-cache with what `cpu1 teach` wrote"
        )
    if job.data == "-" and group.ranks.world > 1:
        raise UserError("several processes cannot read one standard input: save it to a file first")
    corpus = prepare(job.data, field=job.field, cache=job.cache)
    tokens = _tokens(corpus, recipe, start)
    text = replace(read_text(corpus, tokens, recipe.separator), lookups=find_lookups(recipe, corpus))
    settings = draft(job, recipe, corpus, group.device, started, start)
    group.check(settings)
    teacher = open_teacher(job.teacher, job.teacher_cache, recipe, corpus, settings, group.device)
    if "steps" not in dict(job.overrides):
        budget = _budget(job, corpus)
        settings = replace(settings, steps=_steps(budget, recipe, settings, tokens, text, teacher, started, group))
    if job.until is not None and loop.curve_step(job.until, settings.steps) < 1:
        raise UserError(f"--until {job.until}: of {settings.steps} steps that is none; give a larger share")
    return Plan(job, recipe, _agree_in_group(settings, group), corpus, tokens, text, teacher, weights)


def find_start(job: Job, started: Settings | None, begun: bool) -> Start | None:
    """The weights that a job starts from. A run that has `begun` carries them in its checkpoints: it needs no source.

    `started`: the settings in the job's folder, if it has any. UserError where they are of other weights.
    """
    if job.start is None:
        return None
    if started and started.start is None:
        raise OtherRun(f"{job.folder}: holds a run that began from scratch, not from weights; choose another --out")
    if started and begun:
        return reopen_start(job.folder, started)
    start = open_start(job.start)
    if started and started.start != start.content:
        raise OtherRun(
            f"{job.start}: its weights have changed since {job.folder} was started from them (SHA-256 "
            f"{started.start}, now {start.content}), and no checkpoint was written yet; remove {job.folder} or put "
            "them back"
        )
    return start


def _tokens(corpus: Corpus, recipe: Recipe, start: Start | None) -> TokenCorpus | None:
    """The text in the tokens of a token model: those of its start, or of a tokenizer of this text's own."""
    if recipe.level != "token":
        return None
    if start is None or start.tokenizer is None:
        return tokenize(corpus, recipe.embedding.vocabulary)
    return tokenize_with(corpus, start.tokenizer)


def read_text(corpus: Corpus, tokens: TokenCorpus | None, separator: int) -> loop.Text:
    """The training split as units, with the entropy of their frequencies."""
    ends = None
    if tokens is None:
        split = corpus.splits["train"]
        stream, counts = split.stream, corpus.byte_counts
        lengths = np.ones(max(len(counts), separator + 1), np.int64)
        if separator != SEPARATOR:
            ends = split.ends
    else:
        lengths = np.array([len(text) for text in tokens.tokenizer.token_bytes], np.int64)
        lengths = np.pad(lengths, (0, max(0, tokens.tokenizer.vocabulary - len(lengths))))
        stream = tokens.splits["train"].stream
        counts = np.bincount(stream, minlength=len(lengths))
    lengths[separator] = 0
    shares = counts[counts > 0] / counts.sum()
    frequency_loss = float(-(shares * np.log(shares)).sum())
    return loop.Text(stream, lengths, frequency_loss, ends=ends, separator=separator)


def find_lookups(recipe: Recipe, corpus: Corpus) -> tuple[Any, ...]:
    """What windows of the training split find, for each lookup of a recipe's model."""
    with torch.device("meta"):
        lookups = Model(recipe).lookups
    return tuple(lookup.of_text(corpus.splits["train"], corpus.folder) for lookup in lookups)


def make_recipe(job: Job, start: Start | None = None) -> Recipe:
    """The recipe of the run at its scale, or of the weights it starts from, with what the job changes in it.

    What only distillation needs is left out of the latter where there is no teacher. UserError for what does not fit.
    """
    if start is None:
        if job.run is None:
            raise UserError("name a run of the ladder, or with --from the weights to start from")
        return changed(ladder.recipe(job.run, job.scale or SCALE), job.changes)
    start.check(job.run, job.scale)
    taught = job.teacher or job.teacher_cache
    return changed(start.recipe if taught else start.recipe.replace(distill=None), job.changes)


def draft(
    job: Job,
    recipe: Recipe,
    corpus: Corpus,
    device: torch.device,
    started: Settings | None = None,
    start: Start | None = None,
) -> Settings:
    """The settings of a job, but for the steps that its budget comes to. UserError for what does not fit.

    `started`: those that the run began with, if it did. A text that has only moved since is the same text.
    """
    moved = started if started and started.data_sha256 == corpus.sha256 else None
    rung = ladder.find(job.run or (start.run if start else ""))
    name = job.scale or (start.scale if start else SCALE)
    scale = ladder.SCALES[rung.scale if name in ladder.ORIGINAL else name]
    round = job.round or (TUNED if start else CUSTOM if job.budget else "r1")
    unit = TOKEN_BYTES if recipe.level == "token" else 1
    settings = Settings(
        run=rung.run,
        title=rung.title,
        parent=rung.parent,
        level=recipe.level,
        scale=name,
        round=round,
        seed=job.seed,
        data=moved.data if moved else corpus.name,
        data_source=moved.data_source if moved else job.data,
        data_sha256=corpus.sha256,
        steps=1,
        batch=scale.batch_bytes // scale.window_bytes,
        window=scale.window_bytes // unit,
        rate=scale.rate * (RATE_SHARE if start else 1),
        precision=started.precision if started else training_precision(device),
        ternary_rate=ladder.ROUNDS[round].ternary_rate if round in ladder.ROUNDS else 1.0,
        teacher=_content(job.teacher) if job.teacher else None,
        teacher_cache=Manifest.read(job.teacher_cache).key[:16] if job.teacher_cache else None,
        start=start.content if start else None,
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
    try:
        return Settings.read(path) if path.exists() else None
    except UserError as error:
        raise OtherRun(str(error)) from None


def _begun(folder: Path) -> bool:
    """Whether a run has weights of its own already."""
    return (folder / "result.json").exists() or any(folder.glob(f"checkpoints/{checkpoint.NAME}"))


def _budget(job: Job, corpus: Corpus) -> Budget:
    """What was asked for; with weights to start from, one pass over the text; else the round's."""
    if job.budget:
        return job.budget
    if job.start:
        return Budget(bytes=corpus.splits["train"].size)
    return Budget(units_per_parameter=ladder.ROUNDS[job.round or "r1"].units_per_parameter)


def _steps(
    budget: Budget,
    recipe: Recipe,
    settings: Settings,
    tokens: TokenCorpus | None,
    text: loop.Text,
    teacher: StepTeacher | None,
    started: Settings | None,
    group: Group,
) -> int:
    """The budget in steps."""
    units = settings.batch * settings.window
    if budget.units_per_parameter is not None:
        return max(1, round(budget.units_per_parameter * computing_count(recipe) / units))
    if budget.bytes is not None:
        return max(1, round(budget.bytes / (units * (tokens.bytes_per_token if tokens else 1))))
    if started is not None:  # minutes become steps once
        return started.steps
    assert budget.minutes is not None
    return max(1, round(budget.minutes * 60 / loop.seconds_a_step(recipe, settings, text, teacher, group)))


def _agree_in_group(settings: Settings, group: Group) -> Settings:
    """The leading process's settings; raises UserError if this one does not have the same text, teacher and start."""
    agreed = group.first(settings)
    for name in ("data_sha256", "teacher", "teacher_cache", "start"):
        if getattr(settings, name) != getattr(agreed, name):
            raise UserError(
                f"process {group.ranks.rank} has {name} = {getattr(settings, name)}, process 0 has "
                f"{getattr(agreed, name)}: all machines need the same files"
            )
    return agreed


def _content(teacher: Path) -> str:
    """A fingerprint of a teacher's weights."""
    weights = teacher / "model.safetensors"
    if not teacher.is_dir():
        raise UserError(f"{teacher}: no such run folder to learn from")
    if not weights.exists():
        raise UserError(f"{weights}: no such file; is the teacher's run finished?")
    return digest(weights).hex()[:16]
