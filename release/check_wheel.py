"""What an installed cpu1 computes, as one line of JSON: a digest for each instruction set, by its arithmetic.

Needs the package alone. Digests of one arithmetic are equal on all processors and systems.
"""

import hashlib
import json
import os

import numpy as np

from cpu1.runtime import archive, engine
from cpu1.runtime.default import default_model
from cpu1.runtime.model import Model

TEXT = b"".join(
    b"%d. The harbour was quiet at %d o'clock, and then the ships came in.\n" % (i, i) for i in range(1, 13)
)


def digest(isa: str) -> str:
    """Of a text, of scores and of an archive, all by one instruction set. The archive gives its text again."""
    os.environ["CPU1_ISA"] = isa
    path = default_model()
    model = Model(path)
    packed = archive.compress(TEXT, model)
    if archive.decompress(packed, path) != TEXT:
        raise SystemExit(f"{isa}: an archive did not give its text again")
    text = model.generate("The harbour", 150, seed=3).encode()
    scores = np.round(model.score(TEXT), 9)  # the last bits are those of the system's logarithm
    return hashlib.sha256(b"|".join([text, scores.tobytes(), packed])).hexdigest()[:16]


if __name__ == "__main__":
    found = {isa: [engine.arithmetic(isa), digest(isa)] for isa in engine.isas()}
    print(json.dumps({"isas": found, "numpy": np.__version__}))
