"""`cpu1 check` and lm-evaluation-harness on the same files: every count must be the same.

    python bench/harness.py --blimp blimp.jsonl --lambada lambada_test.jsonl --text wiki.test.raw \
        --out results/bench/harness.json

Counts are right pairs of each paradigm of BLiMP, and last words of LAMBADA. Seconds are processor time, of which the
harness's own work is a part. Needs the extras lab and lm-eval.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
from lm_eval.tasks import TaskManager

from cpu1.evaluation.language import blimp, lambada
from cpu1.evaluation.language.harness import model as harness
from cpu1.evaluation.language.harness.sources import FILES, TASKS
from cpu1.evaluation.language.reading import text_chunks
from cpu1.files import write_atomic
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model

Figures = dict[str, Any]


def by_check(model: Model, files: dict[str, str], limit: int | None, threads: int) -> dict[str, Callable[[], Figures]]:
    """What `cpu1 check` and `cpu1 score` give for the files, in the terms of this comparison."""

    def pairs() -> Figures:
        read = blimp.read_pairs(files["blimp"], limit)
        found = blimp.check(model, read, threads)
        shares = {uid: share for row in found["phenomena"].values() for uid, share in row["paradigms"].items()}
        each = {uid: sum(pair.uid == uid for pair in read) for uid in shares}
        return {"sets": {uid: [round(share * each[uid]), each[uid]] for uid, share in shares.items()}}

    def words() -> Figures:
        found = lambada.check(model, lambada.read_passages(files["lambada"], limit), threads)
        passages = found["passages"]
        counts = {name: round(found[key] * passages) for name, key in (("begun", "begun"), ("right", "accuracy"))}
        return {"passages": passages, **counts, "perplexity": found["perplexity"]}

    def text() -> Figures:
        return {"bits_per_byte": float(model.score(b"".join(text_chunks(files["text"]))).mean())}

    return {"blimp": pairs, "lambada": words, "text": text}


def by_harness(model: Path, key: str, file: str, limit: int | None, threads: int) -> Figures:
    """The same from the harness's tasks."""
    found = lm_eval.simple_evaluate(
        model=harness.NAME,
        model_args={"path": str(model), "threads": threads},
        tasks=list(FILES[key]),
        task_manager=TaskManager(include_path=str(TASKS), include_defaults=False, metadata={key: file}),
        limit=limit,
        bootstrap_iters=0,
        log_samples=False,
    )
    results = found["results"]
    sizes = {name: row["effective"] for name, row in found["n-samples"].items()}
    right = {name: [round(row["acc,none"] * sizes[name]), sizes[name]] for name, row in results.items() if name in sizes
             and "acc,none" in row}  # fmt: skip
    if key == "blimp":
        return {"sets": {name.rpartition("::")[2]: counts for name, counts in right.items()}}
    if key == "text":
        return {"bits_per_byte": results["cpu1_text"]["bits_per_byte,none"]}
    return {
        "passages": sizes["cpu1_lambada"],
        "begun": right["cpu1_lambada"][0],
        "right": right["cpu1_lambada_written"][0],
        "perplexity": results["cpu1_lambada"]["perplexity,none"],
    }


def timed(work: Callable[[], Figures]) -> Figures:
    """What `work` returns, with the processor time that it took."""
    start = time.process_time()
    return {**work(), "cpu_s": round(time.process_time() - start, 1)}


def same(one: Figures, other: Figures) -> bool:
    """Whether all counts are equal, and what is no count but for rounding."""
    return all(
        np.isclose(one[name], other[name], rtol=1e-9) if isinstance(one[name], float) else one[name] == other[name]
        for name in one.keys() - {"cpu_s"}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, default=default_model(), help="packed model")
    for key in ("blimp", "lambada", "text"):
        parser.add_argument(f"--{key}", metavar="FILE", help=f"file of the task {FILES[key][0]}")
    parser.add_argument("--limit", type=int, help="only this many pairs of a paradigm, passages and documents")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file to write the JSON to")
    args = parser.parse_args()
    files = {key: name for key in ("blimp", "lambada", "text") if (name := vars(args)[key])}
    model = Model(args.model)
    found: Figures = {"model": args.model.name, "run": model.about["run"], "lm_eval": version("lm_eval")}
    checks = by_check(model, files, args.limit, args.threads)
    for key, file in files.items():
        one = timed(checks[key])
        other = timed(lambda key=key, file=file: by_harness(args.model, key, file, args.limit, args.threads))  # type: ignore[misc]
        found[key] = {"same": same(one, other), "check": one, "lm_eval": other}
        print(json.dumps({key: found[key]}), flush=True)
    if args.out:
        write_atomic(args.out, (json.dumps(found, indent=1) + "\n").encode())
    sys.exit(not all(found[key]["same"] for key in files))


if __name__ == "__main__":
    main()
