"""Guards, which stop a run for non-finite steps, for a stalled loss, or for tensors that do not learn.

Shapes: those of the model's weights.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cpu1 import ops
from cpu1.errors import UserError
from cpu1.model.ingredients.linear import TernaryProjection
from cpu1.model.network import Model, build

GRACE = 20  # steps before the first check
NONFINITE_SHARE = 0.05
STALL_STEPS = 250  # the earliest step at which a run may stop because it has not learned


class RunStopped(UserError):
    """A guard ended the run; the text names the reason and the remedy."""


def check_finite(nonfinite: int, step: int, last: bool) -> None:
    """RunStopped when more than 5% of the steps so far had a non-finite loss or gradient."""
    if (step >= GRACE or last) and nonfinite > NONFINITE_SHARE * step:
        raise RunStopped(
            f"{nonfinite} of {step} steps had a non-finite loss or gradient (more than {NONFINITE_SHARE:.0%}); "
            "lower the learning rate, or look for a zero row that is normalised or quantised"
        )


def check_all_tensors_learn(model: Model, seed: int, weights: Mapping[str, Tensor] | None = None) -> None:
    """After 20 steps every tensor must differ from its start: a pure function of the seed, but for given `weights`."""
    start = {**dict(build(model.recipe, seed).named_parameters()), **(weights or {})}
    still = [name for name, tensor in model.named_parameters() if torch.equal(tensor.cpu(), start[name])]
    if still:
        raise RunStopped(f"after {GRACE} steps {len(still)} tensors have not changed: {', '.join(still[:5])}")


def check_learning(loss: float, frequency_loss: float, step: int, warmup: int) -> None:
    """RunStopped when the loss (nats a unit), long after the warm-up, is not below that of the units' frequencies."""
    if step >= max(STALL_STEPS, 2 * warmup) and not loss < frequency_loss:
        raise RunStopped(
            f"stalled: at step {step} the loss is {loss:.4f} nats a unit, no better than the {frequency_loss:.4f} "
            "of predicting by frequency alone"
        )


def check_held_out(step: int, *scores: float) -> None:
    """RunStopped when a score in bits per byte is not finite, though the weights are."""
    if not all(map(math.isfinite, scores)):
        raise RunStopped(
            f"diverged: after {step} steps held-out text scores {', '.join(map(str, scores))} bits per byte; "
            "lower the learning rate"
        )


@dataclass
class TernaryWatch:
    """Measures the fraction of ternary weights that are zero, and that changed since the last measurement."""

    last: list[Tensor] | None = None

    @torch.no_grad()
    def measure(self, model: Model) -> dict[str, float]:
        """`zero_fraction` and `flip_rate`; the latter from the second call on. Empty without ternary weights."""
        modules = [m for m in model.modules() if isinstance(m, TernaryProjection)]
        if not modules:
            return {}
        now = [ops.ternarise(m.weight, m.parts)[0] for m in modules]
        count = sum(w.numel() for w in now)
        zeros = [(w == 0).sum() for w in now]
        flips = [(a != b).sum() for a, b in zip(now, self.last or [], strict=self.last is not None)]
        counts = torch.stack((*zeros, *flips)).tolist()  # at once: a GPU is waited for only here
        fractions = {"zero_fraction": sum(counts[: len(now)]) / count}
        if self.last is not None:
            fractions["flip_rate"] = sum(counts[len(now) :]) / count
        self.last = now
        return fractions
