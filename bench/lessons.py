"""How much of a gradient's noise lessons take away: `python bench/lessons.py RUN --data TEXT --teacher-cache CACHE`.

    python bench/lessons.py runs/16-nano-r1-s0 --data books.txt.zst --teacher-cache lessons
    python bench/lessons.py runs/16-small-r1-s0 --data books.txt.zst --teacher-cache lessons --alpha 0,1 --json

A step follows the gradient of a few windows of text. What sets it apart from the gradient G of all text is noise, and
the noise scale tr(Σ) / |G|² is the number of windows that have as much of the one as of the other (McCandlish et al.,
arXiv 1812.06162). A teacher says how likely each byte was and not only which one came: it takes away the noise of the
byte that came, and not that of the windows that were drawn. A teacher that agrees with the text about G can bring no
more than a batch that is larger by the same factor brings in as many steps.

Weights are those at a run's end, windows those that it trained on first, and each gradient is that of one window in
fp32. Both estimates are without bias: |G|² is that of the mean gradient less the noise left in it.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cpu1.cli.options import positive
from cpu1.data.corpus import prepare
from cpu1.data.order import Windows
from cpu1.errors import UserError
from cpu1.model.network import Model
from cpu1.runs.settings import Settings
from cpu1.runs.trained import load
from cpu1.training.lessons import CacheTeacher, StepTeacher, open_cache
from cpu1.training.parallel import Group
from cpu1.training.step import Windowed, losses


@dataclass
class Moments:
    """Of gradients: how many, their sum, and the sum of their squared norms."""

    total: Tensor
    count: int = 0
    squares: float = 0.0

    def add(self, gradient: Tensor) -> None:
        self.count += 1
        self.total += gradient
        self.squares += float(gradient.double().square().sum())

    def estimate(self) -> tuple[float, float]:
        """tr(Σ) of one gradient, and |G|²."""
        mean = float((self.total.double() / self.count).square().sum())
        noise = (self.squares / self.count - mean) * self.count / (self.count - 1)
        return noise, mean - noise / self.count


def gradient(model: Model, window: Windowed, teacher: StepTeacher) -> Tensor:
    """Of what training minimises, all parameters in one row."""
    model.zero_grad(set_to_none=True)
    objective, _ = losses(model, model(window.units), window.units, teacher(window.units, window.places), ALONE)
    objective.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


ALONE = Group(torch.device("cpu"))


def windows(stream: Any, settings: Settings, count: int) -> Iterator[Windowed]:
    order = Windows(stream, settings.window, settings.seed)
    for place in order.starts(0, count):
        places = np.array([place])
        yield Windowed(torch.from_numpy(order.read(places).astype(np.int64)), places)


def measure(folder: Path, data: str, cache: Path, alphas: list[float], count: int) -> dict[str, Any]:
    """All figures; what `--json` prints."""
    trained = load(folder)
    settings = Settings.read(folder / "settings.json")
    corpus = prepare(data)
    lessons = open_cache(cache, trained.recipe, corpus)
    model, patch = trained.model.train(), trained.recipe.embedding.patch
    teachers = [CacheTeacher(lessons, replace(settings, alpha=alpha), patch, hidden=False) for alpha in alphas]
    by_alpha: list[Moments] = []
    for window in windows(corpus.splits["train"].stream, settings, count):
        for i, teacher in enumerate(teachers):
            one = gradient(model, window, teacher)
            if i == len(by_alpha):
                by_alpha.append(Moments(torch.zeros_like(one)))
            by_alpha[i].add(one)
    rows = [(alpha, *moments.estimate()) for alpha, moments in zip(alphas, by_alpha, strict=True)]
    return {
        "run": settings.run,
        "scale": settings.scale,
        "round": settings.round,
        "seed": settings.seed,
        "data_sha256": corpus.sha256,
        "lessons": cache.name,
        "teacher": lessons.manifest.teacher,
        "windows": count,
        "window": settings.window,
        "batch": settings.batch,
        "units": settings.steps * settings.batch * settings.window,
        "rows": [
            {
                "alpha": alpha,
                "noise": noise,
                "signal": signal,
                "windows_alike": noise / signal,
                "of_first": noise / rows[0][1],
            }
            for alpha, noise, signal in rows
        ],
    }


def show(results: dict[str, Any]) -> str:
    lines = [
        f"run {results['run']}, {results['scale']}, {results['round']}: {results['windows']} windows of "
        f"{results['window']:,} units, {results['batch']} a step"
    ]
    for row in results["rows"]:
        lines.append(
            f"alpha {row['alpha']:g}: noise {row['of_first']:.3f} of the first, as large as the gradient in "
            f"{row['windows_alike']:.1f} windows"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a trained byte-level run")
    parser.add_argument("--data", required=True, help="the text that the cache is of")
    parser.add_argument("--teacher-cache", type=Path, required=True, help="what `cpu1 teach` wrote")
    parser.add_argument("--alpha", default="0,0.8,1", help="shares of the teacher (default: 0,0.8,1)")
    parser.add_argument("--windows", type=positive, default=256, help="default: 256")
    parser.add_argument("--threads", type=positive, help="default: all cores")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        alphas = [float(alpha) for alpha in args.alpha.split(",")]
    except ValueError:
        parser.error(f"--alpha {args.alpha}: numbers with commas between them")
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        results = measure(args.run, args.data, args.teacher_cache, alphas, max(2, args.windows))
    except UserError as error:
        print(f"bench/lessons.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(results, indent=1) if args.json else show(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
