"""Trains a model on a text for a given time, and keeps the one that predicts the held-out text best.

The rate falls linearly to zero over a number of steps that is settled once, from how long a step takes here. On a
machine that gets slower afterwards it falls with the clock instead, so that training ends in time. Everything else is a
function of the text, the model and the seed: a run that was killed ends with the same weights as one that was not. What
is looked at is the packed file, read by the engine as users will read it.

Shapes: B windows, N bytes of one.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cpu1 import ops
from cpu1.adapting.folder import Folder, Look, Looks, Plan, Task
from cpu1.adapting.measure import bits_per_byte, cores, some_of
from cpu1.adapting.text import Parts
from cpu1.data.order import Windows
from cpu1.data.split import Split, write_split
from cpu1.errors import UserError
from cpu1.format.tokens import SEPARATOR
from cpu1.model import ladder
from cpu1.model.network import Model, build
from cpu1.model.recipe import Recipe
from cpu1.ops.products import training_precision
from cpu1.runs.pack import pack_trained
from cpu1.runs.settings import Settings
from cpu1.runs.trained import Trained
from cpu1.runtime.model import Model as PackedModel
from cpu1.training import loop
from cpu1.training.checkpoint import Checkpoints, Progress
from cpu1.training.guards import check_finite
from cpu1.training.optim import optimizer as make_optimizer
from cpu1.training.parallel import Group
from cpu1.training.start import TUNED, Start, fitting, open_start
from cpu1.training.step import Windowed, step

SCRATCH = ("18", "nano")  # run and scale of a model from nothing
# The farther a text is from what the model knows, the higher the rate: the scale's peak rate at FAR bits per byte.
FAR = 5.0
BATCH_BYTES = 4096  # of text in a step
WARMUP = 0.05  # share of the steps
PASSES = 12.0  # over the text at most, so that a short one is not learned by heart
LOOKS = 10  # spread evenly over the steps
LOOK_BYTES = 64 << 10  # of held-out text, at most, in each look
PATIENCE = 3  # looks without a gain, after which the second half of a training stops; the first has a high rate
SLACK = 1.1  # of the planned time: beyond it the clock decides
MEASURED = 5  # steps that show how long one takes


@dataclass(frozen=True)
class Wish:
    """What is asked for."""

    minutes: float
    seed: int = 0
    threads: int | None = None  # None: all cores
    steps: int | None = None  # instead of those that the minutes come to
    checkpoint_seconds: float = loop.CHECKPOINT_SECONDS

    def __post_init__(self) -> None:
        if not (math.isfinite(self.minutes) and self.minutes > 0):
            raise UserError(f"--minutes is {self.minutes}; it must be a positive number")


@dataclass(frozen=True)
class State:
    """How far a training is, for those who wait for it."""

    place: int  # among the steps of the plan
    steps: int
    step: int  # how many were done
    seconds: float  # of training, in all processes that had a part in it
    looks: Looks


Report = Callable[[State], None]


class Ended(Exception):
    """SIGINT, SIGTERM or SIGHUP arrived; the run is saved and can be resumed."""


def open_model(path: Path) -> Start:
    """The weights of a packed file; UserError for a model that cannot be trained on."""
    start = open_start(path)
    if start.recipe.level != "byte":
        raise UserError(f"{path}: reads tokens, and only models that read bytes can be adapted")
    return start


def nothing() -> Start:
    """A small model that knows nothing yet."""
    run, scale = SCRATCH
    return Start(Path("scratch"), "scratch", run, scale, ladder.recipe(run, scale), None, None)


def task_of(wish: Wish, start: Start, parts: Parts) -> Task:
    """What marks the folder of a training."""
    return Task(1, parts.identity, start.content, float(wish.minutes), wish.seed)


def train(wish: Wish, start: Start, parts: Parts, folder: Folder, report: Report = lambda _: None) -> Looks:
    """Trains, or goes on training, in `folder`, where the best model is then; returns what was seen of it.

    Raises Ended when a signal stopped it, UserError for a folder of something else.
    """
    with folder.held(task_of(wish, start, parts)):
        torch.set_num_threads(wish.threads or cores())
        ops.retain_memory()
        return _Run(wish, start, parts, folder, report).run()


class _Run:
    """One process's part of a training."""

    def __init__(self, wish: Wish, start: Start, parts: Parts, folder: Folder, report: Report) -> None:
        self.start, self.folder, self.report, self.wish = start, folder, report, wish
        self.begun = time.monotonic()
        self.recipe = start.recipe.replace(distill=None)
        self.group = Group(torch.device("cpu"))
        self.text = _text(parts, folder.path, self.recipe)
        self.sample = some_of(parts.held_out, LOOK_BYTES)
        self.looks = folder.looks()
        self.model = build(self.recipe, wish.seed).train()
        self.model.load_state_dict(fitting(start, self.recipe) or {}, strict=False)
        self.group.choose_gradients(self.model)
        self.plan = self._plan(parts)
        self.optimizer = make_optimizer(self.model, self.plan.settings)

    def run(self) -> Looks:
        """Trains to the last step, or until held-out text has got worse for a while."""
        settings = self.plan.settings
        identity = f"{self.recipe.hash()} {settings.to_json()}"
        checkpoints = Checkpoints(self.folder.path / "checkpoints", identity, self.group)
        progress = checkpoints.resume(self.model, self.optimizer)
        windows = self.text.windows(settings.window, settings.seed)
        saved = time.monotonic()
        with loop.signals_caught() as signals:
            self._tell(progress)
            while (place := self._place(progress)) < settings.steps and not self._worsens(progress):
                self._step(windows, progress, place)
                asked, now = bool(signals), self._place(progress)
                looks = asked or _tenth(now, settings.steps) > _tenth(place, settings.steps)
                if looks:
                    self._look(progress.step)
                if looks or time.monotonic() - saved > self.wish.checkpoint_seconds:
                    checkpoints.save(self.model, self.optimizer, progress)
                    saved = time.monotonic()
                self._tell(progress)
                if asked and now < settings.steps:
                    raise Ended
        return self.looks

    def _place(self, progress: Progress) -> int:
        """Where in the plan's steps the training is: at those that are done, or farther if the time has run away."""
        if not self.plan.seconds:
            return progress.step
        return max(progress.step, int(self.plan.settings.steps * progress.seconds / (SLACK * self.plan.seconds)))

    def _worsens(self, progress: Progress) -> bool:
        """Whether the newest looks, at steps that this process has behind it, were all worse than an earlier one."""
        known = self.looks.looks[-1].step <= progress.step and 2 * self._place(progress) >= self.plan.settings.steps
        return known and self.looks.since_best >= PATIENCE

    def _plan(self, parts: Parts) -> Plan:
        """Those of the folder; in a new one, those that fit the time, after a first look."""
        if plan := self.folder.plan():
            return plan
        looking = time.monotonic()
        self._look(0)
        looking = time.monotonic() - looking
        share = min(1.0, self.looks.best.bits_per_byte / FAR)
        settings = _settings(self.start, self.recipe, share, self.wish.seed, parts.identity)
        steps, seconds = self.wish.steps, 0.0
        if steps is None:
            each = loop.seconds_a_step(self.recipe, settings, self.text, None, self.group, MEASURED)
            whole = self.wish.minutes * 60
            left = max(whole / 2, whole - (time.monotonic() - self.begun) - LOOKS * looking)
            most = PASSES * parts.known_bytes / (settings.batch * settings.window)
            steps = max(1, round(min(left / each, most)))
            seconds = max(left, each)
        plan = Plan(replace(settings, steps=steps), seconds)
        self.folder.settle(plan)
        return plan

    def _step(self, windows: Windows, progress: Progress, place: int) -> None:
        """One step at the rate of a place in the plan."""
        begun, settings = time.monotonic(), self.plan.settings
        places = windows.starts(progress.step, settings.batch)
        units = windows.read(places)
        batch = Windowed(self.group.share(units), places, self.text.found(places, settings.window, self.group.device))
        done = step(self.model, self.optimizer, batch, place, settings, None, self.group)
        progress.step += 1
        progress.units += units.size
        progress.bytes += units.size
        progress.seconds += time.monotonic() - begun
        progress.nonfinite += not done.finite
        check_finite(progress.nonfinite, progress.step, progress.step == settings.steps)

    def _look(self, number: int) -> None:
        """Packs the model as it is, and reads held-out text with it."""
        path = self.folder.path / "look.cpu1"
        rung = ladder.find(self.start.run)
        about = {"run": rung.run, "title": rung.title, "scale": self.start.scale, "round": TUNED}
        pack_trained(Trained(self.model, self.recipe, None, self.folder.path), about, path)
        found = bits_per_byte(PackedModel(path), self.sample, self.wish.threads or cores())
        self.looks = self.looks.with_look(Look(number, found))
        if self.looks.best.step == number:
            path.replace(self.folder.best)
        path.unlink(missing_ok=True)
        self.folder.keep(self.looks)

    def _tell(self, progress: Progress) -> None:
        steps = self.plan.settings.steps
        self.report(State(min(self._place(progress), steps), steps, progress.step, progress.seconds, self.looks))


def _tenth(place: int, steps: int) -> int:
    return place * LOOKS // steps


def _settings(start: Start, recipe: Recipe, share: float, seed: int, text: str) -> Settings:
    """Those of a training on a small text, but for the steps; `share`: of the scale's peak rate. docs/adapting.md."""
    rung, scale = ladder.find(start.run), ladder.SCALES[_scale(start)]
    window = scale.window_bytes
    return Settings(
        run=rung.run,
        title=rung.title,
        parent=rung.parent,
        level=recipe.level,
        scale=start.scale,
        round=TUNED,
        seed=seed,
        data="own",
        data_source="own",
        data_sha256=text,
        steps=1,
        batch=max(1, BATCH_BYTES // window),
        window=window,
        rate=scale.rate * share,
        warmup=WARMUP,
        decay=1.0,
        floor=0.0,
        precision=training_precision(torch.device("cpu")),
        start=start.content,
    )


def _scale(start: Start) -> str:
    return ladder.find(start.run).scale if start.scale in ladder.ORIGINAL else start.scale


def _text(parts: Parts, folder: Path, recipe: Recipe) -> loop.Text:
    """The known text as training reads it, written to `folder` if it is not there."""
    place = folder / "text"
    place.mkdir(exist_ok=True)
    counts = write_split(place, "train", (np.frombuffer(text, np.uint8) for text in parts.known), SEPARATOR, np.uint8)
    split = Split.open(place, "train", np.uint8, counts.documents, counts.size)
    with torch.device("meta"):
        lookups = Model(recipe).lookups
    found = tuple(lookup.of_text(split, place) for lookup in lookups)
    lengths = np.ones(max(256, recipe.separator + 1), np.int64)
    lengths[recipe.separator] = 0
    ends = split.ends if recipe.separator != SEPARATOR else None
    return loop.Text(split.stream, lengths, math.inf, lookups=found, ends=ends, separator=recipe.separator)
