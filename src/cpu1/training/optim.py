"""AdamW (arXiv 1711.05101), or Muon for the hidden matrices (arXiv 2502.16982) with AdamW for the rest.

Weight decay is on matrices only. Muon's updates are scaled to the root mean square of AdamW's, so that one
learning rate and one weight decay fit both.

Shapes: those of the parameters; a stacked matrix (N, K) has rows of several matrices.
"""

from typing import Any

from torch import Tensor, nn, optim

from cpu1.model.ingredients.decoder import LocalByteDecoderModule
from cpu1.model.ingredients.embedding import PATCH
from cpu1.model.ingredients.linear import DenseProjection, TernaryProjection
from cpu1.model.network import Model
from cpu1.runs.settings import Settings


def optimizer(model: Model, settings: Settings) -> optim.Optimizer:
    """The optimiser of a model, in groups: BitLinear weights, other matrices, everything else.

    `follow` sets the groups' learning rates and weight decays.
    """
    muon = settings.optimizer == "muon"
    ternary = {id(m.weight) for m in model.modules() if isinstance(m, TernaryProjection)}
    groups: dict[tuple[bool, str], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        plain = parameter.dim() < 2 or name.startswith("embedding.")
        role = "ternary" if id(parameter) in ternary else "other" if plain else "matrix"
        groups.setdefault((muon and _is_hidden(name, parameter), role), []).append(parameter)
    factors = {"ternary": settings.ternary_rate, "matrix": 1.0, "other": 1.0}
    split: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for (hidden, role), parameters in groups.items():
        split[hidden].append({"params": parameters, "factor": factors[role], "decays": role != "other"})
    adamw = optim.AdamW(split[False], betas=(settings.beta1, settings.beta2), fused=True)
    return MuonAndAdamW(SplitMuon(split[True], _stacked(model)), adamw) if muon else adamw


def follow(optimizer: optim.Optimizer, settings: Settings, step: int) -> None:
    """Sets the rate and the weight decay of step 0, 1, ..."""
    rates, decays = rates_at(optimizer, settings, step), decays_at(optimizer, settings, step)
    for group, rate, decay in zip(optimizer.param_groups, rates, decays, strict=True):
        group["lr"], group["weight_decay"] = rate, decay


def rates_at(optimizer: optim.Optimizer, settings: Settings, step: int) -> list[float]:
    """The learning rate of each group in step 0, 1, ..."""
    return [settings.rate_at(step) * group["factor"] for group in optimizer.param_groups]


def decays_at(optimizer: optim.Optimizer, settings: Settings, step: int) -> list[float]:
    """The weight decay of each group."""
    return [settings.weight_decay_at(step) if group["decays"] else 0.0 for group in optimizer.param_groups]


def _is_hidden(name: str, parameter: nn.Parameter) -> bool:
    """Whether a matrix leads from one hidden vector to another: Muon is not for tables and logits."""
    return parameter.dim() == 2 and name.startswith(("blocks.", "head.")) and name != "head.output"


def _stacked(model: Model) -> dict[Tensor, tuple[int, ...]]:
    """The rows of each of the matrices that one parameter stacks."""
    parts: dict[Tensor, tuple[int, ...]] = {}
    for module in model.modules():
        if isinstance(module, DenseProjection | TernaryProjection):
            parts[module.weight] = module.parts
        elif isinstance(module, LocalByteDecoderModule):
            parts[module.slots] = (len(module.slots) // PATCH,) * PATCH
    return parts


class SplitMuon(optim.Muon):
    """torch's Muon on each of the matrices stacked in a parameter, since these share no singular vectors."""

    def __init__(self, groups: list[dict[str, Any]], parts: dict[Tensor, tuple[int, ...]]) -> None:
        super().__init__(groups, adjust_lr_fn="match_rms_adamw")
        self.parts = parts

    def _init_group(self, group: Any, params: list[Tensor], grads: list[Tensor], momenta: list[Tensor]) -> bool:
        """Gathers the tensors of `step`: here the parts, as views into parameter, gradient and momentum."""
        complex_ = super()._init_group(group, params, grads, momenta)
        sizes = [self.parts.get(parameter, (len(parameter),)) for parameter in params]
        for tensors in (params, grads, momenta):
            tensors[:] = [part for tensor, size in zip(tensors, sizes, strict=True) for part in tensor.split(size)]
        return complex_


class MuonAndAdamW(optim.Optimizer):
    """Two optimisers as one: their groups side by side, and one state by parameter, as checkpoints expect."""

    def __init__(self, muon: optim.Muon, adamw: optim.AdamW) -> None:
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self.both = (muon, adamw)
        muon.state = adamw.state = self.state

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of both."""
        for optimizer in self.both:
            optimizer.step()
