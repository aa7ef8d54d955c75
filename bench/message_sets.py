"""Sets of short messages for `bench/messages.py`: `python bench/message_sets.py FOLDER --dialogue SAMPLE TEST ...`.

    python bench/message_sets.py sets --dialogue en-books.train.00.txt.zst en-books.valid.txt.zst \\
        --sentences en-tech.train.00.txt.zst en-tech.valid.txt.zst --jsonl radio train.jsonl test.jsonl

Each option takes a text for the sample, that codecs may learn from, and one for the test. It writes NAME.sample.txt,
at most 1 MB, and NAME.test.txt, 400 messages, one a line: evenly spaced among all that the text has. Blanks and line
ends count as one space. A message has 20 to 200 bytes, in `--jsonl` 1 to 200 (field `text`).

    dialogue   what is between quotation marks, “ ” or " ", and ends with . , ! ? or a dash
    sentences  in lines that begin with a capital letter and hold no code: up to a full stop before a blank
    --jsonl    each record is a message

The radio set of the committed results is data/datasets/ of github.com/dimapanov/mesh-compressor (MIT licence).
"""

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from cpu1.data.formats import read_chunks

SHORT, LONG = 20, 200  # bytes of a message
SAMPLE, TEST = 1_000_000, 400  # bytes of a sample, messages of a test
QUOTED = re.compile(r'“([^“”"]{10,400})”|(?<!\S)"([^“”"]{10,400})"(?!\w)')
ENDS = (".", ",", "!", "?", "—", "-")
SENTENCE = re.compile(r"(?:^|(?<=\. ))[A-Z][^.!?`|<>{}]*(?:\.(?! )[^.!?`|<>{}]*)*\.(?= |$)")


def dialogue(text: str) -> Iterator[str]:
    """Quoted speech."""
    for found in QUOTED.finditer(text):
        message = plain(found[1] or found[2])
        if message.endswith(ENDS):
            yield message


def sentences(text: str) -> Iterator[str]:
    """Sentences of paragraphs."""
    for line in text.split("\n"):
        if line[:1].isupper():
            yield from map(plain, SENTENCE.findall(line))


def records(text: str) -> Iterator[str]:
    """The field `text` of each line of JSON."""
    yield from (plain(json.loads(line)["text"]) for line in text.split("\n") if line)


def plain(text: str) -> str:
    """Blanks and line ends as one space each."""
    return " ".join(text.split())


def fitting(messages: Iterable[str], least: int) -> list[bytes]:
    """Messages of the right length, as bytes, each once."""
    return [each for each in dict.fromkeys(m.encode() for m in messages) if least <= len(each) <= LONG]


def spaced(messages: list[bytes], count: int) -> list[bytes]:
    """`count` messages evenly spaced among all; all where there are no more."""
    count = min(count, len(messages))
    return [messages[i * len(messages) // count] for i in range(count)]


def sample(messages: list[bytes], size: int) -> list[bytes]:
    """Evenly spaced messages of about `size` bytes in all."""
    total = sum(map(len, messages)) + len(messages)
    return spaced(messages, len(messages) * min(size, total) // total) if messages else []


def read(path: str) -> str:
    """A text, perhaps compressed."""
    return b"".join(read_chunks(Path(path))).decode("utf-8", "replace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument("--dialogue", nargs=2, metavar=("SAMPLE", "TEST"), help="books")
    parser.add_argument("--sentences", nargs=2, metavar=("SAMPLE", "TEST"), help="texts in paragraphs")
    parser.add_argument("--jsonl", nargs=3, metavar=("NAME", "SAMPLE", "TEST"), help="messages as records")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    wanted = [("dialogue", dialogue, SHORT, args.dialogue), ("sentences", sentences, SHORT, args.sentences)]
    if args.jsonl:
        wanted.append((args.jsonl[0], records, 1, args.jsonl[1:]))
    for name, find, least, files in wanted:
        if not files:
            continue
        learned, tested = (fitting(find(read(file)), least) for file in files)
        known = set(learned)
        parts = {
            "sample": sample(learned, SAMPLE),
            "test": spaced([each for each in tested if each not in known], TEST),
        }
        for part, messages in parts.items():
            file = args.folder / f"{name}.{part}.txt"
            file.write_bytes(b"".join(each + b"\n" for each in messages))
            print(f"{file}: {len(messages):,} messages of {sum(map(len, messages)) / len(messages):.1f} bytes")


if __name__ == "__main__":
    main()
