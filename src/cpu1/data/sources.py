"""Sources of text: the embedded corpus, a file, a folder, a glob, stdin or a Hugging Face dataset.

Every source becomes an iterator over documents of raw bytes. This module finds the files; `formats` reads them.
"""

import difflib
import glob
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from cpu1.data import stdlib
from cpu1.data.formats import file_documents, is_binary, row_documents, stream_chunks, text_documents
from cpu1.errors import UserError

STDIN = "-"
HUB = "hf:"


def documents(source: str, field: str = "text") -> Iterator[bytes]:
    """The non-empty documents of `source`, of at most 1 MiB each (longer ones are cut), in a stable order.

    `source` is `python-stdlib`; a file, a folder (recursive, sorted, without hidden names) or a glob; `-` for stdin; or
    `hf:NAME[:SPLIT]`, a dataset or a local dataset folder, streamed. Files may end in `.gz`, `.xz` or `.zst`. Each
    record of `.jsonl` and `.parquet` gives the text of `field` as a document. In every other file a line with a single
    form feed separates two documents. In folders and globs, files that look binary are skipped with a warning; a file
    that is named itself is always read.

    Raises UserError when the source is missing, unreadable or damaged, or has no such field.
    """
    if source == stdlib.SOURCE:
        yield from stdlib.documents()
    elif source == STDIN:
        yield from text_documents(stream_chunks(sys.stdin.buffer))
    elif source.startswith(HUB):
        yield from _hub_documents(source, field)
    else:
        yield from _path_documents(source, field)


def identity(source: str, field: str) -> list[object]:
    """A key that is equal for two readings of the same text, without reading it: paths, sizes, modification times.

    A dataset on the hub is known by its name alone, so that a change of it goes unnoticed. Raises UserError when the
    source is missing.
    """
    if source == stdlib.SOURCE:
        return [stdlib.NAME, str(stdlib.root())]
    if source.startswith(HUB):
        name, split = _hub_name(source)
        return [HUB, name, split, field, *(_stamps(find_files(name)) if os.path.isdir(name) else ())]
    return [field, *_stamps(find_files(source))]


def title(source: str) -> str:
    """A short name of a source for people. UserError for a dataset without a name."""
    if source == stdlib.SOURCE:
        return stdlib.NAME
    if source.startswith(HUB):
        return Path(_hub_name(source)[0]).name
    path = Path(os.path.expanduser(source)).resolve()
    return path.name.split(".")[0] if path.is_file() else path.name


def find_files(source: str) -> list[Path]:
    """The files of a path or glob, sorted. UserError with similar names when there are none."""
    if not source:
        raise UserError("the name of the text is empty")
    path = Path(os.path.expanduser(source))
    if os.path.isdir(path):
        files = _walk(path)
        if not files:
            raise UserError(f"{source}: a folder without files (hidden ones are passed over)")
        return files
    if os.path.isfile(path):
        return [path]
    if os.path.exists(path):
        raise UserError(f"{source}: neither a file nor a folder; pipe it in and name '-' as the text")
    files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(name)]
    if not files:
        raise UserError(f"{source!r}: no such file or folder{_suggestion(path)}")
    return files


def _path_documents(source: str, field: str) -> Iterator[bytes]:
    files = find_files(source)
    named = os.path.isfile(os.path.expanduser(source))
    skipped = []
    for path in files:
        if not named and is_binary(path):
            skipped.append(path)
        else:
            yield from file_documents(path, field)
    if skipped:
        warnings.warn(f"{source}: {len(skipped)} binary files passed over, such as {skipped[0]}", stacklevel=2)


def _walk(top: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})")

    paths = []
    for folder, subfolders, files in os.walk(top, onerror=refuse):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        visible = (Path(folder, name) for name in files if not name.startswith("."))
        paths += [path for path in visible if os.path.isfile(path)]
    return sorted(paths)


def _suggestion(path: Path) -> str:
    try:
        names = os.listdir(path.parent)
    except (OSError, ValueError):
        return f", nor a folder {path.parent}"
    near = difflib.get_close_matches(path.name, names, n=3)
    return "; did you mean " + " or ".join(str(path.parent / name) for name in near) + "?" if near else ""


def _stamps(files: list[Path]) -> Iterator[tuple[str, int, int]]:
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        yield str(path.resolve()), status.st_size, status.st_mtime_ns


def _hub_name(source: str) -> tuple[str, str]:
    name, _, split = source.removeprefix(HUB).partition(":")
    if not name:
        raise UserError(f"{source!r}: a dataset is named hf:NAME or hf:NAME:SPLIT")
    return name, split or "train"


def _hub_documents(source: str, field: str) -> Iterator[bytes]:
    name, split = _hub_name(source)
    try:
        from datasets import load_dataset
    except ImportError:
        raise UserError(f"{source}: needs the datasets library: pip install 'cpu1[datasets]'") from None
    try:
        for number, row in enumerate(load_dataset(name, split=split, streaming=True)):
            yield from row_documents(row, field, f"{source}: record {number}")
    except UserError:
        raise
    except Exception as error:  # the library raises nearly anything: network, scripts, formats, splits
        raise UserError(f"{source}: {type(error).__name__}: {error}") from None
