"""A packed model in the native engine. numpy only; the numbers are those of `cpu1.runtime.reference`.

The native part checks a file before it uses it, releases the GIL while it works, and uses the processor's best
instruction set. The environment variable CPU1_ISA (portable, ssse3, avx2, avxvnni, avx512vnni, neon, armv8) forces
another one.
"""

import importlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.format.program import has_words
from cpu1.lookups.patches import count_whole

WIDER = "install a C++ compiler and install cpu1 again, or use cpu1.runtime.reference"


def native() -> Any:
    """The native module; raises UserError in a build without a C++ compiler."""
    if not available():
        raise UserError(f"cpu1 was installed without its native engine: {WIDER}")
    return importlib.import_module("cpu1._engine")


def available() -> bool:
    """Whether the native engine was built."""
    return importlib.util.find_spec("cpu1._engine") is not None


def isas() -> list[str]:
    """The instruction sets that this machine can run, best first."""
    names: str = native().isas()
    return names.split(",")


def arithmetic(isa: str) -> str:
    """What the last bits of results on an instruction set depend on: sets of one arithmetic agree to the bit.

    Raises ValueError for a set that this machine does not run.
    """
    name: str = native().arithmetic(isa)
    return name


def operations() -> list[str]:
    """The names of the operations that the engine knows."""
    names: str = native().operations()
    return names.split(",")


class NativeFile:
    """A packed model in the engine, read-only: streams of any number of threads may share it.

    Raises UserError when there is no such file, and ValueError with the reason for a file that is not valid.
    """

    def __init__(self, source: str | Path | bytes, isa: str = "") -> None:
        """`isa` forces an instruction set for a file ("": the best one, or what CPU1_ISA says)."""
        module = native()
        if isinstance(source, bytes):
            self.model = module.Model.read(source)
        else:
            path = Path(source)
            if not path.is_file():
                raise UserError(f"{path}: no such file")
            try:
                self.model = module.Model.open(os.fsencode(path), isa)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
        self.level = "byte" if self.model.is_bytes else "token"
        self.patch: int = self.model.patch  # units a step, at most
        self.vocabulary: int = self.model.vocabulary
        self.separator: int = self.model.separator  # the unit between documents
        self.width: int = self.model.width
        self.isa: str = self.model.isa
        self.arithmetic: str = self.model.arithmetic
        self.tokenizer: bytes | None = self.model.tokenizer or None

    @property
    def words(self) -> bool:
        """Whether steps end behind words (`lookups.patches`)."""
        return has_words(self.about["program"])

    def steps(self, units: NDArray[np.integer]) -> int:
        """The whole steps of a text of units (N,)."""
        return count_whole(units) if self.words else len(units) // self.patch

    @property
    def about(self) -> dict[str, Any]:
        """The file's description of itself: recipe, run, program, ..."""
        about: dict[str, Any] = json.loads(self.model.about)
        return about
