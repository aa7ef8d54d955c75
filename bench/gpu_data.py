"""Packs what a bare machine needs into gpu-data/, which git ignores: text, held-out sets, libraries.

    python bench/gpu_data.py DATA
    make gpu-data DATA=DATA

DATA is a folder with the sets of docs/data.md (`en-books.train.*`, `en-reference.train.00`, `en-tech.train.00`, their
`valid` sets, `wikitext2.test.raw.txt`; plain or compressed). The text is the mixture of the model that ships, as much
of it as the limit lets through. It is written as .xz, which Python reads without a library. With --plain FILE that text
is packed instead of a mixture. Wheels are downloaded by pip for the machine's Python.
"""

import argparse
import hashlib
import lzma
import shutil
import subprocess
import sys
from pathlib import Path

import gpu_here as here

from cpu1.data.formats import read_chunks
from cpu1.data.mix import Part, mix
from cpu1.errors import UserError
from cpu1.files import write_atomic, write_json

TREE = 60_000_000  # bytes of the working tree, gpu-data included
MOST_TEXT = 40_000_000  # bytes of the packed text
RATIO = 0.216  # packed by plain, of the first try; 0.213 was measured
TRIES = 4
PIECE = 256 << 10
SHARES = (
    ("en-books.train.*", 100),
    ("en-reference.train.00*", 20),
    ("spaced:en-reference.train.00*", 20),
    ("spaced:en-reference.train.00*", 10),
    ("en-tech.train.00*", 30),
)
VALID = {
    "wikitext2": "wikitext2.test.raw*",
    "books": "en-books.valid*",
    "reference": "en-reference.valid*",
    "tech": "en-tech.valid*",
}
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 128 << 20}]


def main() -> int:
    args = _parse()
    try:
        pack(args)
    except UserError as error:
        print(f"bench/gpu_data.py: {error}", file=sys.stderr)
        return 2
    return 0


def pack(args: argparse.Namespace) -> None:
    """Fills gpu-data/ in an order that lets the text take what is left of the limit."""
    here.DATA.mkdir(exist_ok=True)
    held_out = pack_held_out(args.data)
    print(f"held-out sets: {', '.join(held_out)}, {size_of(here.HELD_OUT):,} bytes")
    download(args.python, args.libraries)
    print(f"libraries for Python {args.python}: {size_of(here.WHEELS):,} bytes")
    here.TEXT.unlink(missing_ok=True)
    limit = min(args.limit, TREE - tree_bytes())
    plain = args.plain.read_bytes() if args.plain else None
    found = pack_text(args.data, limit, plain)
    write_json(here.DATA / "about.json", {"text": found, "held_out": held_out, "python": args.python})
    print(f"text: {found['bytes']:,} bytes, packed {found['packed']:,}, sha256 {found['sha256']}")
    print(f"the working tree comes to {tree_bytes():,} bytes")


def pack_text(data: Path, limit: int, plain: bytes | None) -> dict[str, int | str]:
    """Writes the text, at most `limit` bytes of it packed; a mixture that does not fit is made again, smaller.

    UserError for one that does not come below the limit.
    """
    if limit <= 0:
        raise UserError(f"the working tree leaves no room for a text below {TREE:,} bytes")
    wanted, tries = int(limit / RATIO), TRIES if plain is None else 1
    for _ in range(tries):
        text = mixed(data, wanted) if plain is None else plain
        packed = lzma.compress(text, filters=FILTERS)
        print(f"{len(text):,} bytes of text, {len(packed):,} packed; {limit:,} are allowed", flush=True)
        if len(packed) <= limit:
            write_atomic(here.TEXT, packed)
            return {"bytes": len(text), "packed": len(packed), "sha256": hashlib.sha256(text).hexdigest()}
        wanted = int(wanted * limit / len(packed) * 0.99)
    raise UserError(f"the text does not come below {limit:,} bytes packed; give another --limit, or less by --plain")


def mixed(data: Path, size: int) -> bytes:
    """The mixture, about `size` bytes of it."""
    scratch = here.DATA / "text.txt"
    try:
        mix([Part(find(data, pattern), share) for pattern, share in SHARES], size, scratch, piece=PIECE)
        return scratch.read_bytes()
    finally:
        scratch.unlink(missing_ok=True)


def pack_held_out(data: Path) -> list[str]:
    """Writes each held-out set that DATA has, packed; returns their names."""
    shutil.rmtree(here.HELD_OUT, ignore_errors=True)
    here.HELD_OUT.mkdir()
    names = []
    for name, pattern in VALID.items():
        for path in sorted(data.glob(pattern))[:1]:
            text = b"".join(read_chunks(path))
            write_atomic(here.HELD_OUT / f"{name}.txt.xz", lzma.compress(text, filters=FILTERS))
            names.append(name)
    return names


def find(data: Path, pattern: str) -> str:
    """A source of the mixture in DATA; UserError when it has none."""
    name = pattern.removeprefix("spaced:")
    if not list(data.glob(name)):
        raise UserError(f"{data}: has no {name}; docs/data.md lists the parts of the mixture; --plain takes any text")
    return pattern.removesuffix(name) + str(data / name)


def download(python: str, libraries: list[str]) -> None:
    """The wheels of `libraries` for the machine's Python; UserError when pip cannot."""
    shutil.rmtree(here.WHEELS, ignore_errors=True)
    here.WHEELS.mkdir()
    if not libraries:
        return
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, "--implementation", "cp", "--dest", str(here.WHEELS)]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    if subprocess.run([*command, *libraries], check=False).returncode:
        raise UserError("pip brought no wheels; --libraries (without names) packs none")


def tree_bytes() -> int:
    """Bytes of the working tree as it travels: tracked files, and gpu-data."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=here.ROOT, capture_output=True, check=True).stdout
    tracked = (here.ROOT / name for name in listed.decode().split("\0") if name)
    return sum(path.stat().st_size for path in tracked if path.exists()) + size_of(here.DATA)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with the sets of docs/data.md")
    parser.add_argument("--plain", type=Path, metavar="FILE", help="pack this text instead of the mixture")
    parser.add_argument("--limit", type=int, default=MOST_TEXT, help=f"bytes of packed text (default: {MOST_TEXT:,})")
    parser.add_argument("--python", default="3.12", help="Python of the machine (default: 3.12)")
    small = [name for name in here.LIBRARIES.values() if name != "tokenizers"]
    parser.add_argument("--libraries", nargs="*", default=small, metavar="NAME",
                        help=f"wheels to bring (default: {', '.join(small)}; run 01 needs tokenizers too)")  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
