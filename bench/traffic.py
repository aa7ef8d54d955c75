"""What the operators of a training step read and write: `python bench/traffic.py [--run 07] [--scale base]`.

    python bench/traffic.py --memory 3.35T --rate 990T
    python bench/traffic.py --device cuda --json

Each operator counts as if it read its inputs and wrote its outputs once, from and to memory; views count nothing. One
that is made of others counts as they do, if that is more. Two sizes of a step give the bytes of a patch, and those of a
step whatever its size: weights, optimiser, clipping. With the bytes a second of a device's memory and its bf16
operations a second, the least time of a step follows, and the most of the bf16 rate that it can reach as long as its
operators are those. A CPU counts as one that multiplies bf16.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from training import matrix_flops, settings_of, units_of

from cpu1.model import ladder
from cpu1.model.ingredients.lookups import read_lookups
from cpu1.model.network import build
from cpu1.ops import products
from cpu1.ops.operator import KERNELS
from cpu1.training.optim import optimizer as make_optimizer
from cpu1.training.parallel import Group
from cpu1.training.step import Windowed
from cpu1.training.step import step as take_step

VIEWS = {
    *(
        "alias",
        "as_strided",
        "detach",
        "empty",
        "empty_like",
        "expand",
        "lift_fresh",
        "new_empty",
        "permute",
        "reshape",
    ),
    *("select", "slice", "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view"),
    "_unsafe_view",
}
WINDOWS = 2, 8  # of the two steps
STEP = 256 << 10  # bytes of text in the step whose least time is computed


class Traffic(TorchDispatchMode):
    """Counts the bytes of operators by their names while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name not in VIEWS:
            self.moved[name] += size((args, list((kwargs or {}).values()))) + size(result)
        return result

    def own(self, name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        """The kernel of an operator of ours, counted."""

        def counted(*inputs: Any) -> Any:
            before, self.moved = self.moved, Counter()
            result = kernel(*inputs)
            inner, self.moved = self.moved.total(), before
            self.moved[name] += max(inner, size(inputs) + size(result))
            return result

        return counted


def size(values: Any, seen: set[int] | None = None) -> int:
    """Bytes of all tensors in nested sequences, each once."""
    seen = set() if seen is None else seen
    if isinstance(values, Tensor):
        new = values.data_ptr() not in seen
        seen.add(values.data_ptr())
        return values.numel() * values.element_size() if new else 0
    return sum(size(value, seen) for value in values) if isinstance(values, list | tuple) else 0


def count(run: str, scale: str, windows: int, device: str) -> tuple[Counter[str], int, float]:
    """Bytes by operator in the second step of a run, its patches, and its operations in products of matrices."""
    recipe, settings = ladder.recipe(run, scale), settings_of(run, scale, 1000, None, "bf16")
    group = Group(torch.device(device))
    model = build(recipe).train()
    group.wrap(model)
    units = units_of(recipe, windows, settings.window)
    found, _ = read_lookups(model.lookups, units, None)
    batch = Windowed(units.to(device), np.zeros(windows, np.int64), [each.to(device) for each in found])
    optimizer = make_optimizer(model, settings)
    patches = units.numel() // recipe.embedding.patch
    take_step(model, optimizer, batch, 0, settings, None, group)
    kernels, traffic = KERNELS[device.upper()], Traffic()
    plain = dict(kernels)
    kernels.update({name: traffic.own(name, kernel) for name, kernel in plain.items()})
    try:
        with traffic:
            take_step(model, optimizer, batch, 0, settings, None, group)
    finally:
        kernels.update(plain)
    return traffic.moved, patches, matrix_flops(model, patches, units.numel())


def measure(args: argparse.Namespace) -> dict[str, Any]:
    products.multiplies_bf16 = lambda: True  # type: ignore[assignment]
    (few, fewer, _), (many, more, flops) = (count(args.run, args.scale, windows, args.device) for windows in WINDOWS)
    rows = {name: (many[name] - few[name]) / (more - fewer) for name in many}
    patch = sum(rows.values())
    patches = STEP * more // (WINDOWS[1] * ladder.SCALES[args.scale].window_bytes)
    fixed = few.total() - patch * fewer
    found = {"run": args.run, "scale": args.scale, "device": args.device, "bytes_a_patch": patch, "bytes_a_step": fixed}
    found["operators"] = dict(sorted(rows.items(), key=lambda item: -item[1]))
    if args.memory and args.rate:
        moving, multiplying = (patch * patches + fixed) / args.memory, flops / more * patches / args.rate
        found |= {"step_bytes": STEP, "least_ms": 1e3 * max(moving, multiplying), "products_ms": 1e3 * multiplying}
        found["most_of_rate"] = multiplying / max(moving, multiplying)
    return found


def trillions(text: str) -> float:
    """A rate such as 3.35T."""
    return float(text.removesuffix("T")) * 1e12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="07", help="of the ladder, a byte-level one (default: 07)")
    parser.add_argument("--scale", default="base", choices=list(ladder.SCALES), help="(default: base)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="(default: cpu)")
    parser.add_argument(
        "--memory", type=trillions, metavar="RATE", help="bytes a second of the memory, in trillions, like 3.35T"
    )
    parser.add_argument(
        "--rate", type=trillions, metavar="RATE", help="bf16 operations a second, in trillions, like 990T"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measure(args)
    if args.json:
        print(json.dumps(found))
        return
    print(f"{found['bytes_a_patch'] / 1e6:.2f} MB a patch, {found['bytes_a_step'] / 1e6:.0f} MB a step besides")
    for name, moved in list(found["operators"].items())[:15]:
        print(f"{name:28}{moved / 1e3:9.1f} KB a patch{moved / found['bytes_a_patch']:8.1%}")
    if "least_ms" in found:
        print(
            f"a step of {STEP >> 10} KB takes at least {found['least_ms']:.1f} ms, its products "
            f"{found['products_ms']:.1f}: at most {found['most_of_rate']:.0%} of the bf16 rate"
        )


if __name__ == "__main__":
    main()
