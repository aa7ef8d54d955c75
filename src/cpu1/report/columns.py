"""The report's columns: a heading and how a row's cell reads, once, for terminal, Markdown and page alike."""

from collections.abc import Callable
from dataclasses import dataclass

from cpu1.evaluation.statistics import Interval
from cpu1.report.original import OriginalRow, is_small
from cpu1.report.report import Row, Section, StudyReport

NONE = "–"
MINUS = "\u2212"
ROUNDS = {
    "r1": "Round 1, 2 units per parameter",
    "r2": "Round 2, 15 units per parameter",
    "r3": "Round 3, 50 units per parameter, bf16, BitLinear learning rate × 2",
    "custom": "Budget set by hand",
}


@dataclass(frozen=True)
class Column:
    """A heading, and the text of a row's cell."""

    heading: str
    cell: Callable[[Row], str]
    words: bool = False  # aligned to the left


@dataclass(frozen=True)
class Table:
    """Rows that the original lays out together, under one heading."""

    heading: str
    rows: tuple[Row, ...]
    round: str


def tables(report: StudyReport) -> list[Table]:
    """Every section as the original lays out its rounds: in the first, the chain and the small runs apart."""
    found = []
    for section in report.sections:
        name = heading(section)
        parts = {name: section.rows}
        if section.round == "r1":
            parts = {
                f"{name}: the ablation chain": tuple(row for row in section.rows if not is_small(row.run)),
                f"{name}: small runs": tuple(row for row in section.rows if is_small(row.run)),
            }
        found += [Table(part, rows, section.round) for part, rows in parts.items() if rows]
    return found


def heading(section: Section) -> str:
    """A section's name for a reader."""
    return f"{ROUNDS.get(section.round, f'Round {section.round}')} (scale {section.scale})"


def caution(report: StudyReport) -> str:
    """What the intervals of this report cover."""
    if all(row.figures.bpb_interval.seeds for row in report.rows if row.figures):
        return "Intervals are 95% and cover both the choice of documents and the training seed."
    return (
        "Intervals are 95%. Those marked * come from one seed (of the run or of its parent): they cover the "
        "choice of documents alone, not that another seed would have trained to another loss."
    )


def number(value: float | None, digits: int) -> str:
    """A number with `digits` digits after the point, with thousands set apart and a true minus sign."""
    return NONE if value is None else f"{value:,.{digits}f}".replace("-", MINUS)


def signed(value: float | None, digits: int) -> str:
    """With a sign, or a dash for None."""
    return NONE if value is None else f"{value:+,.{digits}f}".replace("-", MINUS)


def figure(value: float | None) -> str:
    """One digit after the point, as the original prints it; below 10, three significant ones."""
    if value is None:
        return NONE
    return number(value, 1) if value >= 10 else f"{value:#.3g}"


def perplexity(value: float | None) -> str:
    """Two digits after the point; in powers of ten where that is no longer a number to read."""
    return NONE if value is None else number(value, 2) if value < 1e6 else f"{value:.2e}"


def percent(value: float | None) -> str:
    """A share as a percentage with one digit, or a dash for None."""
    return NONE if value is None else f"{100 * value:.1f}%"


def bounds(interval: Interval) -> str:
    """The two ends of a 95% interval; a star marks one that rests on a single seed."""
    if interval.low is None or interval.high is None:
        return "one document"
    star = "" if interval.seeds else "*"
    return f"{number(interval.low, 3)} to {number(interval.high, 3)}{star}"


def difference(row: Row) -> str:
    """BPB less the parent's, with its interval."""
    if not row.figures or row.parent is None:
        return NONE
    against = row.figures.difference
    return f"no {row.parent} here" if against is None else against_parent(against)


def against_parent(against: Interval) -> str:
    """The difference from the parent with its interval, marked as in `bounds`."""
    if against.low is None or against.high is None:
        return f"{signed(against.value, 3)} (one document)"
    star = "" if against.seeds else "*"
    return f"{signed(against.value, 3)} ({signed(against.low, 3)} to {signed(against.high, 3)}{star})"


def finished(row: Row) -> str:
    """How many seeds have finished, and how many have not."""
    return " ".join([str(len(row.seeds)), *(f"({t.state}: {t.seed})" for t in row.troubles)])


def verdict(row: Row) -> str:
    """The generation check: the verdict, or how many seeds passed where they differ."""
    if not row.figures:
        return NONE
    passed, seeds = row.figures.generations_passed, len(row.seeds)
    return "PASS" if passed == seeds else f"{passed} of {seeds} PASS" if passed else "FAIL"


def of(read: Callable[..., float | None], show: Callable[[float | None], str]) -> Callable[[Row], str]:
    """A cell of a row's figures; "–" for a row without."""
    return lambda row: show(read(row.figures)) if row.figures else NONE


def fixed(digits: int) -> Callable[[float | None], str]:
    """A formatter with `digits` digits after the point."""
    return lambda value: number(value, digits)


def plus(digits: int) -> Callable[[float | None], str]:
    """The same with a sign."""
    return lambda value: signed(value, digits)


RUN = Column("Run", lambda row: row.run, words=True)
TITLE = Column("Architecture", lambda row: row.title or NONE, words=True)
PARAMS = Column("Params M", of(lambda f: f.params / 1e6, figure))
BPB = Column("BPB", of(lambda f: f.bpb, fixed(4)))
INTERVAL = Column("BPB, 95%", lambda row: bounds(row.figures.bpb_interval) if row.figures else NONE)
DIFFERENCE = Column("BPB less parent's, 95%", difference)
DOCUMENT = Column("BPB, documents", of(lambda f: f.document_bpb, fixed(4)))
SEEDS = Column("Seeds", finished)
SPEED = Column("Bytes/s", of(lambda f: f.bytes_per_s, fixed(0)))
FILE = Column("File MB", of(lambda f: f.file_bytes / 1e6, figure))
VERDICT = Column("Generation", verdict, words=True)
PARENT = Column("Parent", lambda row: row.parent or NONE, words=True)

AS_ORIGINAL = (
    PARAMS,
    Column("RAM fp32 MB", of(lambda f: f.ram_fp32_mb, figure)),
    Column("Val loss", of(lambda f: f.val_loss, fixed(4))),
    Column("PPL", of(lambda f: f.ppl, perplexity)),
    BPB,
    Column("Δ uniform", of(lambda f: f.delta_uniform, plus(4))),
    Column("P/s", of(lambda f: f.patches_per_s, fixed(1))),
    SPEED,
    Column("Level", lambda row: row.level or NONE, words=True),
    Column("Step", of(lambda f: f.step, fixed(0))),
    Column("Units/param", of(lambda f: f.tok_per_param, fixed(1))),
)
OF_ROUND_2 = (
    Column("Loss r1", of(lambda f: f.loss_r1, fixed(4))),
    Column("PPL r1", of(lambda f: f.ppl_r1, perplexity)),
    Column("Δ loss", of(lambda f: f.delta_loss, plus(5))),
)
BESIDE = (
    SEEDS,
    INTERVAL,
    PARENT,
    DIFFERENCE,
    DOCUMENT,
    Column("Non-finite steps", of(lambda f: f.nonfinite_steps, fixed(0))),
    VERDICT,
    FILE,
    Column("Gate soft BPB", of(lambda f: f.gate and f.gate.soft_bpb, fixed(4))),
    Column("Gate hard BPB", of(lambda f: f.gate and f.gate.hard_bpb, fixed(4))),
    Column("Deleted", of(lambda f: f.gate and f.gate.deletion_rate, percent)),
    Column("Zero weights", of(lambda f: f.ternary and f.ternary.zero_fraction, percent)),
    Column("Flipped", of(lambda f: f.ternary and f.ternary.flip_rate, percent)),
    Column("Training bytes/s", of(lambda f: f.train_bytes_per_s, fixed(0))),
)


def theirs(name: str, show: Callable[[float | None], str]) -> Callable[[Row], str]:
    """A cell of the original's row: "nan" where it printed that."""

    def cell(row: Row) -> str:
        source: OriginalRow | None = row.original
        if source is None:
            return NONE
        return "nan" if name in source.nan else show(getattr(source, name))

    return cell


ORIGINAL = (
    Column("Params M", theirs("params_m", fixed(1))),
    Column("Val loss", theirs("val_loss", fixed(4))),
    Column("PPL", theirs("ppl", perplexity)),
    Column("BPB", theirs("bpb", fixed(4))),
    Column("Δ uniform", theirs("delta_uniform", plus(4))),
    Column("P/s", theirs("patches_per_s", fixed(1))),
    Column("Bytes/s", theirs("bytes_per_s", fixed(0))),
    Column("Step", theirs("step", fixed(0))),
)


def on_text(name: str) -> tuple[Column, ...]:
    """A text's columns: BPB with its interval, what it is less than the parent's, and that of whole documents."""

    def value(row: Row) -> str:
        found = row.figures and row.figures.held_out.get(name)
        return f"{number(found.bpb, 4)} ({bounds(found.bpb_interval)})" if found else NONE

    def less(row: Row) -> str:
        found = row.figures and row.figures.held_out.get(name)
        return against_parent(found.difference) if found and found.difference else NONE

    def whole(row: Row) -> str:
        found = row.figures and row.figures.held_out.get(name)
        return number(found.document_bpb, 4) if found else NONE

    columns = (f"{name}: BPB, 95%", value), (f"{name}: less parent's", less), (f"{name}: documents", whole)
    return tuple(Column(*each) for each in columns)


def groups(table: Table) -> dict[str, tuple[Column, ...]]:
    """The table's columns by where they come from."""
    ours = AS_ORIGINAL + (OF_ROUND_2 if table.round == "r2" else ())
    found = {"As the original lays it out": ours, "What the original lacked": BESIDE}
    names = dict.fromkeys(name for row in table.rows if row.figures for name in row.figures.held_out)
    if names:
        found["On other texts"] = tuple(column for name in names for column in on_text(name))
    if any(row.original for row in table.rows):
        found["The original: another text and machine"] = ORIGINAL
    return found
