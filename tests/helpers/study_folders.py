"""Made-up run folders with plausible figures, for the tests of the study and the report."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from helpers.settings import PLAN

DOCUMENTS = 60
TITLES = {
    "01": "Transformer + BPE 16K",
    "02a": "Transformer + bytes + four heads",
    "02": "+ LocalByteDecoder",
    "03": "MLGRU for attention",
    "04": "+ ternary (BitLinear, SubLN)",
    "05": "+ FPResidual",
    "05b": "kernel-strict (no W_o)",
    "06": "+ Bolmo patch embedding",
    "07": "+ DeleteGate (CPU-1 complete)",
    "08": "Folded Transformer, ternary",
    "09": "+ PFNet",
    "10": "+ learned decay per channel",
    "13": "Small CPU-1 + BPE 4K",
    "14": "Small CPU-1, byte distillation",
    "15": "+ hidden-state distillation",
    "16": "Small CPU-1, raw bytes",
}
ORDER = tuple(TITLES)
PARENTS = {"02": "02a", "03": "02", "04": "03", "05": "04", "05b": "05", "06": "05", "07": "06", "08": "02"}
PARENTS |= {"09": "07", "10": "09", "13": "04", "14": "07", "15": "14", "16": "07"}
BPB = dict(
    zip(
        ORDER,
        (2.61, 3.42, 2.63, 2.58, 2.6, 2.59, 2.65, 2.57, 2.61, 2.68, 2.6, 2.602, 2.66, 2.55, 2.553, 2.612),
        strict=True,
    )
)
FULL = ("01", "02a", "02", "03")
TOKEN = ("01", "13")
GATED = ("07", "09", "10", "14", "15", "16")
BASELINES = {"uniform": 8.0, "byte frequencies": 4.62, "order-2 bytes": 2.93, "zstd -19": 2.21, "xz -9e": 2.16}


def make_run(study: Path, run: str, seed: int = 0, scale: str = "demo", round: str = "r1", **changes: Any) -> Path:
    """Writes the folder of a finished run; `changes` replace keys of its result.json."""
    folder = study / f"{run}-{scale}-{round}-s{seed}"
    folder.mkdir(parents=True)
    sizes, nats = documents(run, seed)
    bpb = sum(nats) / sum(sizes) / math.log(2)
    result = make_result(run, seed, scale, round, bpb, sum(sizes))
    lines = metrics(result)
    result |= {"curve": {key: [line[key] for line in lines[::8]] for key in ("bytes", "bpb")}} | changes
    labels = {key: result[key] for key in ("run", "scale", "round", "seed", "parent", "title", "level")}
    write(folder / "settings.json", replace(PLAN, **labels, steps=result["step"]).to_json())
    write(folder / "result.json", result)
    write(folder / "documents.json", {"bytes": sizes, "nats": nats})
    units = 90.0 if run in FULL else 420.0 + 17 * ORDER.index(run)
    unit = "token" if run in TOKEN else "patch"
    write(folder / "speed.json", {"patches_per_s": units, "bytes_per_s": 4 * units, "unit": unit})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def documents(run: str, seed: int) -> tuple[list[int], list[float]]:
    """The same documents for all; harder and easier ones; a run's own level, moved a little by its seed."""
    shared = np.random.default_rng(1)
    sizes = np.maximum(shared.lognormal(6.5, 0.8, DOCUMENTS).astype(int), 16)
    hard = shared.normal(0, 0.25, DOCUMENTS)
    own = np.random.default_rng([seed, ORDER.index(run)])
    level = BPB[run] + own.normal(0, 0.008)
    nats = sizes * (level + hard + own.normal(0, 0.03, DOCUMENTS)) * math.log(2)
    return sizes.tolist(), nats.tolist()


def make_result(run: str, seed: int, scale: str, round: str, bpb: float, size: int) -> dict[str, Any]:
    ternary, token = run not in FULL, run in TOKEN
    params = 690_000 if token else 412_345 + 900 * ORDER.index(run)
    loss = bpb * math.log(2) * (2.6 if token else 1)
    steps = 800
    return {
        "format": 1,
        "run": run,
        "title": TITLES[run],
        "level": "token" if token else "byte",
        "parent": PARENTS.get(run),
        "scale": scale,
        "round": round,
        "seed": seed,
        "params": params,
        "ram_fp32_mb": 4 * params / 1e6,
        "file_bytes": params if ternary else 4 * params,
        "step": steps,
        "units_seen": 2 * params,
        "bytes_seen": steps * 4096,
        "tok_per_param": 2.0,
        "corpus": {
            "name": "made up",
            "sha256": "0" * 64,
            "split": "test",
            "documents": DOCUMENTS,
            "bytes": size,
            "context": 1024,
        },
        "val_loss": loss,
        "ppl": math.exp(loss),
        "bpb": bpb,
        "delta_uniform": bpb * math.log(2) - math.log(256),
        "bpb_interval": [bpb - 0.05, bpb + 0.05],
        "positions": None if token else {"start": [0, 4, 8, 16], "bpb": [bpb + 1, bpb + 0.3, bpb, bpb - 0.1]},
        "frequency_bpb": 4.62,
        "nonfinite_steps": 0,
        "gate": {"soft_bpb": bpb - 0.01, "hard_bpb": bpb, "deletion_rate": 0.29, "target": 0.3}
        if run in GATED
        else None,
        "ternary": {"zero_fraction": 0.31, "flip_rate": 0.0021} if ternary else None,
        "generation": {
            "verdict": "PASS",
            "printable": True,
            "utf8": True,
            "loop": 0.08,
            "entropy": 4.31,
            "corpus_entropy": 4.6,
            "tolerance": 0.5,
            "reasons": [],
            "sample": "def the(self, value):\n    return <b>self</b> & other",
            "prompt": "The ",
        },
        "train": {"seconds": 31.0, "bytes_per_s": 105_000.0},
    }


def metrics(result: dict[str, Any]) -> list[dict[str, Any]]:
    """A curve from 8 BPB down to the result."""
    random = np.random.default_rng(result["seed"])
    lines = []
    for step in range(10, result["step"] + 1, 10):
        bpb = result["bpb"] + (8 - result["bpb"]) * math.exp(-step / 60) + random.normal(0, 0.05)
        lines.append(
            {
                "step": step,
                "bytes": step * 4096,
                "units": step * 1024,
                "loss": bpb * math.log(2),
                "bpb": bpb,
                "lr": 3e-3,
                "grad_norm": 1.0,
                "bytes_per_s": 105_000.0,
                "seconds": step * 4096 / 105_000,
                "nonfinite": 0,
            }
        )
    return lines


def make_study(study: Path, seeds: int = 1) -> Path:
    """A whole ladder with its baselines."""
    for run in ORDER:
        for seed in range(seeds):
            make_run(study, run, seed)
    write(study / "baselines.json", {name: {"bpb": bpb} for name, bpb in BASELINES.items()})
    return study


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
