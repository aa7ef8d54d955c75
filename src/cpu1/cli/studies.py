"""Verbs of the lab: texts, the ladder, and many runs as one study."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cpu1.cli.options import (
    DATA_HELP,
    SCALES,
    Verb,
    budget,
    byte_size,
    count,
    device_option,
    named,
    positive,
    round_name,
    share,
    training_options,
    tuning,
    variation,
)
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.study.start import Request


def add(verb: Verb) -> None:
    p = verb(ladder, "ladder", "ladder\nladder --params\nladder --params --json\nladder --params --scale nano")
    p.add_argument("--params", action="store_true", help="sizes of all runs beside the card's")
    p.add_argument("--scale", choices=SCALES, default="card", help="with --params (default: card)")
    p.add_argument("--json", action="store_true", help="machine-readable")

    p = verb(data, "data", "data python-stdlib\ndata 'books/*.txt.zst'\ndata posts.jsonl.gz --field body")
    p.add_argument("data", help=DATA_HELP)
    p.add_argument("--field", default="text", help="field or column of the text")

    p = verb(mix, "mix", "mix mix.txt.zst --part books/=60 --part reference.txt=25 --part 'tech/*.zst=15' --bytes 24M\n"
             "mix small.txt --part hf:NAME=1 --bytes 500k --seed 1\n"
             "mix both.txt --part notes.txt=3 --part spaced:notes.txt=1 --bytes 2M")  # fmt: skip
    p.add_argument("out", type=Path, help="the file to write; compressed if its name ends in .zst")
    p.add_argument("--part", type=share, action="append", required=True, metavar="SOURCE=SHARE", dest="parts",
                   help="a text, as --data takes it, and its share in any unit; may be repeated. "
                        "spaced:SOURCE is English text in the spacing of WikiText, needs cpu1[spacing]")  # fmt: skip
    p.add_argument("--bytes", type=byte_size, required=True, help="of the mixture, like 24M")
    p.add_argument("--field", default="text", help="field or column of the text")
    p.add_argument("--seed", type=count, default=0, help="another seed takes other pieces")
    p.add_argument("--quiet", action="store_true", help="no progress bar")

    p = verb(study, "study", "study --scale demo --round r1 --equal-bytes --out runs/demo\n"
             "study --runs 03,04 --seeds 3 --scale nano --round r2 --equal-bytes --data books/\n"
             "study --runs 03,04 --tune 03:rate=3e-3 --scale nano --round r2 --equal-bytes\n"
             "study --scale card --round r1")  # fmt: skip
    p.add_argument("--runs", default="all", help="names with commas between (default: all sixteen)")
    p.add_argument("--seeds", type=positive, default=1, help="how many (default: 1)")
    p.add_argument("--out", type=Path, default=Path("runs/study"), help="study folder (default: runs/study)")
    training_options(p)
    p.add_argument("--equal-bytes", action="store_true", help="every run sees the bytes of run 07's round")
    p.add_argument("--tune", type=tuning, action="append", default=[], metavar="RUN[,RUN]:NAME=VALUE",
                   help="a setting of training for some of the runs, e.g. 02,03:rate=3e-3")  # fmt: skip
    p.add_argument("--jobs", type=positive, help="runs trained at once (default: one a core)")

    p = verb(sweep, "sweep", "sweep 04 --vary rate=3e-3,6e-3 --seeds 2 --bytes 4M\n"
             "sweep 03,04 --vary optimizer=adamw,muon --vary ffn=SwiGLU,ReLU2 --out runs/optimisers\n"
             "sweep 04 --alone --vary rate=3e-3,9e-3 --vary weight_decay=0 --vary z_loss=1e-4")  # fmt: skip
    p.add_argument("runs", metavar="RUN[,RUN]", help="runs of the ladder")
    p.add_argument("--vary", type=variation, action="append", required=True, metavar="NAME=VALUE[,VALUE]",
                   help="a setting (as in --set) or a part of the recipe (as in --with); may be repeated")  # fmt: skip
    p.add_argument("--alone", action="store_true", help="the run as it is, and beside it each value alone, "
                   "instead of every combination")  # fmt: skip
    p.add_argument("--seeds", type=positive, default=2, help="how many (default: 2)")
    p.add_argument("--out", type=Path, default=Path("runs/sweep"), help="folder (default: runs/sweep)")
    training_options(p)
    p.add_argument("--teacher", type=Path, help="folder of a trained byte-level run, for variants that distil")
    p.add_argument("--jobs", type=positive, help="runs trained at once (default: one a core)")

    p = verb(held_out, "held-out", "held-out runs/study --text wikitext2=wikitext2.test.raw.txt\n"
             "held-out runs/study --text books=books.valid.txt --text tech='tech/*.zst' --max-bytes 1M")  # fmt: skip
    p.add_argument("study", type=Path, help="study folder")
    p.add_argument("--text", type=named, action="append", required=True, metavar="NAME=SOURCE", dest="texts",
                   help="a text, as --data takes it, and its name in the card; may be repeated")  # fmt: skip
    p.add_argument("--field", default="text", help="field or column of the text")
    p.add_argument("--max-bytes", type=byte_size, default=2**20,
                   help="score at most so much of each third of a text (default: 1Mi)")  # fmt: skip
    p.add_argument("--threads", type=positive, help="default: all cores")
    device_option(p)

    p = verb(compare, "compare", "compare results/nano-r2.jsonl 04 03\ncompare runs/study 04 03 --json")
    p.add_argument("study", type=Path, help="study folder")
    p.add_argument("first", help="a run")
    p.add_argument("second", help="the run that it is compared with")
    p.add_argument("--json", action="store_true", help="machine-readable")

    p = verb(card, "card", "card runs/demo\ncard runs/demo --out docs/demo")
    p.add_argument("study", type=Path, help="study folder")
    p.add_argument("--out", type=Path, help="folder for card.md, card.json, card.html (default: the study folder)")

    p = verb(gather, "gather", "gather runs/study -o results/study.jsonl")
    p.add_argument("study", type=Path, help="study folder")
    p.add_argument("-o", "--out", type=Path, required=True, help="the file to write")


def ladder(words: argparse.Namespace) -> int:
    """Prints the chain with its differences, or the sizes beside the card's."""
    from cpu1.report import ladder_table

    if words.json:
        rows = ladder_table.sizes(words.scale) if words.params else ladder_table.chain()
        print(json.dumps(rows, indent=1))
    elif words.params:
        ladder_table.print_sizes(words.scale)
    else:
        ladder_table.print_chain()
    return 0


def data(words: argparse.Namespace) -> int:
    """Prepares a text and says what is in it."""
    from cpu1.data.corpus import describe, prepare

    print(describe(prepare(words.data, field=words.field)))
    return 0


def mix(words: argparse.Namespace) -> int:
    """Mixes several texts into one in stated shares, and says what came from where."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from cpu1.data.mix import Part
    from cpu1.data.mix import mix as write

    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} MB read"), TimeElapsedColumn())
    with Progress(*columns, disable=words.quiet, transient=True) as bar:
        task = bar.add_task("", total=None)
        parts = [Part(source, share) for source, share in words.parts]
        found = write(
            parts, words.bytes, words.out, words.field, words.seed, lambda size: bar.advance(task, size / 1e6)
        )
    for part in found.parts:
        print(f"{part.source}: {part.bytes:,} bytes in {part.pieces:,} pieces")
    print(f"{words.out}: {found.bytes:,} bytes of text, sha256 {found.sha256}")
    return 0


def study(words: argparse.Namespace) -> int:
    """Runs what is missing of (runs x seeds), then writes and prints the card."""
    from cpu1.study.start import start

    if words.equal_bytes and (words.bytes or words.minutes):
        raise UserError("--equal-bytes takes the bytes of the round; leave out --bytes and --minutes")
    tuned = tuple((run, setting) for runs, setting in words.tune for run in runs)
    return start(replace(_study_request(words, words.equal_bytes), tuned=tuned))


def _study_request(words: argparse.Namespace, equal_bytes: bool) -> "Request":
    from cpu1.study.start import Request

    return Request(
        folder=words.out,
        runs=words.runs,
        seeds=words.seeds,
        scale=words.scale,
        round=round_name(words),
        budget=budget(words),
        equal_bytes=equal_bytes,
        data=words.data,
        field=words.field,
        jobs=words.jobs,
        threads=words.threads or 1,
        device=words.device,
        overrides=tuple(words.set),
        changes=tuple(words.changes),
        eval_bytes=words.eval_bytes,
        teacher_cache=words.teacher_cache,
    )


def sweep(words: argparse.Namespace) -> int:
    """Varies settings or ingredients of runs over seeds, and prints one table."""
    from cpu1.study.sweep import Sweep, start

    vary = dict(words.vary)
    if len(vary) < len(words.vary):
        raise UserError("--vary names one thing twice; put its values together: --vary rate=2e-3,4e-3")
    request = _study_request(words, equal_bytes=not (words.bytes or words.minutes))
    return start(Sweep(request, vary, words.teacher, words.alone))


def held_out(words: argparse.Namespace) -> int:
    """Scores a study's runs on other texts, and rebuilds its card with them."""
    import torch
    from rich.console import Console

    from cpu1.device import choose
    from cpu1.report.write import write_card
    from cpu1.study.held_out import Request, score_study

    if words.threads:
        torch.set_num_threads(words.threads)
    texts = dict(words.texts)
    if len(texts) < len(words.texts):
        raise UserError("--text gives one name to two texts")
    request = Request(words.study, texts, words.field, words.max_bytes, choose(words.device))
    with Console().status("preparing the texts") as status:
        scored = score_study(request, progress=status.update)
    write_card(words.study)
    print(f"{scored} scored, the others were there; written: {words.study}/card.md, card.json, card.html")
    return 0


def compare(words: argparse.Namespace) -> int:
    """Compares two runs of a study on every text: difference in bits per byte with its interval."""
    from cpu1.report.comparison import compare_runs, print_comparison, to_json

    lines = compare_runs(words.study, words.first, words.second)
    if words.json:
        print(json.dumps(to_json(lines), indent=1))
    else:
        print_comparison(lines, words.first, words.second)
    return 0


def card(words: argparse.Namespace) -> int:
    """Rebuilds the card from the run folders of a study."""
    from cpu1.report.render.terminal import print_card
    from cpu1.report.write import write_card

    print_card(write_card(words.study, words.out))
    print(f"written: {words.out or words.study}/card.md, card.json, card.html")
    return 0


def gather(words: argparse.Namespace) -> int:
    """Writes what a study's runs reached into one file, a line of JSON a run, which card and compare read as well."""
    from cpu1.runs.studies import gather as write

    count = write(words.study, words.out)
    print(f"{words.out}: {count} runs")
    return 0
