"""Standard streams as a command finds them: closed, or in an encoding that does not know all characters."""

import io
import os
import sys
from typing import Any


def mend_streams() -> None:
    """Lets a command run whatever its streams are.

    A character that an output cannot show becomes a question mark. A closed input is empty, a closed standard error
    takes nothing, and a closed standard output is an OSError for who writes to it.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for the life of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Closed()), write_through=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


class _Closed(io.RawIOBase):
    """Where nothing can be written. It complains once; what is left in buffers when the process ends goes nowhere."""

    complained = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self.complained:
            self.complained = True
            raise OSError("standard output is closed")
        return len(data)
