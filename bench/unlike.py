"""Texts unlike English prose, from what a machine has: `python bench/unlike.py FOLDER [--more FILE...]`.

Writes one file each of source code, JSON lines, CSV, a README, wrapped documentation, mail, and, on Debian, a log of
the package manager. `--more` adds the first 300 KB of other texts, like Spanish ones. For `bench/compress.py`.
"""

import argparse
import json
import pydoc_data.topics
import textwrap
import typing
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import numpy as np

from cpu1.data.formats import read_chunks

MOST = 300_000  # bytes of a text
LOG = Path("/var/log/dpkg.log")


def texts() -> Iterator[tuple[str, str]]:
    """Name and content of each."""
    code = (Path(module.__file__ or "").read_text(encoding="utf-8") for module in (argparse, typing))
    yield "modules.py", "".join(code)
    found = sorted(distributions(), key=lambda each: each.name)
    yield "packages.jsonl", "".join(json.dumps(each.metadata.json) + "\n" for each in found)
    tables = sorted((Path(np.__file__).parent / "_core" / "tests" / "data").glob("umath-validation-set-*.csv"))
    yield "functions.csv", "".join(table.read_text(encoding="utf-8") for table in tables[:4])
    yield "README.md", max((each.read_text("METADATA") or "" for each in found), key=len)
    topics = [pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics)]
    yield "topics.txt", "\n".join(topics)
    quoted = ("\n".join(textwrap.wrap(each, 68, initial_indent="> ", subsequent_indent="> ")) for each in topics[20:60])
    head = "From: someone@example.org\nTo: list@example.org\nSubject: Re: {}\n\n"
    yield "mail.txt", "\n\n".join(head.format(i) + text for i, text in enumerate(quoted))
    if LOG.is_file():
        yield "dpkg.log", LOG.read_text(encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="other texts, perhaps compressed")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    made = {name: text.encode() for name, text in texts()}
    made |= {path.name.removesuffix(".zst"): b"".join(read_chunks(path)) for path in args.more}
    for name, data in made.items():
        (args.folder / name).write_bytes(data[:MOST])
        print(f"{args.folder / name}: {min(len(data), MOST):,} bytes")


if __name__ == "__main__":
    main()
