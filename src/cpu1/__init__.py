"""CPU-1: byte-level language models made for CPUs, and the lab that measures their ingredients.

    import cpu1

    result = cpu1.train("07", "runs/mine", scale="demo", bytes=1_000_000)   # or resume
    model = cpu1.load("runs/mine/model.cpu1")                               # needs no torch
    print(model.generate("def ", max_bytes=100))

Nothing heavy is imported before it is used.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.judging.judge import Judgement
    from cpu1.model.network import Model as Network
    from cpu1.model.recipe import Recipe
    from cpu1.runtime.model import Model
    from cpu1.runtime.sampling import SamplingOptions

__all__ = ["UserError", "build", "evaluate", "generate", "judge", "load", "recipe", "train"]


def recipe(run: str, scale: str = "original") -> "Recipe":
    """The recipe of a run of the ladder ("01" ... "16"). Scales: demo, nano, small, base, original (what that used)."""
    from cpu1.model import ladder

    return ladder.recipe(run, scale)


def build(recipe: "Recipe", seed: int = 0) -> "Network":
    """A freshly initialised torch module; `model(bytes (B, N) int64).logits` is (B, N, 256)."""
    from cpu1.model.network import build as build_model

    return build_model(recipe, seed)


def train(
    run: str | None,
    folder: str | Path,
    *,
    start: str | Path | None = None,
    scale: str | None = None,
    round: str | None = None,
    bytes: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    data: str = "python-stdlib",
    eval_bytes: int = 1 << 18,
    teacher: str | Path | None = None,
    threads: int | None = None,
    changes: Mapping[str, object] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Trains a run into `folder`, or goes on where it was, and returns its `result.json`.

    The budget is a round (r1, r2, r3; r1 unless said), or `bytes` of text, or `minutes`; `settings` override those
    of training (`rate=0.002`), `changes` parts of the recipe ({"ffn": "ReLU2", "layers": 4}). The scale is
    nano unless said. `eval_bytes` of the held-out text are scored at the end.

    `start`, a run folder or a packed file: the weights to start from, on the same text or another. They say which run
    and scale it is, so `run` may be None; without `bytes` or `minutes` it is one pass over the text.

    Raises UserError for bad input.
    """
    from cpu1.training.job import Job
    from cpu1.training.job import train as run_job
    from cpu1.training.plan import Budget

    budget = Budget(bytes=bytes, minutes=minutes) if bytes is not None or minutes is not None else None
    job = Job(
        run=run,
        folder=Path(folder),
        scale=scale,
        round=round,
        budget=budget,
        seed=seed,
        data=data,
        eval_bytes=eval_bytes,
        teacher=Path(teacher) if teacher else None,
        start=Path(start) if start else None,
        threads=threads,
        overrides=tuple(settings.items()),
        changes=tuple((changes or {}).items()),
    )
    return run_job(job)


def load(file: str | Path | None = None, threads: int = 1, learn: bool = False) -> "Model":
    """A packed model, ready to generate and to score; needs numpy only. docs/api.md shows what it does.

    `threads`: how many of the processor's cores work on a text. With `learn` it learns from what it reads, text by
    text, and forgets it with the text (docs/lookups.md).

    Without a file, the model that `cpu1.runtime.default` finds: that of CPU1_MODEL, or of the installation.

    Raises UserError for a file that is not a valid model, and for threads that are not a whole number from 1 to 256.
    """
    from cpu1.runtime.default import default_model
    from cpu1.runtime.model import Model

    return Model(default_model() if file is None else file, threads, learn=learn)


def evaluate(
    folder: str | Path, data: str | None = None, split: str = "valid", max_bytes: int = 1 << 18
) -> dict[str, Any]:
    """Scores a run folder on a text (its own, unless another is named): BPB, its interval, baselines."""
    from cpu1.evaluation.report import evaluate_text

    return evaluate_text(Path(folder), data, "text", split, None, max_bytes, False)


def generate(
    source: str | Path,
    prompt: str | bytes = "",
    max_bytes: int = 256,
    stop: Sequence[str | bytes] | None = (),
    **sampling: "Unpack[SamplingOptions]",
) -> str:
    """Text that continues `prompt`, by a packed file or, through torch, a run folder.

    `sampling` as in `cpu1.runtime.sampling.Sampling` (temperature, top_k, top_p, min_p, seed).
    """
    if not Path(source).is_dir():
        return load(source).generate(prompt, max_bytes, stop, **sampling)
    from cpu1.runs.generate import generate as stream
    from cpu1.runs.trained import load as load_run
    from cpu1.runtime.sampling import sampling_of
    from cpu1.runtime.text import as_bytes, stream_text

    chunks = stream(load_run(source), as_bytes(prompt), max_bytes, sampling_of(sampling))
    return "".join(stream_text(chunks, stop))


def judge(
    text: str | bytes | list[str] | list[bytes],
    model: "Model | str | Path | None" = None,
    *,
    calibration: str | Path | None = None,
    jobs: int = 1,
    most: int = 3,
) -> "Judgement | list[Judgement]":
    """What a packed model makes of a text: bits per byte, their percentile, a verdict, and its worst passages.

    A list of texts gives a list; `jobs` of them are read at once. See docs/judging.md and `cpu1.judging.judge`, which
    also chooses the better of two readings. Needs no torch.
    """
    from cpu1.judging.judge import judge as judge_text

    return judge_text(text, model, calibration=calibration, jobs=jobs, most=most)
