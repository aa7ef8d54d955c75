"""Completions while someone types: only what is new is read. No torch; docs/typing.md.

reader = Reader(cpu1.load())
reader.complete("Once upon a ti")
reader.complete("Once upon a tim")  # reads one byte
"""

from cpu1.completing.reader import Reader

__all__ = ["Reader"]
