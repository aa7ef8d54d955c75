"""What going on from weights brings, beside training from scratch: `python bench/finetune.py --from MODEL --data TEXT`.

    python bench/finetune.py --from checkpoints/default.cpu1 --data book.txt --other news.txt --bytes 2M --name book
    python bench/finetune.py --from runs/04-small-r2-s0 --from model.cpu1 --data book.txt --minutes 5 --name book

Every source is trained on the text's training split, and so is a model of the same recipe from scratch, at its scale's
own rate, on the same bytes in the same order. Each is scored on the text's held-out split and on the other text, which
nobody is trained on here: what a source loses there is what it forgets. Documents are those of `cpu1 data`; chapters
become documents where form feeds part them. Give a run folder and its packed file to see what packing costs. Writes
results/bench/finetune-NAME.json.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cpu1.cli.options import byte_size, count, positive, setting
from cpu1.data.corpus import Corpus, prepare
from cpu1.errors import UserError
from cpu1.evaluation.bits import context_bytes, score
from cpu1.evaluation.report import EXCERPT_BYTES
from cpu1.evaluation.statistics import bpb_interval
from cpu1.files import write_json
from cpu1.runs.settings import Settings
from cpu1.runs.trained import Trained, environment, load
from cpu1.training.job import train
from cpu1.training.plan import Budget, Job
from cpu1.training.start import open_source

RESULTS = Path(__file__).resolve().parent.parent / "results" / "bench"
SCORED = 1 << 18  # bytes of each text, by default


def bits(trained: Trained, corpus: Corpus, context: int, size: int) -> dict[str, Any]:
    """Bits per byte of a text's held-out split, with the 95% interval over its documents."""
    found = score(trained.model, corpus.select("valid", size, EXCERPT_BYTES), context, trained.tokenizer)
    interval = bpb_interval(found.nats, found.bytes)
    return {"bpb": found.bpb, "interval": [interval.low, interval.high], "bytes": int(found.bytes.sum())}


def measure(sources: list[Path], job: Job, other: str | None, size: int) -> dict[str, Any]:
    """Trains `job` from each source, then one model from scratch on as many bytes as the first; scores all of them.

    `job.folder` holds the runs, and resumes those that it has. `size`: bytes scored of each text.
    """
    models = [open_source(source).trained for source in sources]  # first: a wrong name should cost no hours
    texts = {"own": prepare(job.data, field=job.field, cache=job.cache)}
    if other:
        texts["other"] = prepare(other, field=job.field, cache=job.cache)
    rows = []
    for number, (source, model) in enumerate(zip(sources, models, strict=True)):
        run = replace(job, start=source, folder=job.folder / str(number))
        result = train(run)
        settings = Settings.read(run.folder / "settings.json")
        context = context_bytes(settings.window, settings.level)
        before, after = ({name: bits(trained, text, context, size) for name, text in texts.items()}
                         for trained in (model, load(run.folder)))  # fmt: skip
        rows.append(row(str(source), result, settings, after) | {"before": before})
    kept = {name: value for name, value in job.overrides if name != "rate"}  # from scratch at the scale's own
    overrides = tuple({**kept, "steps": rows[0]["steps"]}.items())
    folder = job.folder / "scratch"
    run, scale = rows[0]["run"], rows[0]["scale"]
    result = train(replace(job, run=run, scale=scale, round="custom", start=None, folder=folder, overrides=overrides))
    after = {name: bits(load(folder), text, context, size) for name, text in texts.items()}
    rows.append(row("scratch", result, Settings.read(folder / "settings.json"), after))
    about = {name: {"name": text.name, "sha256": text.sha256, "train": text.splits["train"].size}
             for name, text in texts.items()}  # fmt: skip
    machine = environment(torch.device("cpu"), 1)
    return {"texts": about, "processor": machine.processor, "threads": machine.threads, "rows": rows}


def row(source: str, result: dict[str, Any], settings: Settings, after: dict[str, Any]) -> dict[str, Any]:
    """What one model came to; seconds are those of training."""
    return {
        "from": source,
        "run": result["run"],
        "scale": result["scale"],
        "start": settings.start,
        "rate": settings.rate,
        "steps": settings.steps,
        "bytes_seen": result["bytes_seen"],
        "seconds": result["train"]["seconds"],
        "curve": result["curve"],
        "after": after,
    }


def show(found: dict[str, Any]) -> str:
    lines = [f"{name}: {text['name']}, {text['train']:,} bytes to train on" for name, text in found["texts"].items()]
    for line in found["rows"]:
        scores = []
        for name, after in line["after"].items():
            before = f"{line['before'][name]['bpb']:.4f} to " if "before" in line else ""
            scores.append(f"{name} {before}{after['bpb']:.4f}")
        lines.append(f"{line['from']}: {'; '.join(scores)} bits per byte, {line['bytes_seen']:,} bytes in "
                     f"{line['seconds']:.0f} s at rate {line['rate']:g}")  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="sources", type=Path, action="append", required=True, metavar="MODEL",
                        help="a run folder or a packed file; may be repeated")  # fmt: skip
    parser.add_argument("--data", required=True, help="the text to train on")
    parser.add_argument("--other", help="another text, for what is forgotten")
    parser.add_argument("--field", default="text", help="field or column of the texts in JSONL and Parquet")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--bytes", type=byte_size, help="of text, like 2M (default: one pass)")
    budget.add_argument("--minutes", type=float)
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="NAME=VALUE",
                        help="a setting of training, e.g. rate=0.001")  # fmt: skip
    parser.add_argument("--max-bytes", type=byte_size, default=SCORED, help="scored of each text (default: 256Ki)")
    parser.add_argument("--seed", type=count, default=0, help="default: 0")
    parser.add_argument("--threads", type=positive, help="default: all cores")
    parser.add_argument("--name", required=True, help="of the result: finetune-NAME.json")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result (default: results/bench)")
    args = parser.parse_args()
    own = Budget(bytes=args.bytes, minutes=args.minutes) if args.bytes or args.minutes else None
    with tempfile.TemporaryDirectory() as place:
        job = Job(None, Path(place), budget=own, seed=args.seed, data=args.data, field=args.field,
                  start=args.sources[0], threads=args.threads, overrides=tuple(args.set))  # fmt: skip
        try:
            found = measure(args.sources, job, args.other, args.max_bytes)
        except UserError as error:
            print(f"bench/finetune.py: {error}", file=sys.stderr)
            return 2
    path = args.out / f"finetune-{args.name}.json"
    write_json(path, found)
    print(show(found))
    print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
