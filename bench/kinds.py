"""Two files of each kind of text, for `bench/compress.py`: `python bench/kinds.py FOLDER TEXT...`.

    make texts ARGS=texts
    python bench/kinds.py kinds texts/*.valid.txt.zst en-books.valid.txt es-books.valid.txt
    python bench/compress.py model.cpu1 kinds/* --repeats 1

From a text whose documents have a line with one form feed between them (`make texts`), KIND.short has the first
documents that have 10 KB together, at most 100 KB, and KIND.long those after them, at most 500 KB. From --whole texts
it has 5 MB. A text too short for two such files is named, and the exit status is 1.
"""

import argparse
import sys
from pathlib import Path

from cpu1.data.formats import read_chunks
from cpu1.files import write_atomic

BREAK = b"\n\f\n"
LEAST, SHORT, LONG, WHOLE = 10_000, 100_000, 500_000, 5_000_000  # bytes


def two(text: bytes, most: int) -> tuple[bytes, bytes]:
    """The short and the long file; the second has at most `most` bytes."""
    documents = text.split(BREAK)
    count, size = 0, 0
    while count < len(documents) and size < LEAST:
        size += len(documents[count])
        count += 1
    return b"\n".join(documents[:count])[:SHORT], b"\n".join(documents[count:])[:most]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument("texts", type=Path, nargs="*", help="held-out texts, perhaps compressed")
    parser.add_argument("--whole", type=Path, nargs="*", default=[], help="texts whose long file has up to 5 MB")
    args = parser.parse_args()
    missing = 0
    for path in [*args.texts, *args.whole]:
        kind = path.name.split(".", 1)[0]
        short, long = two(b"".join(read_chunks(path)), WHOLE if path in args.whole else LONG)
        if len(long) < LEAST:
            print(f"{path}: too short for two files of at least {LEAST:,} bytes", file=sys.stderr)
            missing += 1
            continue
        args.folder.mkdir(parents=True, exist_ok=True)
        for name, data in (("short", short), ("long", long)):
            write_atomic(args.folder / f"{kind}.{name}", data)
            print(f"{args.folder / f'{kind}.{name}'}: {len(data):,} bytes")
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
