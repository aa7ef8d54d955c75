"""What a token model makes of a text, by its tokens and by its byte marginals: `python bench/teacher.py MODEL TEXT`.

    python bench/teacher.py SmolLM2-135M-Instruct.Q4_1.gguf wikitext2.test.raw.txt.zst
    python bench/teacher.py SmolLM2-135M-Instruct.Q4_1.gguf books.txt --max-bytes 80K --share 0.02,0.1,1 --json

Both read the same windows, each cut where a word begins, which is where one of the text's own tokens begins; all of a
window's bytes but those that repeat the one before (`--context`) count. A sum over tokenisations costs at most what one
of them does. Of several shares, `kl` is that from the first: the mean over bytes, in bits.
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpu1.cli.options import byte_size, positive
from cpu1.data.formats import read_chunks
from cpu1.errors import UserError
from cpu1.teachers.open import open_token_model
from cpu1.teachers.teacher import Piece, batches
from cpu1.teachers.token_teacher import BATCH, TokenModel, TokenTeacher

FAR = 0.1  # bits of KL in one byte that count as another opinion


def windows(text: NDArray[np.uint8], window: int, context: int) -> list[Piece]:
    """Pieces of at most `window` bytes that predict each byte once; about the first `context` of each are read only."""
    letter = np.isin(text, list(b"abcdefghijklmnopqrstuvwxyz"))
    blanks = 1 + np.flatnonzero((text[1:-1] == ord(" ")) & letter[2:] & letter[:-2])
    borders = np.append(0, blanks)  # where any tokenizer's word begins

    def last(most: int) -> int:
        return int(borders[np.searchsorted(borders, most, "right") - 1])

    pieces, begin = [], 0
    while begin < len(text):
        first = last(max(0, begin - context))
        end = len(text) if first + window >= len(text) else last(first + window)
        if end <= begin:
            raise UserError(
                f"no word begins in the {window - context} bytes after byte {begin:,}: take a longer window"
            )
        pieces.append(Piece(text[first:end], begin - first, end - first))
        begin = end
    return pieces


@torch.inference_mode()
def by_tokens(model: TokenModel, pieces: list[Piece]) -> tuple[float, int]:
    """Bits that the text's own tokens cost, and how many there are."""
    place = torch.zeros(len(model.token_bytes), dtype=torch.int64)
    place[torch.from_numpy(model.trie.order)] = torch.arange(len(model.trie.order))
    encoded = [model.encode(piece.text.tobytes()) for piece in pieces]
    nats, count = 0.0, 0
    for batch in batches([len(ids) for ids in encoded], BATCH):
        read = model.read([[model.start, *encoded[i]] for i in batch])
        number = 0
        for i in batch:
            lengths = [len(model.token_bytes[token] or b"") for token in encoded[i]]
            before = np.cumsum([0, *lengths])[:-1]
            if pieces[i].begin not in before:
                raise UserError(f"a window's text begins inside a token: {pieces[i].text[:40].tobytes()!r}")
            counted = np.flatnonzero(before >= pieces[i].begin)
            for some in np.array_split(counted, 1 + len(counted) // 256):
                logits = read.logits(number + some).float()
                told = place[torch.tensor([encoded[i][at] for at in some])]
                expected = torch.log_softmax(logits, -1)[torch.arange(len(some)), told]
                nats -= float(expected.double().sum())
            count += len(counted)
            number += 1 + len(encoded[i])
    return nats / np.log(2), count


def by_bytes(teacher: TokenTeacher, pieces: list[Piece]) -> tuple[float, NDArray[np.float32]]:
    """Bits that the text's bytes cost by the chain rule, and all probabilities [bytes, 256]."""
    by_piece: dict[int, NDArray[np.float32]] = {}
    nats = 0.0
    for i, lesson in teacher.read(pieces):
        told = pieces[i].text[pieces[i].begin : pieces[i].end]
        nats -= float(np.log(lesson.probabilities[np.arange(len(told)), told].astype(np.float64)).sum())
        by_piece[i] = lesson.probabilities
    return nats / np.log(2), np.concatenate([by_piece[i] for i in range(len(pieces))])


def apart(first: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """KL of bytes, in bits: the mean, and the part of the bytes at which it is more than FAR."""
    kl = np.concatenate(
        [
            (p * np.log2(p / q)).sum(1)
            for p, q in zip(*(np.array_split(each, 1 + len(first) // 4096) for each in (first, other)), strict=True)
        ]
    )
    return float(kl.mean()), float((kl > FAR).mean())


def measure(model: TokenModel, text: bytes, window: int, context: int, shares: list[float]) -> dict[str, Any]:
    """All figures; what `--json` prints."""
    pieces = windows(np.frombuffer(text, np.uint8), window, context)
    begun = time.perf_counter()
    bits, count = by_tokens(model, pieces)
    results: dict[str, Any] = {
        "teacher": model.identity,
        "bytes": len(text),
        "tokens": count,
        "window": window,
        "context": context,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "token_bpb": bits / len(text),
        "token_kb_per_s": len(text) / (time.perf_counter() - begun) / 1e3,
        "shares": [],
    }
    first = None
    for share in shares:
        begun = time.perf_counter()
        bits, probabilities = by_bytes(TokenTeacher(model, share), pieces)
        row = {"share": share, "bpb": bits / len(text), "kb_per_s": len(text) / (time.perf_counter() - begun) / 1e3}
        if first is None and len(shares) > 1:
            first = probabilities
        elif first is not None:
            row["kl"], row["far"] = apart(first, probabilities)
        results["shares"].append(row)
    return results


def show(results: dict[str, Any]) -> str:
    lines = [
        f"{results['bytes']:,} bytes, {results['tokens']:,} tokens, windows of {results['window']:,} bytes with "
        f"{results['context']:,} of context: tokens cost {results['token_bpb']:.4f} bits per byte"
    ]
    for row in results["shares"]:
        off = f", KL {row['kl']:.4f} bits, {row['far']:.1%} of bytes beyond {FAR}" if "kl" in row else ""
        lines.append(
            f"share {row['share']:g}: bytes cost {row['bpb']:.4f}, {row['bpb'] - results['token_bpb']:+.4f}, "
            f"{row['kb_per_s']:.1f} KB/s{off}"
        )
    return "\n".join(lines)


def none_or_size(text: str) -> int:
    return 0 if text == "0" else byte_size(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="as `cpu1 teach --teacher`, but none of our runs")
    parser.add_argument("text", type=Path, help="a text, perhaps compressed")
    parser.add_argument("--max-bytes", type=byte_size, help="of the text at most so much (default: all)")
    parser.add_argument("--window", type=byte_size, default=4096, help="bytes read at once (default: 4Ki)")
    parser.add_argument("--context", type=none_or_size, help="of them read only (default: an eighth)")
    parser.add_argument("--share", default="1", help="see `cpu1 teach`; several with commas (default: 1)")
    parser.add_argument("--threads", type=positive, help="default: all cores")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        shares = [float(share) for share in args.share.split(",")]
    except ValueError:
        parser.error(f"--share {args.share}: numbers with commas between them")
    context = args.window // 8 if args.context is None else args.context
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        model = open_token_model(args.model)
        text = b"".join(read_chunks(args.text))[: args.max_bytes]
        if not text:
            raise UserError(f"{args.text}: empty")
        if not context < args.window <= model.window:
            raise UserError(f"--window {args.window}: more than the context and at most {model.window}")
        results = {"text": args.text.name, **measure(model, text, args.window, context, shares)}
    except UserError as error:
        print(f"bench/teacher.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(results, indent=1) if args.json else show(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
