"""What becomes of a file: one document, or several. A form takes a file's bytes and gives documents as text."""

import gzip
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree

TEI = "{http://www.tei-c.org/ns/1.0}"
BLOCKS = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "li", "td", "th", "pre", "div", "dt", "dd", "br", "tr"}
SPEAKERS = {"USER": "User", "SYSTEM": "Assistant"}
TOGETHER = 20  # dialogues, or mails, of a document: single ones are too short to remember anything of
SHORTEST = 200  # characters of a document


def plain(data: bytes) -> Iterator[str]:
    """The text itself, decompressed if it is compressed by gzip."""
    yield (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")


def tei(data: bytes) -> Iterator[str]:
    """The headings and paragraphs of a book in TEI, blank lines between them."""
    body = ElementTree.fromstring(data).find(f"{TEI}text/{TEI}body")
    kept = [] if body is None else [each for each in body.iter() if each.tag in {f"{TEI}p", f"{TEI}head", f"{TEI}l"}]
    lines = (" ".join("".join(each.itertext()).split()) for each in kept)
    yield "\n\n".join(line for line in lines if line)


def help_page(data: bytes) -> Iterator[str]:
    """The text of a page of HTML, without what leads to other pages."""
    reader = _Page()
    reader.feed(data.decode("utf-8"))
    yield re.sub(r"\n{3,}", "\n\n", "\n".join(" ".join(line.split()) for line in "".join(reader.text).split("\n")))


def dialogue(data: bytes) -> Iterator[str]:
    """Dialogues of dstc8-schema-guided-dialogue, a line for each turn, some of them together."""
    found = [
        "\n".join(f"{SPEAKERS[turn['speaker']]}: {turn['utterance']}" for turn in each["turns"])
        for each in json.loads(data)
    ]
    for first in range(0, len(found), TOGETHER):
        yield "\n\n".join(found[first : first + TOGETHER])


FORMS: dict[str, Callable[[bytes], Iterator[str]]] = {
    "plain": plain,
    "tei": tei,
    "help": help_page,
    "dialogue": dialogue,
}


def documents(form: str, data: bytes) -> Iterator[bytes]:
    """The documents of a file in UTF-8 and NFC with LF line ends; none where it is no text, or too short."""
    try:
        texts = list(FORMS[form](data))
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError):
        return
    for text in texts:
        if "\0" not in text and len(clean := cleaned(text)) >= SHORTEST:
            yield clean.encode("utf-8")


def cleaned(text: str) -> str:
    """NFC, LF, no form feed: a line of one is what separates documents."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\f", "")
    return unicodedata.normalize("NFC", text).strip("\n")


class _Page(HTMLParser):
    """Collects the text between <h1> and the end of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.inside, self.skipped = False, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = self.inside or tag == "h1"
        self.skipped += tag in {"script", "style"}
        if tag in BLOCKS and self.inside:
            self.text.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.skipped -= tag in {"script", "style"}
        if tag in BLOCKS and self.inside:
            self.text.append("\n")

    def handle_data(self, data: str) -> None:
        if self.inside and not self.skipped:
            self.text.append(data.replace("\n", " "))
