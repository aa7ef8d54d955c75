"""AdamW (arXiv 1711.05101), or Muon for the hidden matrices (arXiv 2502.16982) with AdamW for the rest.

Tables of n-grams have an optimiser of their own, `Rows`: a step reads a small part of a table, and touches no more.

Weight decay is on matrices only. Muon's updates are scaled to the root mean square of AdamW's, so that one
learning rate and one weight decay fit both.

Shapes: those of the parameters; a stacked matrix (N, K) has rows of several matrices.
"""

from typing import Any

import torch
from torch import Tensor, nn, optim

from cpu1.model.ingredients.decoder import LocalByteDecoderModule
from cpu1.model.ingredients.linear import DenseProjection, TernaryProjection
from cpu1.model.ingredients.lookups import HashedRows
from cpu1.model.network import Model, is_embedding
from cpu1.runs.settings import Settings


def optimizer(model: Model, settings: Settings) -> optim.Optimizer:
    """The optimiser of a model, in groups: BitLinear weights, other matrices, everything else, tables.

    `follow` sets the groups' learning rates and weight decays.
    """
    muon = settings.optimizer == "muon"
    ternary = {id(m.weight) for m in model.modules() if isinstance(m, TernaryProjection)}
    groups: dict[tuple[bool, str], list[nn.Parameter]] = {}
    tables = [module.table for module in model.modules() if isinstance(module, HashedRows)]
    for name, parameter in model.named_parameters():
        if any(parameter is table for table in tables):
            continue
        plain = parameter.dim() < 2 or is_embedding(name)
        role = "ternary" if id(parameter) in ternary else "other" if plain else "matrix"
        groups.setdefault((muon and _is_hidden(name, parameter), role), []).append(parameter)
    factors = {"ternary": settings.ternary_rate, "matrix": 1.0, "other": 1.0}
    split: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for (hidden, role), parameters in groups.items():
        split[hidden].append({"params": parameters, "factor": factors[role], "decays": role != "other"})
    parts: list[optim.Optimizer] = [SplitMuon(split[True], _stacked(model))] if muon else []
    parts.append(optim.AdamW(split[False], betas=(settings.beta1, settings.beta2), fused=True))
    if tables:
        parts.append(Rows([{"params": tables, "factor": settings.table_rate, "decays": False}], settings.beta2))
    return Together(parts) if len(parts) > 1 else parts[0]


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
            parts[module.slots] = (len(module.slots) // module.patch,) * module.patch
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


class Rows(optim.Optimizer):
    """One second moment a row, and no first: p -= rate g / sqrt(v), v the running mean of a row's mean square.

    Only rows with a gradient move, and only their moments: rare rows keep what they know of their gradients. A row's
    first gradient is taken for its moment. Gradients are sparse, or dense with zeros in the rows that were not read.
    """

    def __init__(self, groups: list[dict[str, Any]], decay: float) -> None:
        super().__init__(groups, {"lr": 0.0})
        self.decay = decay

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Moves the rows that have a gradient."""
        skip = getattr(self, "found_inf", None)
        for group in self.param_groups:
            for table in group["params"]:
                gradient = table.grad
                if gradient is None:
                    continue
                state = self.state[table]
                if not state:
                    state["square"] = table.new_zeros(len(table))
                if gradient.is_sparse:
                    self._step_sparse(table, _unique(gradient), state["square"], group["lr"])
                else:
                    self._step_dense(table, gradient, state["square"], group["lr"], skip)

    def _step_sparse(self, table: Tensor, gradient: Tensor, square: Tensor, rate: float) -> None:
        rows, values = gradient.indices()[0], gradient.values()
        now, before = values.square().mean(1), square[rows]
        moment = torch.where(before > 0, torch.lerp(now, before, self.decay), now)
        square[rows] = moment
        table.index_add_(0, rows, values * _inverse_root(moment)[:, None], alpha=-rate)

    def _step_dense(self, table: Tensor, gradient: Tensor, square: Tensor, rate: Any, skip: Tensor | None) -> None:
        """The same without asking which rows those are: nothing waits for a device, and shards work."""
        own, gradient, square = local(table), local(gradient), local(square)
        now = gradient.square().mean(1)
        moment = torch.where(square > 0, torch.lerp(now, square, self.decay), now)
        moves = now > 0 if skip is None else (now > 0) & (skip == 0)
        square.copy_(torch.where(moves, moment, square))
        # not gradient times a mask: what is not finite would stay so
        own.sub_(torch.where(moves[:, None], gradient * _inverse_root(moment)[:, None], 0) * rate)


def _unique(gradient: Tensor) -> Tensor:
    """A sparse gradient with each row once. That of one lookup has its rows in order, which autograd does not know."""
    rows = gradient._indices()[0]
    if bool((rows[1:] > rows[:-1]).all()):
        gradient._coalesced_(True)
    return gradient.coalesce()


def _inverse_root(moment: Tensor) -> Tensor:
    """1 / sqrt, and 0 for a row that has never had a gradient."""
    return torch.where(moment > 0, moment.rsqrt(), torch.zeros_like(moment))


def local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor, or the tensor itself."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


class Together(optim.Optimizer):
    """Optimisers as one: their groups side by side, and one state by parameter, as checkpoints expect."""

    def __init__(self, parts: list[optim.Optimizer]) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = parts
        for part in parts:
            part.state = self.state

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of each."""
        for part in self.parts:
            part.step()


def parts_of(optimizer: optim.Optimizer) -> list[optim.Optimizer]:
    """The optimisers that one consists of, itself if it is a single one."""
    return optimizer.parts if isinstance(optimizer, Together) else [optimizer]


def values_of(gradient: Tensor) -> Tensor:
    """What a gradient holds: the rows that were read, of a sparse one."""
    return gradient._values() if gradient.is_sparse else gradient
