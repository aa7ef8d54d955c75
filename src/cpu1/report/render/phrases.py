"""Sentences that both the Markdown report and the page say, and text of models made safe to show."""

from cpu1.report.columns import caution
from cpu1.report.original import LICENCE, SOURCE
from cpu1.report.report import StudyReport

REPORT_TITLE = "Study report"


def notes(report: StudyReport) -> list[str]:
    """How to read the report, one paragraph each."""
    return [
        "The definitions behind the runs are reconstructions: the original names its ingredients and prints "
        "their sizes, its source code is lost.",
        "Loss is in nats per unit, a byte or a BPE token; PPL is its exponential. BPB is true bits per byte "
        "for every run, token-level runs included, and Δ uniform is nats per byte less ln 256. P/s counts "
        "patches of four bytes, or tokens, generated in one stream, by the fastest seed. RAM is four bytes a "
        "parameter, in MB of a million bytes.",
        caution(report),
        f"The original's figures ({SOURCE}, {LICENCE}) are from another text and another machine: they do "
        "not compare digit by digit. Its BPB is printed for byte-level runs only.",
    ]


def corpora(report: StudyReport) -> list[str]:
    """What was evaluated, one line for each text."""
    found = {}
    for row in report.rows:
        if row.figures:
            c = row.figures.corpus
            found[c.sha256, c.split, c.context] = (
                f"{c.name}, {c.split} split: {c.documents:,} documents, {c.bytes:,} bytes, "
                f"context {c.context:,} bytes, SHA-256 {c.sha256[:12]}…"
            )
    return [found[key] for key in sorted(found)]


def troubles(report: StudyReport) -> list[str]:
    """Every run that failed or is unfinished, one line each."""
    return [
        f"{row.run} ({row.scale}, {row.round}, seed {trouble.seed}) {trouble.state}: {one_line(trouble.text)}"
        for row in report.rows
        for trouble in row.troubles
    ]


def absences(report: StudyReport) -> list[str]:
    """The runs of the ladder that were never started, one line a section."""
    return [
        f"Never started ({section.scale}, {section.round}): {', '.join(section.missing)}"
        for section in report.sections
        if section.missing
    ]


def one_line(text: str) -> str:
    """A text on one line, with control characters made visible."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """Text with its control characters shown as pictures (U+2400 on), but for line ends and tabs.

    A sample may hold anything that a model can utter, escape sequences included.
    """
    return "".join(picture(c) for c in text)


def picture(character: str) -> str:
    """A character as it may be shown: control characters become their symbols, surrogates a replacement."""
    code = ord(character)
    if character in "\n\t" or not (code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000):
        return character
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else "\ufffd"
