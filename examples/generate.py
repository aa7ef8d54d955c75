"""Generate and score with the model that comes with an installation. Needs no torch.

python examples/generate.py "Once upon a time"
"""

import sys

import cpu1


def main(prompt: str) -> None:
    """Prints what follows `prompt` as it is drawn, then how well the model expected two sentences."""
    model = cpu1.load()
    print(prompt, end="")
    for text in model.stream(prompt, max_bytes=120, temperature=0.6, seed=0):
        print(text, end="", flush=True)
    print()
    for sentence in ("The cat sat on the mat.", "The cat mat the on sat."):
        print(f"{model.score(sentence.encode()).mean():.2f} bits per byte: {sentence}")


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "Once upon a time")
