"""Many texts side by side: their streams share each reading of the weights. Needs no torch, but the native engine.

python examples/many_streams.py
"""

import numpy as np

from cpu1.runtime.default import default_model
from cpu1.runtime.engine import Engine
from cpu1.runtime.sampling import Sampler, Sampling
from cpu1.runtime.session import Batch

PROMPTS = (b"The captain said", b"In the morning", b"She opened the door", b"It is a truth")


def main() -> None:
    """Continues each prompt by 60 bytes, each with a seed of its own; a text alone would come out the same."""
    batch = Batch(Engine(default_model()), streams=len(PROMPTS), threads=2)
    batch.advance(PROMPTS)
    samplers = [Sampler(Sampling(temperature=0.6, seed=seed)) for seed in range(len(PROMPTS))]
    for prompt, drawn in zip(PROMPTS, batch.generate(60, samplers), strict=True):
        print((prompt + np.asarray(drawn, np.uint8).tobytes()).decode(errors="replace"))


if __name__ == "__main__":
    main()
