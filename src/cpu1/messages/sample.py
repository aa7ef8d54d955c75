"""Messages that a codec reads first: those for a model that was given none, and what to take of many."""

from collections.abc import Sequence
from dataclasses import dataclass

from cpu1.errors import UserError

# With these a model that never saw single messages knows that they end soon. A change of a letter changes every code.
USUAL = (
    b"Hello, is anyone there?",
    b"Yes, I can hear you. Where are you now?",
    b"On my way, about ten minutes.",
    b"OK",
    b"Can you send me the address again?",
    b"We are at the camp by the river. All well, the weather is fine.",
    b"Thanks! See you tomorrow at 8.",
    b"Battery at 40%, I will switch off until 18:30.",
    b"No signal since last night. Please check the antenna and call back.",
    b"Good morning everyone",
    b"I don't know, ask her.",
    b"Test 1 2 3",
    b"Position 47.3769 N, 8.5417 E. Wind 12 kn from the west.",
    b"\xe2\x80\x9cNo,\xe2\x80\x9d he said, \xe2\x80\x9cnot today.\xe2\x80\x9d",
    b"The function returns a list of names, or nothing if the file is empty.",
    b"Great, thank you :)",
)

LEAST_MESSAGES = 20
HELD_OUT_EVERY, MOST_HELD_OUT = 20, 200  # one of so many, at most so many


@dataclass(frozen=True)
class Parted:
    """Different messages in two parts, in their order: to learn from, and to measure on."""

    known: tuple[bytes, ...]
    held_out: tuple[bytes, ...]


def part(messages: Sequence[bytes], most_bytes: int | None = None) -> Parted:
    """Messages without empty and equal ones, of which one in twenty is held out, but no more than 200.

    To learn from, at most about `most_bytes` are kept, evenly spaced. UserError for fewer than 20 messages.
    """
    unlike = [message for message in dict.fromkeys(messages) if message]
    if len(unlike) < LEAST_MESSAGES:
        raise UserError(f"{len(unlike)} different messages; a codec needs at least {LEAST_MESSAGES}")
    held_out = tuple(unlike[::HELD_OUT_EVERY][:MOST_HELD_OUT])
    known = tuple(message for message in unlike if message not in set(held_out))
    return Parted(known if most_bytes is None else spaced(known, most_bytes), held_out)


def spaced(messages: Sequence[bytes], most_bytes: int) -> tuple[bytes, ...]:
    """Messages evenly spaced among all, of about `most_bytes` in all; at least one."""
    total = sum(len(message) + 1 for message in messages)
    count = max(1, len(messages) * min(most_bytes, total) // total)
    return tuple(messages[i * len(messages) // count] for i in range(count))
