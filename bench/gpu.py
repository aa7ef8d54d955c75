"""What a GPU computes and how fast: its kernels beside the CPU's reference, and steps of training. Lines of JSON.

    python bench/gpu.py kernels
    python bench/gpu.py speed --modes eager graphs --batches 16384 65536

`kernels` compares integers for equality, and loss and gradients of whole models in fp32, with the plain reference on
the CPU; it says which form of the recurrences is the faster one. It exits with 1 where something is too far off.
`speed` times steps of `cpu1.training.ahead`: kernel by kernel ("eager"), as CUDA graphs ("graphs"), through
torch.compile ("compiled"); beside them the rate of a bf16 matrix product in the same process. Medians. Without a GPU
the exit status is 2, unless --device cpu asks for the same on the CPU, which shows that it runs. `make gpu` starts
both.
"""

import argparse
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from training import matrix_flops

from cpu1 import ops
from cpu1.device import fast_precision
from cpu1.model import ladder
from cpu1.model.network import Model, build
from cpu1.ops import reference
from cpu1.ops.operator import KERNELS
from cpu1.runs.settings import Settings
from cpu1.training.ahead import WARM, Ahead
from cpu1.training.optim import optimizer as make_optimizer
from cpu1.training.parallel import Group
from cpu1.training.step import losses

PEAK = {"cuda": 8192, "cpu": 1024}  # rows and columns of the product that stands for the device's rate
COMPARED = ("03", "07", "10", "18")
MODES = ("eager", "graphs", "compiled")
LOSS, GRADIENT = 1e-4, 1e-2  # relative differences allowed: a last bit may move an integer of a quantiser
ROUND = {"cuda": 10, "cpu": 1}  # steps timed together
TEXT = 1 << 20  # units of the random text that is trained on


def main() -> int:
    args = _parse()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("bench/gpu.py: torch finds no GPU here, so nothing was measured", file=sys.stderr)
        return 2
    if args.what == "kernels":
        return kernels(args.device)
    return speed(args)


def emit(kind: str, **found: Any) -> None:
    print(json.dumps({"kind": kind, **found}), flush=True)


# ------------------------------------------------------------------------------------ correctness


def kernels(device: str) -> int:
    """0 where all is as it should be, 1 where not."""
    equal = integers_equal(device)
    emit("integers", equal=equal, triton_kernels=sorted(KERNELS["CUDA"]))
    right = [equal]
    for run in COMPARED:
        apart = against_cpu(run, device)
        right.append(apart["loss"] <= LOSS and apart["gradient"] <= GRADIENT)
        emit("against_cpu", run=run, right=right[-1], **apart)
    if device == "cuda" and KERNELS["CUDA"]:
        recurrences()
    return 0 if all(right) else 1


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
        return [objective.detach().cpu(), *(p.grad.to_dense().cpu() for p in model.parameters() if p.grad is not None)]

    with ops.use_reference():
        want = learn("cpu")
    got = learn(device)
    apart = [float((a - b).norm() / (b.norm() + 1e-6)) for a, b in zip(got, want, strict=True)]
    return {"loss": apart[0], "gradient": max(apart[1:])}


def recurrences() -> None:
    """Both forms of each scan at the shapes of small and base: what they took, and the one that was chosen."""
    scan = importlib.import_module("cpu1.ops.gpu.scan")
    for width in (ladder.SCALES["small"].width, ladder.SCALES["base"].width):
        for batch in (16, 256):
            f, c = torch.randn(2, batch, 256, width, device="cuda").unbind(0)
            for keep in (None, torch.rand(batch, 256, device="cuda")):
                ops.gate_scan(f.requires_grad_(), c, keep).sum().backward()
                decay = torch.full((width,), 0.9, device="cuda")
                ops.leaky_scan(f, decay, keep).sum().backward()
    for name in ("gate_form", "gate_backward_form", "leaky_form", "leaky_backward_form"):
        for line in getattr(scan, name).measured:
            emit("scan", form=name, **line)


# ------------------------------------------------------------------------------------- throughput


def speed(args: argparse.Namespace) -> int:
    """0 if anything was measured; a mode that does not run is told as such."""
    size = PEAK[args.device]
    matrix = torch.randn(size, size, device=args.device, dtype=torch.bfloat16)
    products = [timed(lambda: torch.mm(matrix, matrix), 1, args.device) for _ in range(args.rounds + 2)][2:]
    peak = 2 * size**3 / statistics.median(products)
    emit("peak", bf16_flops_per_s=peak, rows=size)
    measured = 0
    for batch_bytes, scale, mode in product(args.batches, args.scales, args.modes):
        case = {"run": args.run, "scale": scale, "mode": mode, "batch_bytes": batch_bytes}
        try:
            emit("speed", **case, **throughput(args.run, scale, batch_bytes, mode, args, peak))
            measured += 1
        except Exception as error:  # of any library below: the next case is tried all the same
            emit("speed", **case, failed=f"{type(error).__name__}: {str(error)[:300]}")
    return 0 if measured else 1


def throughput(
    run: str, scale: str, batch_bytes: int, mode: str, args: argparse.Namespace, peak: float
) -> dict[str, Any]:
    """Steps as training takes them: forward, backward, clipping, optimiser, all on the device."""
    recipe, window, device = ladder.recipe(run, scale), ladder.SCALES[scale].window_bytes, torch.device(args.device)
    settings = Settings(run=run, title="", parent=None, level=recipe.level, scale=scale, round="bench", seed=0, data="",
                        data_source="", data_sha256="", steps=1000, batch=max(1, batch_bytes // window), window=window,
                        rate=1e-4, precision=fast_precision(device))  # fmt: skip
    model = build(recipe).to(device).train()
    random = np.random.default_rng(0)
    text = random.integers(1, 256, TEXT, np.uint8)
    replica: Any = torch.compile(model) if mode == "compiled" else model
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    queue = Ahead(replica, model, make_optimizer(model, settings), text, settings, Group(device), drawn(model, random),
                  graphs=mode == "graphs")  # fmt: skip

    def step() -> None:
        queue.take(random.integers(0, TEXT - window, settings.batch), 500)

    begun = time.perf_counter()
    for _ in range(WARM + 2):
        step()
    queue.figures()
    warm = time.perf_counter() - begun
    if mode == "graphs" and not queue.graphs:
        raise RuntimeError("no step could be captured as a CUDA graph")

    def steps() -> None:
        for _ in range(ROUND[args.device]):
            step()
        queue.figures()

    times = [timed(steps, ROUND[args.device], args.device) for _ in range(args.rounds)]
    seconds, trained = statistics.median(times), settings.batch * window
    flops = matrix_flops(model, trained // recipe.embedding.patch, trained)
    memory = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    return {
        "precision": settings.precision,
        "seconds": seconds,
        "bytes_per_s": trained / seconds,
        "fraction_of_bf16": flops / seconds / peak,
        "warm_up_seconds": warm,
        "memory_bytes": memory,
    }


@dataclass(frozen=True)
class Drawn:
    """What a lookup might have found in a text."""

    found: NDArray[Any]

    def whole(self) -> NDArray[Any]:
        return self.found


def drawn(model: Model, random: np.random.Generator) -> list[Drawn]:
    """Random rows of a model's tables, and random codes of a memory."""
    found = []
    if (tables := model.tables) is not None:
        contexts, rows = len(tables.config.contexts), tables.config.rows
        first = np.arange(contexts, dtype=np.int32) * rows
        found.append(Drawn(random.integers(0, rows, (TEXT, contexts), np.int32) + first))
    if model.recall is not None:
        contexts, levels, _ = model.recall.offsets.shape
        found.append(Drawn(random.integers(0, (256, 256, levels), (TEXT, contexts, 3), np.uint8)))
    return found


def timed(work: Callable[[], object], count: int, device: str) -> float:
    """Seconds of one of the `count` pieces of `work`, which the device has done when it ends."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    begun = time.perf_counter()
    work()
    wait()
    return (time.perf_counter() - begun) / count


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kernels", "speed"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--run", choices=[run for run in ladder.LADDER if ladder.recipe(run, "demo").level == "byte"],
                        default="07")  # fmt: skip
    parser.add_argument("--scales", nargs="+", choices=tuple(ladder.SCALES), default=["small", "base"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1 << 14, 1 << 16, 1 << 18], help="bytes a step")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--rounds", type=int, default=5, help="timed, of ten steps each (default: 5)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
