"""Time of every training operation, fast beside the plain reference: `python bench/ops.py [--json]`.

Medians over repeats. GB/s counts each input and output once (forward), GFLOP/s the multiplications and
additions of the matrix products; in the ternary one they are of integers (forward) and bf16 (backward).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor

from cpu1 import ops
from cpu1.ops.reference import Precision


@dataclass
class Case:
    name: str
    call: Callable[[], Any]  # returns what gradients flow from, a tensor or a tuple led by one
    inputs: list[Tensor]  # leaves
    moved: float = 0.0  # bytes read and written by the forward pass
    flop: float = 0.0  # of the forward pass's product; the backward pass has two of them


@dataclass
class Row:
    name: str
    forward_us: float
    backward_us: float | None
    reference_forward_us: float
    reference_backward_us: float | None
    forward_gb_s: float | None
    forward_gflop_s: float | None
    backward_gflop_s: float | None


def cases(batch: int, time_: int, width: int, hidden: int) -> list[Case]:
    """The operations of one block at the given sizes."""
    rows = batch * time_

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*shape).requires_grad_()

    fcg, keep, x, wide = (
        leaf(batch, time_, 3 * width),
        torch.rand(batch, time_),
        leaf(rows, width),
        leaf(rows, hidden),
    )
    gate_up, gain, wide_gain = leaf(rows, 2 * hidden), leaf(width), leaf(hidden)
    memory, decay = leaf(batch, time_, 32), leaf(32).detach().sigmoid().requires_grad_()
    logits, target = leaf(4 * rows, 256), torch.randint(256, (4 * rows,))
    size = 4.0 * rows * width

    def products() -> list[Case]:
        cases = []
        for name, source, outputs, parts, gained in (
            ("bit_linear fcg", x, 3 * width, (width,) * 3, None),
            ("bit_linear o", x, width, (width,), gain),
            ("bit_linear gate_up", x, 2 * hidden, (hidden,) * 2, None),
            ("bit_linear down", wide, width, (width,), wide_gain),
        ):
            weight = leaf(outputs, source.shape[1])
            call = partial(ops.bit_linear, source, weight, parts, gained)
            inputs = [source, weight] + ([] if gained is None else [gained])
            cases.append(Case(name, call, inputs, flop=2.0 * rows * source.shape[1] * outputs))
        dense = leaf(256, width)
        for precision in get_args(Precision):
            call = partial(ops.linear, x, dense, precision=precision)
            cases.append(Case(f"linear {precision}", call, [x, dense], flop=2.0 * rows * width * 256))
        return cases

    def fused() -> list[Case]:
        """Each beside the operations that it stands for, one after the other."""
        weight, parts = leaf(2 * hidden, width), (hidden, hidden)
        flop = 4.0 * rows * width * hidden

        def swiglu_at_once() -> Tensor:
            return ops.ternary_swiglu(ops.quantise(x), weight, parts, wide_gain).q_real

        def swiglu_apart() -> Tensor:
            gate_up = ops.ternary_linear(ops.quantise(x), weight, parts)
            return ops.quantise(ops.swiglu(gate_up), wide_gain).q_real

        return [
            Case("mlgru_quantise", lambda: ops.mlgru_quantise(fcg, gain)[0].q_real, [fcg, gain]),
            Case("  apart", lambda: ops.quantise(ops.mlgru_mix(fcg)[0], gain).q_real, [fcg, gain]),
            Case("ternary_swiglu", swiglu_at_once, [x, weight, wide_gain], flop=flop),
            Case("  apart", swiglu_apart, [x, weight, wide_gain], flop=flop),
        ]

    def decoder() -> list[Case]:
        """What runs once a byte, at the local decoder's own sizes."""
        inner, deep = 192, 864
        y, stream = leaf(batch, 4 * time_, inner), torch.randint(256, (batch, 4 * time_ + 3))
        vectors = leaf(256, 3, inner)
        weights = leaf(deep, inner), leaf(deep), leaf(inner, deep), leaf(inner)
        return [
            Case("look_back", lambda: ops.look_back(y, vectors, stream), [y, vectors], 32.0 * rows * inner),
            Case(
                "relu2_mlp",
                lambda: ops.relu2_mlp(y, *weights, precision="bf16"),
                [y, *weights],
                flop=16.0 * rows * inner * deep,
            ),
            Case("cross_entropy", lambda: ops.cross_entropy(logits, target), [logits], 4.0 * logits.numel()),
        ]

    return [
        Case("mlgru_mix", lambda: ops.mlgru_mix(fcg), [fcg], 4 * size),
        Case("mlgru_mix keep", lambda: ops.mlgru_mix(fcg, keep), [fcg], 4 * size),
        Case("gate_scan", lambda: ops.gate_scan(*fcg.chunk(3, -1)[:2]), [fcg], 3 * size),
        Case("leaky_scan", lambda: ops.leaky_scan(memory, decay), [memory, decay], 8.0 * memory.numel()),
        Case("rms_norm", lambda: ops.rms_norm(x), [x], 2 * size),
        Case("rms_norm gain", lambda: ops.rms_norm(x, gain), [x, gain], 2 * size),
        Case("swiglu", lambda: ops.swiglu(gate_up), [gate_up], 12.0 * rows * hidden),
        Case("branch", lambda: ops.branch(fcg[..., :width], fcg[..., width : 2 * width], keep), [fcg], 3 * size),
        Case("quantise", lambda: ops.quantise(x).q_real, [x], 1.25 * size),
        Case("ternarise", lambda: ops.ternarise(fcg[0, :, :width], (time_,)), [], 5.0 * time_ * width),
        *products(),
        *fused(),
        *decoder(),
    ]


def median_us(prepare: Callable[[], Any], work: Callable[[Any], Any], seconds: float) -> float:
    """Median time of work(prepare()), preparation not counted."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        given = prepare()
        start = time.perf_counter()
        work(given)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def measure(case: Case, seconds: float) -> tuple[float, float | None]:
    """Forward and backward time in microseconds."""

    def output() -> Tensor:
        result = case.call()
        return result[0] if isinstance(result, tuple) else result

    forward = median_us(lambda: None, lambda _: output(), seconds)
    if not case.inputs:
        return forward, None
    dy = torch.randn_like(output())
    return forward, median_us(output, lambda y: torch.autograd.grad(y, case.inputs, dy), seconds)


def compare(case: Case, seconds: float) -> Row:
    forward, backward = measure(case, seconds)
    with ops.use_reference():
        plain_forward, plain_backward = measure(case, seconds)
    return Row(
        case.name,
        forward,
        backward,
        plain_forward,
        plain_backward,
        case.moved / forward / 1e3 if case.moved else None,
        case.flop / forward / 1e3 if case.flop else None,
        2 * case.flop / backward / 1e3 if case.flop and backward else None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--time", type=int, default=256, help="patches in a sequence")
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--hidden", type=int, default=864)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=0.2, help="for each figure")
    parser.add_argument("--only", default="", help="operations named so, in part")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    ops.retain_memory()
    chosen = [case for case in cases(args.batch, args.time, args.width, args.hidden) if args.only in case.name]
    table = [compare(case, args.seconds) for case in chosen]
    if args.json:
        print(json.dumps({"options": vars(args), "rows": [asdict(row) for row in table]}, indent=1))
        return
    heads = ("forward", "backward", "plain fw", "plain bw", "GB/s", "GFLOP/s", "backward")
    print("{:20} {:>8} {:>8} {:>9} {:>9} {:>6} {:>8} {:>8}".format("µs", *heads))
    for row in table:
        figures = (row.forward_us, row.backward_us, row.reference_forward_us, row.reference_backward_us)
        shown = [f"{figure:.0f}" if figure else "" for figure in (*figures, row.forward_gb_s)]
        rates = [f"{rate:.0f}" if rate else "" for rate in (row.forward_gflop_s, row.backward_gflop_s)]
        print("{:20} {:>8} {:>8} {:>9} {:>9} {:>6} {:>8} {:>8}".format(row.name, *shown, *rates))


if __name__ == "__main__":
    main()
