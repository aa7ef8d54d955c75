"""Writes the tables and figures of README.md and docs/ from the committed results: `python docs/tables.py [--check]`.

A table stands between the lines `<!-- table NAME -->` and `<!-- /table -->`; nothing else is touched. With
`--check` nothing is written: the exit status is 1 when a table, a figure in docs/figures/ or a report in results/ is
not current.
"""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cpu1.evaluation.statistics import Interval, bpb_interval
from cpu1.files import read_json, write_atomic
from cpu1.model.ladder import LADDER
from cpu1.report.comparison import compare_runs
from cpu1.report.render.markdown import markdown
from cpu1.report.render.plots import drawings, standalone
from cpu1.report.report import Card, Row, build_card
from cpu1.report.statistics import Figures
from cpu1.runs.studies import load_runs
from cpu1.study.sweep_table import markdown as sweep_markdown

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def studies() -> list[str]:
    """The names of the committed studies."""
    return sorted(path.stem for path in RESULTS.glob("*.jsonl"))


def results_of(study: str) -> Path:
    """The file into which a study was gathered (`cpu1 gather`)."""
    return RESULTS / f"{study}.jsonl"


def ladder(card: Card) -> str:
    """The sixteen runs at a glance."""
    head = ["run", "is", "params", "bits per byte, 95%", "less the parent's, 95%", "deleted", "file", "seeds"]
    return table(head, "llrrrrrr", [ladder_row(row, row.figures) for row in card.rows if row.figures])


def ladder_row(row: Row, figures: Figures) -> list[str]:
    deleted = f"{figures.gate.deletion_rate:.0%}" if figures.gate else ""
    return [row.run, row.title, f"{figures.params / 1e6:.2f} M", f"{figures.bpb_interval:.3f}", change(figures),
            deleted, f"{figures.file_bytes / 1e3:,.0f} KB", str(len(row.seeds))]  # fmt: skip


def change(figures: Figures) -> str:
    return interval(figures.difference) if figures.difference else ""


def interval(gap: Interval) -> str:
    star = "" if gap.seeds or gap.low is None else r"\*"
    return signed(f"{gap:+.3f}") + star


def signed(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def baselines(card: Card) -> str:
    return table(["on the same bytes", "bits per byte"], "lr", [[b.name, f"{b.bpb:.3f}"] for b in card.baselines])


def pairs(study: str, compared: tuple[tuple[str, str], ...]) -> str:
    """Runs of a study against each other on each text: what ternary, say, costs."""
    runs = {run.key.run for run in load_runs(results_of(study)) if run.result}
    lines = []
    for first, second in compared:
        if {first, second} <= runs:
            for line in compare_runs(results_of(study), first, second):
                one, other = line.bpb
                text = line.text or "its own, held out"
                percent = signed(f"{one / other - 1:+.2%}")
                seeds = "+".join(map(str, line.seeds))
                cells = f"{one:.4f}", f"{other:.4f}", interval(line.difference), percent, seeds
                lines.append([f"{first}, {second}", text, *cells])
    head = ["runs", "text", "first", "second", "first less second, 95%", "in percent", "seeds"]
    return table(head, "llrrrrr", lines)


def peers() -> str:
    """Steps a second of our engine and llama.cpp, as `bench/peers.py --json` measured them in one run."""
    found = read_json(RESULTS / "bench" / "peers.json")
    rows = [
        [name, f"{row['generate']:,.0f}", f"{row['prompt']:,.0f}", f"{row['file_bytes'] / 1e6:.1f} MB"]
        for name, row in found["contestants"].items()
    ]
    return table(["base scale, one thread", "generated a second", "read of a prompt a second", "file"], "lrrr", rows)


def training_speed() -> str:
    """Training throughput by scale, as `bench/training.py --json` measured each."""
    rows = []
    for path in sorted((RESULTS / "bench").glob("training-*.json"), key=lambda path: read_json(path)["bytes_per_s"]):
        found = read_json(path)
        cells = (
            *(found["scale"], f"{found['batch_bytes'] // 1024} KB", f"{found['bytes_per_s'] / 1e3:.1f} KB/s"),
            *(f"{found['fraction_of_peak']:.0%}", f"{found['ratio_to_eager']:.1f}"),
            f"{found['rss_bytes'] / 1e6:,.0f} MB",
        )
        rows.append(list(cells))
    head = ["run 07", "a step", "two threads", "of the bf16 matrix rate", "times plain eager fp32", "memory"]
    return table(head, "lrrrrr", rows)


def generation() -> str:
    """Generation speed of the byte-level runs by scale, as `bench/generation.py --json` measured each."""
    found = {scale: read_json(RESULTS / "bench" / f"generation-{scale}.json") for scale in ("nano", "small", "base")}
    rows = {scale: {row["run"]: row for row in bench["rows"]} for scale, bench in found.items()}
    lines = []
    for run in rows["base"]:
        rung = LADDER[run]
        speeds = (f"{runs[run]['bytes_per_s'] / 1e3:,.1f}" for runs in rows.values())
        over = (f"× {runs[run]['over_parent']:.2f}" if runs[run]["over_parent"] else "" for runs in rows.values())
        lines.append([run, rung.title, *speeds, rung.parent or "", *over])
    return table(["run", "is", *(f"{scale}, KB/s" for scale in rows), "parent", *rows], "llrrrlrrr", lines)


def stability() -> str:
    """How every run ended with the third round's settings, and under stress: `bench/stability.py --json`."""
    found = [read_json(path) for path in sorted((RESULTS / "bench").glob("stability-*.json"))]
    columns = {(f["scale"], f["steps"], f["stress"] or 0.0): {row["run"]: row for row in f["rows"]} for f in found}
    heads = [
        f"{scale}, {steps:,} steps" + (f", rate × {stress:g}" if stress else "") for scale, steps, stress in columns
    ]
    runs = list(dict.fromkeys(run for rows in columns.values() for run in rows))
    lines = [[run, *(ending(rows.get(run)) for rows in columns.values())] for run in runs]
    return table(["run", *heads], "l" + "r" * len(heads), lines)


def ending(row: dict[str, Any] | None) -> str:
    """BPB of a run that trained, with its non-finite steps; or when a guard stopped it."""
    if row is None:
        return ""
    if row["ended"] != "trained":
        return f"{row['ended']} at {row['steps']:,}"
    odd = f" ({row['nonfinite_steps']} non-finite)" if row["nonfinite_steps"] else ""
    return f"{row['bpb']:.3f}{odd}"


def ingredients(cards: dict[str, Card]) -> str:
    """What each rung changes against its parent: bits per byte in every study that has both, speed and file in one."""
    found = {study: {row.run: row.figures for row in cards[study].rows if row.figures} for study in EFFECTS}
    sizes = found[next(iter(EFFECTS))]
    lines = []
    for run, rung in LADDER.items():
        changes = [change(found[study][run]) if run in found[study] else "" for study in EFFECTS]
        if rung.parent and any(changes):
            ours, theirs = sizes.get(run), sizes.get(rung.parent)
            lines.append(
                [run, rung.title, rung.parent, *changes, *(ratios(ours, theirs) if ours and theirs else ("", ""))]
            )
    head = ["run", "is", "parent", *EFFECTS.values(), "generates", "file"]
    return table(head, "lll" + "r" * (len(head) - 3), lines)


def ratios(ours: Figures, theirs: Figures) -> tuple[str, str]:
    """Generated bytes a second and bytes of the file, as multiples of the parent's."""
    speed = f"× {ours.bytes_per_s / theirs.bytes_per_s:.2f}" if ours.bytes_per_s and theirs.bytes_per_s else ""
    return speed, f"× {ours.file_bytes / theirs.file_bytes:.2f}"


def language() -> str:
    """Grammar by phenomenon, last words and real words of every run that `cpu1 check --out` was asked about."""
    found = {
        run.key.folder: run.language for study in studies() for run in load_runs(results_of(study)) if run.language
    }
    phenomena = dict.fromkeys(name for run in found.values() for name in run["blimp"]["phenomena"])
    lines = [
        [f"BLiMP: {name}", *(share(run["blimp"]["phenomena"][name]) for run in found.values())] for name in phenomena
    ]
    lines += [
        ["**BLiMP, all**", *(share(run["blimp"]) for run in found.values())],
        ["LAMBADA, last word written", *(share(run["lambada"]) for run in found.values())],
        ["LAMBADA, bits a word", *(f"{run['lambada']['bits_per_word']:.2f}" for run in found.values())],
        ["written words that are in the training text", *(share(run["words"]) for run in found.values())],
        ["the same of held-out text", *(f"{run['words']['heldout']['share']:.1%}" for run in found.values())],
    ]
    return table(["", *found], "l" + "r" * len(found), lines)


def share(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return f"{Interval(row['share'] if 'share' in row else row['accuracy'], low, high, seeds=False):.1%}"


def compression() -> str:
    """Our compressor beside the usual ones, as `bench/compress.py --json` measured them (without the model itself)."""
    lines = []
    for file in read_json(RESULTS / "bench" / "compress.json")["files"]:
        for row in sorted(file["compressors"], key=lambda row: row["bytes"]):
            speeds = (f"{row[f'{way}compress_kb_per_s']:,.0f}" for way in ("", "de"))
            lines.append([file["file"], row["name"], f"{row['bytes']:,}", f"{row['bpb']:.4f}", *speeds])
    return table(["text", "compressor", "bytes", "bits per byte", "KB/s", "KB/s back"], "llrrrr", lines)


def lessons() -> str:
    """How much of a gradient's noise a teacher takes away: `bench/lessons.py --json`."""
    lines = []
    for path in sorted((RESULTS / "bench").glob("lessons-*.json")):
        found = read_json(path)
        text, *taught = found["rows"]
        for row in taught:
            weights = f"{found['run']}, {found['scale']}, {found['units'] / 1e6:.0f} MB"
            alike = f"{text['windows_alike']:.1f}", f"{row['windows_alike']:.1f}"
            lines.append([weights, found["lessons"], f"{row['alpha']:g}", signed(f"{row['of_first'] - 1:.0%}"), *alike])
    head = ["weights of run", "teacher", "alpha", "noise", "noise scale without", "with"]
    return table(head, "llrrrr", lines)


def teacher() -> str:
    """A teacher's tokens and bytes in the same windows: `bench/teacher.py --json`."""
    lines = []
    for path in sorted((RESULTS / "bench").glob("teacher-*.json")):
        found = read_json(path)
        windows = f"{found['bytes']:,}", f"{found['window']:,}", f"{found['context']:,}", f"{found['token_bpb']:.4f}"
        for row in found["shares"]:
            less = signed(f"{row['bpb'] - found['token_bpb']:+.4f}")
            apart = (f"{row['kl']:.3f}", f"{row['far']:.1%}") if "kl" in row else ("", "")
            lines.append([*windows, f"{row['share']:g}", f"{row['bpb']:.4f}", less, *apart])
    head = [
        "bytes",
        "window",
        "of it context",
        "tokens",
        "`--share`",
        "bytes' chain",
        "less tokens",
        "KL, bits",
        "bytes > 0.1",
    ]
    return table(head, "rrrrrrrrr", lines)


def other_texts(run: str) -> str:
    """Bits per byte of a run on texts of which it has seen nothing: `cpu1 held-out`."""
    study, _, folder = run.partition("/")
    (found,) = (known.held_out for known in load_runs(results_of(study)) if known.key.folder == folder)
    lines = []
    for name, text in found.items():
        bits = bpb_interval(text.documents.nats_D, text.documents.bytes_D)
        lines.append([name, f"{text.corpus.bytes:,}", f"{bits:.3f}"])
    return table(["text", "bytes", "bits per byte, 95%"], "lrr", lines)


def figures(study: str, card: Card) -> Iterator[tuple[Path, str]]:
    """The files of a study's figures, and what is in them."""
    for section in card.sections:
        for drawing in drawings(section, card.baselines):
            name = drawing.title.lower().replace(" ", "-")
            yield ROOT / "docs" / "figures" / f"{study}-{name}.svg", standalone(drawing)


def sweep(name: str) -> str:
    """A sweep's own table."""
    return sweep_markdown(read_json(RESULTS / f"{name}.json"))


# The tables: how each is made, and from which study.
TABLES: dict[str, tuple[Callable[[Card], str], str]] = {
    "ladder-nano": (ladder, "nano-r1"),
    "baselines-nano": (baselines, "nano-r1"),
    "ladder-demo": (ladder, "demo"),
    "baselines-demo": (baselines, "demo"),
}

SWEEPS = (
    *("sweep-nano", "sweep-nano-ternary", "sweep-nano-r2", "sweep-small-r1", "sweep-gate"),
    *("sweep-distill", "sweep-batch", "sweep-lessons", "sweep-temperature", "sweep-hidden", "sweep-longer-teacher"),
)
# Studies, smallest first, in which each ingredient's effect is told; speed and size are those of the first.
EFFECTS = {"nano-r1": "nano, 3 MB", "nano-r2": "nano, 23 MB", "small-r1": "small, 21 MB"}
SHIPPED = "small-r2/04-small-r2-s0"  # the run that checkpoints/default.cpu1 is packed from
LARGEST = "base-r1/07-base-r1-s0"
PAIRED = ("nano-r1", "nano-r2", "nano-r3", "small-r1")  # studies whose runs are compared as follows
DRAWN = ("nano-r1", "nano-r2", "small-r1")  # studies whose figures are in docs/figures/
PAIRS = (("03", "02"), ("04", "03"), ("04", "02"), ("05", "03"), ("07", "04"), ("07", "03"))
TAUGHT = ("nano-r1", "nano-r2", "small-r1", "small-r1-own")  # and studies of what a teacher brings
LESSONS = (("14", "16"), ("15", "16"), ("15", "14"), ("14", "04"))


def table(head: list[str], aligned: str, rows: list[list[str]]) -> str:
    marks = [{"l": ":--", "r": "--:"}[side] for side in aligned]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in [head, marks, *rows])


def main() -> int:
    cards = {study: build_card(results_of(study)) for study in studies()}
    made = {
        "peers": peers(),
        "training-speed": training_speed(),
        "stability": stability(),
        "generation": generation(),
    } | {name: sweep(name) for name in SWEEPS}
    made |= {
        "ingredients": ingredients(cards),
        "language": language(),
        "compression": compression(),
        "teacher": teacher(),
        "noise": lessons(),
    }
    made |= {"shipped": other_texts(SHIPPED), "largest": other_texts(LARGEST)}
    made |= {f"pairs-{study}": pairs(study, PAIRS) for study in PAIRED}
    made |= {f"lessons-{study}": pairs(study, LESSONS) for study in TAUGHT}
    made |= {name: make(cards[study]) for name, (make, study) in TABLES.items()}
    wanted = {RESULTS / f"{study}.md": markdown(card) for study, card in cards.items()}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        wanted[page] = BLOCK.sub(lambda found: found[1] + made[found[2]] + found[3], text)
    wanted |= {path: text for study in DRAWN for path, text in figures(study, cards[study])}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} is not current: run python docs/tables.py")
        else:
            write_atomic(path, wanted[path])
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
