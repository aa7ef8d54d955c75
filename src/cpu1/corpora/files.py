"""Files of texts, scored on a Ray cluster: Parquet or JSON lines in, one file of the same kind out, in their order.

A line of JSON keeps all that it held. One that is no record with a text comes back with its `error`.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from cpu1.cluster import connected
from cpu1.corpora.buckets import SHARES
from cpu1.corpora.on_ray import in_order, score, score_lines
from cpu1.corpora.scorer import BITS, BUCKET, BYTES, ERROR, LINE
from cpu1.data.formats import DECODERS
from cpu1.data.paths import find_files
from cpu1.errors import UserError
from cpu1.files import atomic

PARQUET, LINES = ".parquet", ".jsonl"
KINDS = {PARQUET: PARQUET, LINES: LINES, ".ndjson": LINES}
ADDRESS = "://"
ADDED = (BITS, BYTES, BUCKET)


class Wish(NamedTuple):
    """What is to be scored, and where. `out` is None for JSON lines that are handed on."""

    sources: Sequence[str]  # files, folders, globs, or addresses that Ray reads
    field: str
    on: str
    model: Path | None = None
    shares: Sequence[float] = SHARES


class Counts(NamedTuple):
    """Rows that were written, and those of them that hold no text."""

    rows: int
    wrong: int


def write_scored(wish: Wish, out: Path) -> Counts:
    """Scores the files and writes one of the same kind. UserError for what cannot be read, written or scored."""
    paths, kind = _paths(wish.sources)
    if KINDS.get(out.suffix.lower()) != kind:
        raise UserError(f"{out}: name a file that ends in {kind}, as what is read does")
    with connected(wish.on) as ray:
        tables = _tables(ray, wish, paths, kind)
        first = next(tables)
        with atomic(out) as file:
            return _write_lines(first, tables, file) if kind == LINES else _write_parquet(first, tables, file)


def scored_lines(wish: Wish) -> Iterator[str]:
    """The scored rows as lines of JSON, without the text of Parquet files."""
    paths, kind = _paths(wish.sources)
    with connected(wish.on) as ray:
        for table in _tables(ray, wish, paths, kind):
            rows = table.to_pylist()
            yield from (_line(row) if kind == LINES else _figures(row) for row in rows)


def _tables(ray: Any, wish: Wish, paths: list[str], kind: str) -> Iterator[Any]:
    """The scored tables of Arrow, in the order of what was read; at least one."""
    in_order(ray)
    try:
        if kind == LINES:
            scored = score_lines(ray.data.read_text(paths), wish.field, wish.model, wish.shares)
        else:
            scored = score(ray.data.read_parquet(paths), wish.field, wish.model, shares=wish.shares)
        yield from scored.iter_batches(batch_size=None, batch_format="pyarrow")
    except (ray.exceptions.RayTaskError, ray.exceptions.RayError, OSError) as error:
        raise UserError(f"{', '.join(wish.sources)}: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    """The last line of what went wrong on a node."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return lines[-1].strip() if lines else type(cause).__name__


def _paths(sources: Sequence[str]) -> tuple[list[str], str]:
    """What Ray is to read, and of what kind it is. UserError for files of two kinds, or of none."""
    found = [path for source in sources for path in _of_source(source)]
    kinds = {_kind(path) for path in found}
    if len(kinds) > 1:
        raise UserError(f"{', '.join(sources)}: both Parquet and JSON lines; score one kind at a time")
    return found, kinds.pop()


def _of_source(source: str) -> list[str]:
    return [source] if ADDRESS in source else [str(path.absolute()) for path in find_files(source)]


def _kind(path: str) -> str:
    name = Path(path.lower())
    plain = name.with_suffix("") if name.suffix in DECODERS else name
    if plain.suffix not in KINDS:
        raise UserError(f"{path}: neither {PARQUET} nor {LINES}; `cpu1 judge` reads other texts")
    return KINDS[plain.suffix]


def _write_parquet(first: Any, tables: Iterator[Any], file: IO[bytes]) -> Counts:
    import pyarrow.parquet

    counts = _counted(first, BITS)
    with pyarrow.parquet.ParquetWriter(file, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table.cast(first.schema))
            counts = Counts(*map(sum, zip(counts, _counted(table, BITS), strict=True)))
    return counts


def _counted(table: Any, column: str) -> Counts:
    return Counts(len(table), table.column(column).null_count)


def _write_lines(first: Any, tables: Iterator[Any], file: IO[bytes]) -> Counts:
    rows = wrong = 0
    table = first
    while table is not None:
        for row in table.to_pylist():
            file.write(_line(row).encode("utf-8", "surrogatepass") + b"\n")
            rows, wrong = rows + 1, wrong + (row[ERROR] is not None)
        table = next(tables, None)
    return Counts(rows, wrong)


def _line(row: dict[str, Any]) -> str:
    """A record with what was found, or with what is wrong with it; of a line that is none the error alone."""
    try:
        record = json.loads(row[LINE])
    except (ValueError, RecursionError):
        record = None
    about = {name: row[name] for name in ADDED} if row[ERROR] is None else {ERROR: row[ERROR]}
    return json.dumps((record if isinstance(record, dict) else {}) | about, ensure_ascii=False)


def _figures(row: dict[str, Any]) -> str:
    return json.dumps({name: row[name] for name in ADDED})
