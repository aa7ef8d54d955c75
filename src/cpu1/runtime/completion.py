"""What comes next in a text: probabilities of the next byte, and whole words by beam search.

A word is made of letters, digits, apostrophes and bytes above 127. A completion is the rest of the word that the text
ends in, or the next word; before the next word a blank may stand. Its probability is that of its bytes times that of a
unit after them that ends the word: the sum over all ways to go on.

Shapes: V symbols.
"""

import heapq

import numpy as np
from numpy.typing import NDArray

from cpu1.runtime.coder import weights
from cpu1.runtime.units import Completion, Drawing

MOST, LONGEST = 64, 256  # completions, and bytes of one
BEAM = 4  # beginnings kept of each length, for each completion wanted
BLANK = 0x20
WORD_BYTES = np.array([b > 127 or chr(b).isalnum() or b == ord("'") for b in range(256)], np.uint8)  # 1: in words
IN_WORDS = WORD_BYTES != 0


def probabilities(stream: Drawing) -> NDArray[np.float64]:
    """Of the next byte (256,), in double, the same on every machine whose logits are. For models of bytes."""
    mass = weights(stream.next_logits())
    return mass[:256] / mass.sum()


def complete(stream: Drawing, n: int, max_bytes: int) -> list[Completion]:
    """The `n` likeliest completions at the end of a stream of bytes, which it leaves changed.

    Beginnings are kept by their probability, BEAM * n of each length. The stream draws them: nothing is learned from
    them. Plain form of the engine's, which gives the same.
    """
    beam, ended = [(1.0, b"", stream.state)], []
    for length in range(max_bytes + 1):
        grown = []
        for probability, data, state in beam:
            stream.state = state
            if data:
                stream.draw(data[-1])
                state = stream.state
            p = probabilities(stream)
            if data and data != b" ":
                ended.append(Completion(data, probability * (1 - float(p[IN_WORDS].sum()))))
            for byte in np.flatnonzero(IN_WORDS | ((np.arange(256) == BLANK) & (not data))).tolist():
                grown.append((probability * float(p[byte]), data + bytes([byte]), state))
        # a beginning that is less likely than n whole ones cannot become one of the n
        least = sorted((c.probability for c in ended), reverse=True)[n - 1 : n] or [0.0]
        grown = [entry for entry in grown if entry[0] > least[0]]
        beam = heapq.nsmallest(BEAM * n, grown, key=lambda entry: (-entry[0], entry[1]))
        if length == max_bytes or not beam:
            break
    return sorted(ended, key=lambda c: (-c.probability, c.data))[:n]
