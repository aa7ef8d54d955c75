"""The program of a model, and the tensors that it names."""

import torch
from torch import nn

from cpu1.errors import UserError
from cpu1.format.packed import Value
from cpu1.format.program import Program
from cpu1.model.builder import Builder
from cpu1.model.network import Model


@torch.no_grad()
def lower(model: Model) -> tuple[Program, dict[str, Value]]:
    """The program of a model and its tensors by name, without what only training uses (`Recipe.distill`).

    Raises UserError naming a module without a method `lower`, ValueError for a tensor that no module lowered.
    """
    for name, module in model.named_modules():
        container = isinstance(module, nn.ModuleList | nn.ParameterList) or name.startswith("distill")
        if not container and not hasattr(module, "lower"):
            raise UserError(f"{type(module).__name__} has no `lower`: the model trains, but cannot be packed")
    builder = Builder(model)
    model.lower(builder)
    for name in builder.missing():
        if not name.startswith("distill."):
            raise ValueError(f"tensor {name} was not lowered")
    recipe, sections = model.recipe, {name: tuple(ops_) for name, ops_ in builder.sections.items()}
    program = Program(
        level=recipe.level,
        patch=recipe.embedding.patch,
        vocabulary=recipe.embedding.vocabulary,
        width=recipe.width,
        registers=builder.registers,
        states=builder.states,
        **sections,
    )
    return program, builder.tensors
