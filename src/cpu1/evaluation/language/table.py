"""The checks as a table for people."""

from collections.abc import Iterator
from typing import Any


def lines(results: dict[str, Any]) -> Iterator[str]:
    """The lines of text for the results that `cpu1 check --json` prints."""
    if blimp := results.get("blimp"):
        yield f"BLiMP: the grammatical sentence is the more probable one, of {blimp['pairs']:,} pairs (chance: 50%)"
        for name, row in blimp["phenomena"].items():
            yield f"  {name:<28}{_share(row['accuracy'], row['interval'])}{row['pairs']:>9,}"
        yield f"  {'all':<28}{_share(blimp['accuracy'], blimp['interval'])}{blimp['pairs']:>9,}"
    if lambada := results.get("lambada"):
        yield f"LAMBADA: the last word of {lambada['passages']:,} passages"
        yield f"  {'written greedily':<28}{_share(lambada['accuracy'], lambada['interval'])}"
        yield f"  {'or a longer word so begun':<28}{lambada['begun']:7.1%}"
        yield (
            f"  {'it costs':<28}{lambada['bits_per_word']:7.2f} bits a word, its blank counted "
            f"({lambada['bits_per_byte']:.3f} a byte, perplexity {lambada['perplexity']:,.0f})"
        )
    if words := results.get("words"):
        yield (
            f"Words: {words['words']:,} written in {words['bytes']:,} bytes at temperature {words['temperature']:g}, "
            f"against {words['training_words']:,} of the training text"
        )
        yield f"  {'are in the training text':<28}{_share(words['share'], words['interval'])}"
        if heldout := words.get("heldout"):
            yield f"  {'so are those of held-out text':<28}{heldout['share']:6.1%}{'':18}{heldout['words']:>9,}"
        if words["unknown"]:
            yield f"  not there: {', '.join(words['unknown'])}"


def _share(value: float | None, interval: list[float | None]) -> str:
    low, high = interval
    if value is None:
        return f"{'none written':>25}"
    return f"{value:7.1%}" + (f"  [{low:6.1%}, {high:6.1%}]" if low is not None and high is not None else "")
