"""From a trained model to a program: the ingredients append their operations to a `Builder`.

Each ingredient's module has a method `lower`. A branch of a block (mixer, FFN, memory) takes the builder and the slice
of the residual stream, and returns the slice that is then added to it. Only modules know their parts; this file
gathers operations, registers, states and tensors.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cpu1 import ops
from cpu1.format.operations import OPERATIONS
from cpu1.format.packed import Derived, Ternary, Value
from cpu1.format.program import SECTIONS, Op, Slice
from cpu1.format.tensors import to_rows


class Builder:
    """Gathers what modules lower to. Tensors keep the names that they have in the model's weights file."""

    LATER = -1  # the target of a skip that `land_skips` has not set yet

    def __init__(self, model: nn.Module) -> None:
        self.registers: dict[str, int] = {}
        self.states: dict[str, int] = {}
        self.sections: dict[str, list[Op]] = {name: [] for name in SECTIONS}
        self.tensors: dict[str, Value] = {}
        self._tensor_names = {id(t): name for name, t in [*model.named_parameters(), *model.named_buffers()]}
        self._module_names = {id(module): name for name, module in model.named_modules()}
        self._saved = set(model.state_dict())

    def register(self, name: str, size: int) -> Slice:
        """The whole register `name` of `size` values, which all blocks share. ValueError if it has another size."""
        if self.registers.setdefault(name, size) != size:
            raise ValueError(f"register {name} has {self.registers[name]} values, not {size}")
        return Slice(name, 0, size)

    def state(self, owner: nn.Module, size: int) -> str:
        """Declares a state of `size` values a stream; returns its name, that of the module `owner`."""
        name = self._module_names[id(owner)]
        self.states[name] = size
        return name

    def emit(self, name: str, source: Slice | None, out: Slice | None, **fields: Any) -> None:
        """Appends an operation that reads `source` and writes `out`; fields of None are left out."""
        fields = {"in": source, "out": out, **fields}
        present = {field: value for field, value in fields.items() if value is not None}
        self.sections[OPERATIONS[name].section].append(Op(name, present))

    def land_skips(self) -> None:
        """Sets the target of the gates emitted so far: the operation that comes next."""
        trunk = self.sections["trunk"]
        for index, op in enumerate(trunk):
            if op.get("skip_to") == self.LATER:
                trunk[index] = Op(op.name, {**op.fields, "skip_to": len(trunk)})

    def tensor(self, tensor: torch.Tensor, value: torch.Tensor | None = None) -> str:
        """Stores a trained tensor in full precision, or `value` of the same shape instead; returns its name."""
        name = self._tensor_names[id(tensor)]
        self.tensors[name] = array(tensor if value is None else value)
        return name

    def ternary(self, weight: torch.Tensor, parts: Sequence[int]) -> str:
        """Stores stacked matrices (N, K) as ternary weights with a scale for each of `parts`; returns their name."""
        name = self._tensor_names[id(weight)]
        w, scale = ops.ternarise(weight.detach().float(), parts)
        self.tensors[name] = Ternary(w.cpu().numpy(), array(scale), tuple(parts))
        return name

    def table(self, rows: torch.Tensor, bits: int) -> str:
        """Stores rows (R, W) rounded to `bits` a value, as training reads them; returns their name."""
        name = self._tensor_names[id(rows)]
        self.tensors[name] = to_rows(array(rows), bits)
        return name

    def derived(self, name: str, compute: Callable[..., NDArray[np.float32]], *sources: torch.Tensor) -> str:
        """Stores a tensor computed from `sources` as the file holds them; returns its name, after the first source.

        Sources that belong to the weights file are stored as well, so that unpacking finds them.
        """
        first = self._tensor_names[id(sources[0])]
        known = [self.tensor(t) if self._tensor_names[id(t)] in self._saved else array(t) for t in sources]
        self.tensors[f"{first}.{name}"] = Derived(tuple(known), compute)
        return f"{first}.{name}"

    def missing(self) -> set[str]:
        """The names of tensors of the weights file that no module lowered."""
        return self._saved - set(self.tensors)


def array(tensor: torch.Tensor) -> NDArray[np.float32]:
    """A copy as numpy fp32."""
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous().numpy()
