"""Many texts side by side: their streams share each reading of the weights. Needs no torch.

python examples/many_streams.py
"""

import cpu1

PROMPTS = ("The captain said", "In the morning", "She opened the door", "It is a truth")


def main() -> None:
    """Continues each prompt by 60 bytes, each with a seed of its own; a text alone would come out the same."""
    batch = cpu1.load().batch(threads=2)
    texts = {batch.add(prompt, 60, temperature=0.6, seed=seed): prompt for seed, prompt in enumerate(PROMPTS)}
    for piece in batch:
        texts[piece.stream] += piece.text
    print("\n".join(texts.values()))


if __name__ == "__main__":
    main()
