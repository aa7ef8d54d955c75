"""AdamW (arXiv 1711.05101) in three groups: BitLinear weights, other matrices, everything else."""

from torch import nn, optim

from cpu1.ingredients.linear import TernaryProjection
from cpu1.model import Model
from cpu1.training.settings import Settings


def optimizer(model: Model, settings: Settings) -> optim.AdamW:
    """Weight decay on matrices only; each group's `factor` scales the rate of the schedule."""
    ternary = {id(m.weight) for m in model.modules() if isinstance(m, TernaryProjection)}
    groups: dict[str, list[nn.Parameter]] = {"ternary": [], "matrix": [], "other": []}
    for name, parameter in model.named_parameters():
        plain = parameter.dim() < 2 or name.startswith("embedding.")
        kind = "ternary" if id(parameter) in ternary else "other" if plain else "matrix"
        groups[kind].append(parameter)
    factors = {"ternary": settings.ternary_rate, "matrix": 1.0, "other": 1.0}
    return optim.AdamW(
        [
            {
                "params": parameters,
                "factor": factors[kind],
                "weight_decay": 0.0 if kind == "other" else settings.weight_decay,
            }
            for kind, parameters in groups.items()
            if parameters
        ],
        betas=(settings.beta1, settings.beta2),
        fused=True,
    )


def set_rate(optimizer: optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
