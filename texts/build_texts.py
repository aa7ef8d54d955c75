"""Builds the texts unlike English prose that models are trained and measured on: `python texts/build_texts.py FOLDER`.

    python texts/build_texts.py ~/texts
    python texts/build_texts.py ~/texts --sets code,logs --mirrors ~/mirrors

For each set of texts/sources.toml, FOLDER gets SET.train.txt.zst and SET.valid.txt.zst: documents in the order of their
hashes, a line with one form feed between them. Every fiftieth document is held out, and sources that the list calls
`held_out`. Documents that occur twice are left out once. texts/made.json has what each file was; a file that differs
is named, and the exit status is 1. With --keep that list is written again.

Needs git, pip, and apt of Debian 12. Nothing is installed.
"""

import argparse
import hashlib
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard
from forms import TOGETHER, cleaned, documents
from origins import Places, Repository, chosen, opened

from cpu1.errors import UserError
from cpu1.files import read_json, write_atomic, write_json

HERE = Path(__file__).resolve().parent
MADE = HERE / "made.json"
BREAK = b"\n\f\n"
EVERY = 50  # one document of so many is held out
MOST_HELD_OUT = 2_000_000  # bytes of a set
PARTS = ("train", "valid")


@dataclass(frozen=True)
class Source:
    """One entry of sources.toml."""

    set: str
    origin: str
    licence: str
    paths: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    form: str = "plain"
    most: int | None = None  # bytes
    longest: int | None = None  # bytes of a document; the rest is left out
    held_out: bool = False


def main() -> int:
    args = _parse()
    try:
        listed = sources()
        if unknown := set(args.sets) - {source.set for source in listed}:
            raise UserError(f"no set {', '.join(sorted(unknown))}; there are {', '.join(names(listed))}")
        return build(args, [name for name in names(listed) if not args.sets or name in args.sets], listed)
    except UserError as error:
        print(f"texts/build_texts.py: {error}", file=sys.stderr)
        return 2


def build(args: argparse.Namespace, wanted: Sequence[str], listed: Sequence[Source]) -> int:
    """Writes the files of the sets that are wanted; 1 if any of them is not as listed, else 0."""
    places = Places((args.cache or args.folder / "downloads").resolve(), args.mirrors)
    made: dict[str, Any] = read_json(MADE) if MADE.exists() else {}
    different = 0
    for name in wanted:
        for part, kept in zip(PARTS, divided([each for each in listed if each.set == name], places), strict=True):
            text = BREAK.join(kept)
            facts = {"bytes": len(text), "documents": len(kept), "sha256": hashlib.sha256(text).hexdigest()}
            file = f"{name}.{part}.txt"
            same = made.get(file) == facts
            different += not same
            made[file] = facts
            write_atomic(args.folder / f"{file}.zst", zstandard.ZstdCompressor(level=12).compress(text))
            print(
                f"{file}: {len(text):,} bytes, {len(kept):,} documents{'' if same else ', not as listed'}", flush=True
            )
    if args.keep:
        write_json(MADE, dict(sorted(made.items())))
    return int(different > 0 and not args.keep)


def sources() -> list[Source]:
    """The entries of sources.toml."""
    entries = tomllib.loads((HERE / "sources.toml").read_text(encoding="utf-8"))["source"]
    return [
        Source(**{{"from": "origin", "except": "left_out"}.get(key, key): value for key, value in entry.items()})
        for entry in entries
    ]


def names(listed: Iterable[Source]) -> list[str]:
    """The sets, in the order of the list."""
    return list(dict.fromkeys(source.set for source in listed))


def divided(listed: Sequence[Source], places: Places) -> tuple[list[bytes], list[bytes]]:
    """The documents of a set to train on, and those held out, each in the order of their hashes."""
    train: dict[bytes, bytes] = {}
    valid: dict[bytes, bytes] = {}
    for source in listed:
        found = limited(gathered(source, places), source.most)
        if not found:
            raise UserError(f"{source.origin}: no document matches {', '.join(source.paths) or source.form}")
        for key, document in found.items():
            held_out = source.held_out or int.from_bytes(key[-8:]) % EVERY == 0
            (valid if held_out else train)[key] = document
    kept = [train[key] for key in sorted(train.keys() - valid.keys())]
    return kept, list(limited(valid, MOST_HELD_OUT).values())


def gathered(source: Source, places: Places) -> dict[bytes, bytes]:
    """All documents of a source by their hashes."""
    origin = opened(source.origin, places)
    if source.form == "mail":
        assert isinstance(origin, Repository)
        found: Iterable[bytes] = mailboxes(origin.mails())
    else:
        files = origin.read(chosen(origin.names(), source.paths, source.left_out))
        found = (document for file in files for document in documents(source.form, file))
    cut = (beginning(document, source.longest) for document in found)
    return {hashlib.sha256(document).digest(): document for document in cut}


def beginning(document: bytes, longest: int | None) -> bytes:
    """The lines of a document that fit into `longest` bytes."""
    if longest is None or len(document) <= longest:
        return document
    return document[: document.rfind(b"\n", 0, longest) + 1 or longest].rstrip(b"\n")


def mailboxes(mails: Sequence[bytes]) -> Iterator[bytes]:
    """Mails that followed each other, some in each document."""
    for first in range(0, len(mails), TOGETHER):
        text = b"\n\n".join(mails[first : first + TOGETHER]).decode("utf-8", "replace")
        yield cleaned(text).encode("utf-8")


def limited(found: dict[bytes, bytes], most: int | None) -> dict[bytes, bytes]:
    """Documents in the order of their hashes, until `most` bytes are there."""
    kept: dict[bytes, bytes] = {}
    size = 0
    for key in sorted(found):
        if most is not None and size >= most:
            break
        kept[key] = found[key]
        size += len(found[key])
    return kept


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the sets go")
    parser.add_argument("--sets", type=lambda text: text.split(","), default=[], help="like code,logs (default: all)")
    parser.add_argument("--cache", type=Path, help="where downloads are kept (default: downloads in the folder)")
    parser.add_argument("--mirrors", type=Path, help="bare repositories that need no download: OWNER+NAME/repo")
    parser.add_argument("--keep", action="store_true", help="write texts/made.json again")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
