"""The documents of one file: plain text, JSON lines or Parquet, plain or compressed.

Files are read in chunks of a mebibyte, so that the longest document bounds memory, not the file. Text stays bytes:
nothing is decoded, and any encoding (or none) passes through unchanged.
"""

import bz2
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

from cpu1.errors import UserError

CHUNK = 1 << 20
LONGEST_DOCUMENT = 1 << 20  # bytes; longer ones are cut, which bounds memory and lets one huge file be split
LONGEST_LINE = 64 << 20  # bytes of one JSON line, which escapes may make longer than its text
PROBE = 8192  # bytes read to distinguish text from binary
RECORDS = (".jsonl", ".ndjson", ".parquet")
ARCHIVES = (".zip", ".7z", ".tar", ".tgz", ".rar", ".br", ".lz4", ".z", ".pdf", ".docx", ".epub")  # not opened
ZSTD_WINDOW = 1 << 31  # bytes, the longest that zstd writes

TEXTS = ("string", "large_string", "binary", "large_binary", "fixed_size_binary", "null")  # of Arrow; views too
NAMED = 20  # columns or fields in an error
LONGEST_WORDS = 200  # characters of others' words in an error

DOCUMENT_BREAK = re.compile(rb"^\f\r?\n", re.MULTILINE)  # a line that holds one form feed
LINE_BREAK = re.compile(rb"(?<=\n)")  # after the line's end, so that blank lines are pieces and get counted
LONGEST_BREAK = 3  # bytes


def file_documents(path: Path, field: str) -> Iterator[bytes]:
    """The non-empty documents of `path`, in the format of its name's suffix. UserError when it cannot be read."""
    name = _plain_name(path)
    if name.endswith(".parquet"):
        yield from _parquet_documents(path, field)
    elif name.endswith((".jsonl", ".ndjson")):
        yield from _json_documents(path, field)
    else:
        yield from text_documents(read_chunks(path))


def text_documents(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Text cut at lines holding one form feed, and wherever a document exceeds LONGEST_DOCUMENT."""
    return _split(chunks, DOCUMENT_BREAK, LONGEST_DOCUMENT)


def row_documents(row: dict[str, Any], field: str, where: str) -> Iterator[bytes]:
    """The text in one field of a record; none where it is null. `where` names the record in errors."""
    if field not in row:
        raise UserError(f"{where}: no field {field!r}; there are: {_listed(row)}")
    value = row[field]
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if value is None:
        return
    if not isinstance(value, bytes):
        raise UserError(f"{where}: field {field!r} holds a {type(value).__name__}, not text")
    yield from cut(value, LONGEST_DOCUMENT)


def is_binary(path: Path) -> bool:
    """Whether a file of unknown format has a NUL byte near its start (of its content, when compressed)."""
    if _plain_name(path).endswith(".parquet"):
        return False
    return b"\0" in next(read_chunks(path), b"")[:PROBE]


def has_records(path: Path) -> bool:
    """Whether the documents of a file are fields of records."""
    return _plain_name(path).endswith(RECORDS)


def oddity(path: Path) -> str | None:
    """What people should know who named this file as text: why it may not be what they mean, or None."""
    name = _plain_name(path)
    if name.endswith(ARCHIVES):
        return "is read as it is, without unpacking; unpack it first to train on what is inside"
    if name.endswith(".json"):
        return "is read as plain text; records are read from .jsonl, with one JSON object in a line"
    return "looks binary, and is read as it is" if is_binary(path) else None


def read_chunks(path: Path) -> Iterator[bytes]:
    """The content of `path` in chunks of about CHUNK bytes, decompressed. UserError when it is damaged."""
    decoder = DECODERS.get(path.suffix.lower())
    try:
        with path.open("rb") as file:
            yield from stream_chunks(file) if decoder is None else _frames(file, decoder)
    except EOFError as error:
        raise UserError(f"{path}: damaged or cut short ({error})") from None
    except MemoryError as error:
        raise UserError(f"{path}: {error or 'needs more memory than there is'}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def stream_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of a file in chunks of at most CHUNK bytes."""
    while chunk := file.read(CHUNK):
        yield chunk


class Decoder(Protocol):
    """Undoes the compression of one frame, as the decompressors of zlib, bz2, lzma and zstandard do."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _frames(file: IO[bytes], fresh_decoder: Callable[[], Decoder]) -> Iterator[bytes]:
    """All frames of a file, decompressed; zeros behind a frame are padding. EOFError for what is cut short.

    Decoders are fed by hand, since some readers take a truncated file for a complete one, and others padding for
    damage; and a kibibyte at a time, since four bytes may become 128 KiB.
    """
    decoder, frames = None, 0
    parts: list[bytes] = []
    while fresh := file.read(1024):
        while fresh:
            begins = decoder is None
            if begins and frames and not fresh.strip(b"\0"):
                break
            decoder = decoder or fresh_decoder()
            try:
                parts.append(decoder.decompress(fresh))
            except UNREADABLE as error:
                raise EOFError("other bytes follow its end" if begins and frames else str(error)) from None
            if not decoder.eof:
                break
            fresh, decoder, frames = decoder.unused_data, None, frames + 1
        if sum(map(len, parts)) >= CHUNK:
            yield b"".join(parts)
            parts = []
    yield b"".join(parts)
    if decoder is not None:
        raise EOFError("the last frame has no end")


UNREADABLE = (zlib.error, lzma.LZMAError, OSError)  # bz2 has no error of its own


class _Zstd:
    """A zstd frame; MemoryError where its window is larger than the memory that there is."""

    def __init__(self) -> None:
        import zstandard  # only for such files: a machine that trains on others may lack it

        self.error = zstandard.ZstdError
        self.plain = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()

    @property
    def eof(self) -> bool:
        return self.plain.eof

    @property
    def unused_data(self) -> bytes:
        return self.plain.unused_data

    def decompress(self, data: bytes, /) -> bytes:
        try:
            return self.plain.decompress(data)
        except self.error as error:
            if "memory" in str(error) or "allocation" in str(error):
                raise MemoryError(
                    "was compressed with a window of more memory than there is; compress it again without --long"
                ) from None
            raise zlib.error(str(error)) from None


DECODERS: dict[str, Callable[[], Decoder]] = {
    ".bz2": bz2.BZ2Decompressor,
    ".gz": lambda: zlib.decompressobj(wbits=31),
    ".lzma": lzma.LZMADecompressor,
    ".xz": lzma.LZMADecompressor,
    ".zst": _Zstd,
}


def _plain_name(path: Path) -> str:
    name = path.name.lower()
    return name.removesuffix(path.suffix.lower()) if path.suffix.lower() in DECODERS else name


def _split(chunks: Iterable[bytes], separator: re.Pattern[bytes], longest: int) -> Iterator[bytes]:
    """Non-empty pieces between separators, each of at most `longest` bytes, wherever the chunks' borders are."""
    rest = b""
    for chunk in chunks:
        unseen = max(0, len(rest) - LONGEST_BREAK + 1)
        rest += chunk
        start = 0
        for match in separator.finditer(rest, unseen):
            yield from cut(rest[start : match.start()], longest)
            start = match.end()
        rest = rest[start:]
        while len(rest) > longest:
            end = _cut_at(rest, 0, longest)
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest


def cut(document: bytes, longest: int) -> Iterator[bytes]:
    """A document in pieces of at most `longest` bytes, cut at the end of a line in a piece's second half if any."""
    start = 0
    while start < len(document):
        end = _cut_at(document, start, longest)
        yield document[start:end]
        start = end


def _cut_at(text: bytes, start: int, longest: int) -> int:
    """Where a piece that begins at `start` ends: at the end of a line if its second half has one."""
    if len(text) - start <= longest:
        return len(text)
    return text.rfind(b"\n", start + longest // 2, start + longest) + 1 or start + longest


def _json_documents(path: Path, field: str) -> Iterator[bytes]:
    for number, line in enumerate(_split(read_chunks(path), LINE_BREAK, LONGEST_LINE), 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        if len(line) >= LONGEST_LINE:
            raise UserError(f"{where} is longer than {LONGEST_LINE >> 20} MiB")
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where} is not JSON ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{where} holds a {type(row).__name__}, not an object with a field {field!r}")
        yield from row_documents(row, field, where)


def _parquet_documents(path: Path, field: str) -> Iterator[bytes]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{path}: reading Parquet needs pyarrow: pip install 'cpu1[parquet]'") from None
    if path.suffix.lower() != ".parquet":
        raise UserError(f"{path}: Parquet has a compression of its own; unpack this file first")
    try:
        with path.open("rb") as file, pyarrow.parquet.ParquetFile(file) as table:
            names = table.schema_arrow.names
            if field not in names:
                raise UserError(f"{path}: no column {field!r}; there are: {_listed(names)}")
            if names.count(field) > 1:
                raise UserError(f"{path}: has {names.count(field)} columns {field!r}; give each a name of its own")
            kind = table.schema_arrow.field(field).type
            kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
            if not any(str(kind).startswith(text) for text in TEXTS):
                raise UserError(f"{path}: column {field!r} holds {_brief(str(kind))}, not text")
            for batch in table.iter_batches(batch_size=64, columns=[field]):
                for document in batch.column(0).cast(kind).cast(pyarrow.large_binary()).to_pylist():
                    yield from cut(document or b"", LONGEST_DOCUMENT)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged or not Parquet ({_brief(str(error))})") from None


def _listed(names: Iterable[Any]) -> str:
    """Names for an error, in one line and not without end."""
    first = list(islice(names, NAMED + 1))
    more = ", ..." if len(first) > NAMED else ""
    return ", ".join(_brief(str(name)) for name in first[:NAMED]) + more or "none"


def _brief(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= LONGEST_WORDS else words[:LONGEST_WORDS] + "..."
