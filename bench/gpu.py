"""Training on a GPU: that it computes what the CPU does, then how fast it is. Without a GPU it exits with 2.

    python bench/gpu.py
    python bench/gpu.py --scales small --json

First run_03, run_07 and run_10 are compared with the plain reference on the CPU, at demo scale: integers for
equality, loss and gradients in fp32. Then steps of run_07 are timed: as they are ("eager"), through torch.compile,
and as CUDA graphs; beside them the rate of a bf16 matrix product in the same process. Medians.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from training import matrix_flops

from cpu1 import ops
from cpu1.model import ladder
from cpu1.model.network import Model, build
from cpu1.ops import reference
from cpu1.ops.operator import KERNELS
from cpu1.runs.settings import Settings
from cpu1.training.loop import losses
from cpu1.training.optim import optimizer as make_optimizer
from cpu1.training.parallel import Group

PEAK = 8192  # rows and columns of the product that stands for the GPU's rate
COMPARED = ("03", "07", "10")
MODES: dict[str, Callable[[Model], Any]] = {
    "eager": lambda model: model,
    "compiled": torch.compile,
    "graphs": partial(torch.compile, mode="reduce-overhead"),
}
LOSS, GRADIENT = 1e-4, 1e-2  # relative differences allowed: a last bit may move an integer of a quantiser


def main() -> int:
    args = _args()
    if not torch.cuda.is_available():
        print("bench/gpu.py: torch finds no GPU here, so nothing was measured", file=sys.stderr)
        return 2
    device = "cuda"
    results: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton_kernels": sorted(KERNELS["CUDA"]),
        "integers_equal": integers_equal(device),
        "against_cpu": {run: against_cpu(run, device) for run in COMPARED},
    }
    right = results["integers_equal"] and all(differences_small(each) for each in results["against_cpu"].values())
    if right:
        results["bf16_peak_flops_per_s"] = peak = peak_rate(device, args.repeats)
        results["training"] = [
            throughput(args.run, scale, mode, device, args.repeats, peak) for scale in args.scales for mode in MODES
        ]
    print(json.dumps(results) if args.json else as_text(results))
    return 0 if right else 1


# ------------------------------------------------------------------------------------ correctness


def integers_equal(device: str) -> bool:
    """Whether q, w and γ are those of the reference on the CPU, and q wᵀ is exact, at odd sizes and large ones."""
    generator = torch.Generator().manual_seed(0)
    equal = []
    for rows, inputs, outputs in ((1, 7, 3), (17, 33, 70), (2048, 320, 960), (4096, 1376, 512)):
        x, weight = (torch.randn(n, inputs, generator=generator) for n in (rows, outputs))
        gain = torch.rand(inputs, generator=generator) + 0.5
        q, _, _ = ops.quantise(x.to(device), gain.to(device))
        w, scale = ops.ternarise(weight.to(device), (outputs - 1, 1))
        want_q, _, _ = reference.quantise(x, gain)
        want_w, want_scale = reference.ternarise(weight, (outputs - 1, 1))
        ones = torch.ones(rows, device=device)
        product = ops.ternary_linear(reference.Quantised(q, ones, q.float()), w.float(), (outputs,))
        _, mean = ops.ternarise(w.float(), (outputs,))
        sums = want_q.double() @ want_w.double().t()
        equal += [torch.equal(q.cpu(), want_q), torch.equal(w.cpu(), want_w), torch.equal(scale.cpu(), want_scale)]
        equal.append(torch.equal(product.cpu(), sums.float() * mean.cpu()))
    return all(equal)


def against_cpu(run: str, device: str) -> dict[str, float]:
    """Relative differences of the loss and (the largest) of a gradient from those of the reference on the CPU."""
    units = torch.randint(1, 256, (4, 256), generator=torch.Generator().manual_seed(0))

    def learn(place: str) -> list[Tensor]:
        model = build(ladder.recipe(run, "demo")).to(place)
        output = model(units.to(place))
        objective, _ = losses(model, output, units.to(place), None, Group(torch.device(place)))
        objective.backward()
        return [objective.detach().cpu(), *(p.grad.cpu() for p in model.parameters() if p.grad is not None)]

    with ops.use_reference():
        want = learn("cpu")
    got = learn(device)
    apart = [float((a - b).norm() / (b.norm() + 1e-6)) for a, b in zip(got, want, strict=True)]
    return {"loss": apart[0], "gradient": max(apart[1:])}


def differences_small(errors: dict[str, float]) -> bool:
    return errors["loss"] <= LOSS and errors["gradient"] <= GRADIENT


# ------------------------------------------------------------------------------------- throughput


def throughput(run: str, scale: str, mode: str, device: str, repeats: int, peak: float) -> dict[str, Any]:
    """Training steps at the scale's batch: forward, backward, clipping, optimiser."""
    recipe, sizes = ladder.recipe(run, scale), ladder.SCALES[scale]
    batch, window = sizes.batch_bytes // sizes.window_bytes, sizes.window_bytes
    settings = Settings(
        run=run,
        title="",
        parent=None,
        level=recipe.level,
        scale=scale,
        round="bench",
        seed=0,
        data="",
        data_source="",
        data_sha256="",
        steps=1000,
        batch=batch,
        window=window,
        rate=1e-4,
    )
    model = build(recipe).to(device).train()
    optimizer = make_optimizer(model, settings)
    alone = Group(torch.device(device))
    forward, units = MODES[mode](model), torch.randint(1, 256, (batch, window), device=device)

    def step() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            objective, _ = losses(model, forward(units), units, None, alone)
        objective.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()

    seconds = timed(step, device, repeats)
    flops = matrix_flops(model, units.numel() // recipe.embedding.patch, units.numel())
    return {
        "run": run,
        "scale": scale,
        "mode": mode,
        "batch_bytes": units.numel(),
        "seconds": seconds,
        "bytes_per_s": units.numel() / seconds,
        "fraction_of_peak": flops / seconds / peak,
    }


def peak_rate(device: str, repeats: int) -> float:
    matrix = torch.randn(PEAK, PEAK, device=device, dtype=torch.bfloat16)
    return 2 * PEAK**3 / timed(lambda: torch.mm(matrix, matrix), device, repeats)


def timed(work: Callable[[], object], device: str, repeats: int) -> float:
    """The median time of `work`, after some rounds in which it may be compiled."""
    times = []
    for _ in range(5 + repeats):
        torch.accelerator.synchronize(device)
        begun = time.perf_counter()
        work()
        torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[5:])


# -------------------------------------------------------------------------------------- command line


def as_text(results: dict[str, Any]) -> str:
    lines = [f"{results['gpu']}, torch {results['torch']}, {len(results['triton_kernels'])} operators in Triton"]
    lines.append(f"integers {'equal' if results['integers_equal'] else 'DIFFER from'} those of the CPU")
    for run, each in results["against_cpu"].items():
        verdict = "" if differences_small(each) else ": TOO FAR"
        lines.append(f"run_{run}: loss {each['loss']:.1e}, gradients {each['gradient']:.1e} from the CPU's{verdict}")
    lines += [
        f"run_{each['run']} at {each['scale']}, {each['mode']}: {each['bytes_per_s'] / 1e6:.2f} MB/s, "
        f"{each['fraction_of_peak']:.1%} of the bf16 peak"
        for each in results.get("training", [])
    ]
    return "\n".join(lines)


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", choices=[run for run in ladder.LADDER if ladder.recipe(run, "demo").level == "byte"],
                        default="07")  # fmt: skip
    parser.add_argument("--scales", nargs="+", choices=tuple(ladder.SCALES), default=["small", "base"])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
