"""What learns while it reads: a model's distribution of the next byte, corrected by what this text has shown so far.

A byte is eight decisions, from its highest bit. For each there are opinions: the model's own, those of the memory of
the document as far as they have proved right, and counts of short contexts. Three sets of weights mix the opinions in
the domain of ln(p / (1 - p)), and a fourth mixes the three; all learn from every bit. So do the compressors of the paq
family (Mahoney 2005, "Adaptive Weighing of Context Models for Lossless Data Compression"). All is in integers, so that
every machine learns the same. This is the definition in plain Python; `native/engine/learn/learner.cpp` is its fast
form. docs/lookups.md.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpu1.lookups.contexts import COUNTS, FACTOR, STIR, WHOLE, WORD, Contexts
from cpu1.lookups.recall import LEVELS

CONTEXTS = (1, 2, 3, 4, 6, WORD)
MOST = 2816  # 256 ln(p / (1 - p)) of the surest opinion
BIAS = 77
ONE = 1 << 16  # of a weight
MOST_WEIGHT = 64 * ONE
MOST_SEEN, MOST_TRUSTED = 255, 250
LEAST_CHANCE, MOST_CHANCE = 13, 65523
SETTLED = 1 << 20  # bytes after which rates stay
CERTAIN, WORTH_DECIDING = 1 << 32, (1 << 32) // 512  # less likely decisions are left to the model


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)


CHANCE = [min(max(_rounded(65536 / (1 + math.exp(-d / 256))), 1), 65535) for d in range(-MOST, MOST + 1)]
LOG_CHANCE = [_rounded(-65536 * math.log1p(math.exp(-d / 256))) for d in range(-MOST, MOST + 1)]
OPINION = np.searchsorted(CHANCE, np.arange(65536)).clip(0, 2 * MOST) - MOST  # the lowest opinion of such a chance
COUNT_RATE = [131072 // (2 * n + 3) for n in range(MOST_SEEN + 1)]
SURENESS = [131072 * n // (2 * n + 3) for n in range(MOST_SEEN + 1)]
TRUST_RATE = [131072 // (2 * n + 19) for n in range(MOST_TRUSTED + 1)]


class Decision(NamedTuple):
    """One decision: the opinions, and what they and the mixers came to, as 256 ln(p / (1 - p))."""

    opinions: NDArray[np.int64]
    counts: list[tuple[int, int]]  # places in Learner.counts
    trusts: list[tuple[tuple[int, int, int], int]]  # place in Learner.trusts, and the bit that is expected
    sets: list[int]  # rows of Learner.weights
    mixed: NDArray[np.int64]
    result: int


class Learner:
    """What one text has taught."""

    def __init__(self, remembered: int, size: int = COUNTS) -> None:
        """`remembered`: the parts of a memory's code, 0 without a memory of the document. 2^`size` counts a context."""
        self.size = size
        self.remembered, opinions = remembered, 2 + 2 * len(CONTEXTS) + 2 * remembered
        # chance of 65536 and how often seen
        self.counts = np.full((len(CONTEXTS), 1 << size, 2), (32768, 0), np.int64)
        self.trusts = np.full((2 * remembered, LEVELS, 8, 2), (32768, 0), np.int64)
        self.trusts[0::2, :, :, 0] = (39321 + 3277 * (np.arange(LEVELS) // 4))[None, :, None]
        self.weights = np.zeros((256 + LEVELS + 256, opinions), np.int64)
        self.weights[:, 0] = ONE
        self.final = np.full((256, 3), ONE // 3, np.int64)
        self.contexts, self.learned = Contexts(), 0

    def correct(self, logits: NDArray[np.float32], weights: NDArray[np.float64], code: NDArray[np.uint8]) -> None:
        """Corrects the logits (V,) of bytes in place; `code` is the memory's.

        `weights` (256,) are exp(logits - their maximum), of the bytes alone.
        """
        self.below = np.concatenate(([0.0], np.cumsum(weights)))
        mass, change = [0] * 256, [0] * 512
        mass[1] = CERTAIN
        for node in range(1, 256):
            upper = lower = change[node]
            children = 0, 0
            if mass[node] >= WORTH_DECIDING:
                decision = self._decide(node, code)
                before, after = int(decision.opinions[0]), decision.result
                lower += LOG_CHANCE[MOST - after] - LOG_CHANCE[MOST - before]
                upper += LOG_CHANCE[MOST + after] - LOG_CHANCE[MOST + before]
                high = mass[node] * CHANCE[MOST + after] >> 16
                children = mass[node] - high, high
            change[2 * node : 2 * node + 2] = lower, upper
            if node < 128:
                mass[2 * node : 2 * node + 2] = children
        logits[:256] += np.array(change[256:], np.float32) * np.float32(2**-16)

    def learn(self, byte: int, code: NDArray[np.uint8], own: bool = False) -> None:
        """The byte came, after `correct` for it. Nothing is learned from the model's `own`."""
        rate = max(20, 62976 // (512 + self.learned))
        mass, node = 0 if own else CERTAIN, 1
        while node < 256 and mass >= WORTH_DECIDING:
            decision = self._decide(node, code)
            bit = byte >> (8 - node.bit_length()) & 1
            high = mass * CHANCE[MOST + decision.result] >> 16
            mass = high if bit else mass - high
            self._teach(node, decision, bit, rate)
            node = 2 * node + bit
        if not own:
            self.learned = min(self.learned + 1, SETTLED)
        self.contexts.read(byte)

    def _decide(self, node: int, code: NDArray[np.uint8]) -> Decision:
        """Node: 1 followed by the bits that are decided."""
        depth = node.bit_length() - 1
        opinions, trusts, counts = [self._model(node, depth)], [], []
        for part in range(2 * self.remembered):
            first, second, level = map(int, code[part // 2])
            byte, own_level = (second, level % 4) if part % 2 else (first, level // 4)
            opinion = 0
            if own_level and (byte | 256) >> (8 - depth) == node:
                bit, place = byte >> (7 - depth) & 1, (part, level, depth)
                trusts.append((place, bit))
                opinion = int(OPINION[self.trusts[place][0]]) * (1 if bit else -1)
            opinions.append(opinion)
        for i, context in enumerate(CONTEXTS):
            hash_ = (self.contexts.hash(context) + node * FACTOR & WHOLE) * STIR & WHOLE
            counts.append((i, hash_ >> (64 - self.size)))
            chance, seen = map(int, self.counts[counts[-1]])
            opinions += [int(OPINION[chance]), (chance - 32768) * SURENESS[seen] >> 22]
        opinions.append(BIAS)
        said = np.array(opinions, np.int64)
        match = int(code[-1, 2]) if self.remembered else 0
        sets = [node, 256 + match, 256 + LEVELS + (self.contexts.recent & 255)]
        mixed = ((self.weights[sets] @ said) >> 16).clip(-MOST, MOST)
        result = int(self.final[node] @ mixed) >> 16
        return Decision(said, counts, trusts, sets, mixed, min(max(result, -MOST), MOST))

    def _model(self, node: int, depth: int) -> int:
        size, first = 256 >> depth, node << (8 - depth) & 255
        whole = self.below[first + size] - self.below[first]
        upper = self.below[first + size] - self.below[first + size // 2]
        return int(OPINION[int(min(65535.0, 65536 * (upper / whole)))]) if whole > 0 else 0

    def _teach(self, node: int, decision: Decision, bit: int, rate: int) -> None:
        target = ONE if bit else 0
        for row, mixed in zip(decision.sets, decision.mixed.tolist(), strict=True):
            error = target - CHANCE[MOST + mixed]
            self.weights[row] = _taught(self.weights[row], error * decision.opinions * rate)
        error = target - CHANCE[MOST + decision.result]
        self.final[node] = _taught(self.final[node], error * decision.mixed * (rate * 5 >> 4))
        for place, expected in decision.trusts:
            chance, seen = map(int, self.trusts[place])
            seen = min(seen + 1, MOST_TRUSTED)
            self.trusts[place] = _moved(chance, expected == bit, TRUST_RATE[seen]), seen
        for spot in decision.counts:
            chance, seen = map(int, self.counts[spot])
            self.counts[spot] = _moved(chance, bool(bit), COUNT_RATE[seen]), min(seen + 1, MOST_SEEN)


def _taught(weights: NDArray[np.int64], change: NDArray[np.int64]) -> NDArray[np.int64]:
    return (weights + (change + (1 << 19) >> 20)).clip(-MOST_WEIGHT, MOST_WEIGHT)


def _moved(chance: int, up: bool, rate: int) -> int:
    return min(max(chance + (((65535 if up else 0) - chance) * rate >> 16), LEAST_CHANCE), MOST_CHANCE)
