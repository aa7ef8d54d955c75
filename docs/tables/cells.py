"""How single figures are written in a table."""

from cpu1.evaluation.statistics import Interval


def signed(text: str) -> str:
    """With true minus signs."""
    return text.replace("-", "\N{MINUS SIGN}")


def interval(gap: Interval) -> str:
    """A difference with its interval; a star where it rests on one seed."""
    star = "" if gap.seeds or gap.low is None else r"\*"
    return signed(f"{gap:+.3f}") + star


def percent(one: float, other: float) -> str:
    """How much more the one is than the other."""
    return signed(f"{one / other - 1:+.2%}")
