"""Byte pair encoding (Sennrich et al., arXiv 1508.07909), exact for any bytes.

The `tokenizers` library trains and encodes. It works on characters, so each byte becomes the Latin-1 character of the
same number: 256 letters, none unknown, none normalised, and decoding returns the same bytes. Words are cut as in
GPT-2, but by ranges of bytes: Unicode classes would take a byte such as 0x85 for a line break. Bytes from 0x80 up count
as letters, so that a character of UTF-8 stays in one word.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cpu1.data.cache import cached
from cpu1.data.corpus import Corpus
from cpu1.data.formats import LONGEST_DOCUMENT
from cpu1.data.split import Counts, Split, open_splits, write_split
from cpu1.errors import UserError
from cpu1.files import write_atomic, write_json
from cpu1.format.tokens import FORMAT, SEPARATOR, VOCABULARIES, WORDS, Tokens
from cpu1.records import read, to_json

LIBRARY_WORDS = WORDS.replace(r"\x80-\xff", r"\x{80}-\x{ff}")  # in the syntax of Oniguruma
WORD_BORDER = re.compile(rb"(?<=\S)(?=\s)")
PIECE = 1 << 16  # bytes encoded as one string
BATCH = 1 << 20  # bytes encoded in one call: enough pieces for all cores, and bounded memory


class Tokenizer(Tokens):
    """A tokenizer of `vocabulary` tokens, of which 257 + len(merges) at most are in use."""

    def __init__(self, vocabulary: int, merges: Iterable[tuple[int, int]]) -> None:
        """`merges` are pairs of token ids, best first. ValueError where they do not make a vocabulary."""
        from tokenizers import Regex, models, pre_tokenizers
        from tokenizers import Tokenizer as Engine

        super().__init__(vocabulary, merges)
        letters = [token.decode("latin-1") for token in self.token_bytes]
        ids = {token: i for i, token in enumerate(letters) if token}
        self._engine = Engine(models.BPE(ids, [(letters[left], letters[right]) for left, right in self.merges]))
        self._engine.pre_tokenizer = pre_tokenizers.Split(Regex(LIBRARY_WORDS), "isolated")

    def encode(self, text: bytes) -> NDArray[np.uint16]:
        """The token ids (n,) of any bytes; the separator is never among them."""
        return next(self.encode_all([text]))

    def encode_all(self, documents: Iterable[Any]) -> Iterator[NDArray[np.uint16]]:
        """`encode` of many documents (bytes or arrays of bytes), on all cores."""
        parts = []
        for batch in _batches(documents):
            encodings = self._engine.encode_batch_fast([text for text, _ in batch], add_special_tokens=False)
            for encoding, (_, last) in zip(encodings, batch, strict=True):
                parts.append(np.array(encoding.ids, np.uint16))
                if last:
                    yield np.concatenate(parts)
                    parts = []

    def save(self, path: str | Path) -> None:
        """Writes the merges as JSON, atomically; the rest of a tokenizer follows from them."""
        about = {"format": FORMAT, "vocabulary": self.vocabulary, "merges": self.merges}
        write_atomic(path, json.dumps(about, separators=(",", ":")) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Reads what `save` wrote; UserError when it is missing, of another version or damaged."""
        try:
            return cls.parse(Path(path).read_bytes())
        except OSError as error:
            raise UserError(f"{path}: not readable ({error.strerror})") from None
        except ValueError as error:
            raise UserError(f"{path}: {error}") from None


@dataclass(frozen=True)
class About:
    """tokens.json."""

    format: Literal[1]
    corpus: str  # SHA-256 of the text
    splits: dict[str, Counts]


@dataclass(frozen=True, eq=False)
class TokenCorpus:
    """The splits of a corpus as tokens, with the separator 0 after each document."""

    tokenizer: Tokenizer
    splits: dict[str, Split]  # of uint16
    bytes_per_token: float  # in the training split, separators not counted
    folder: Path

    @classmethod
    def open(cls, folder: Path, corpus: Corpus) -> "TokenCorpus":
        """Opens what `tokenize` wrote; UserError when it is not there, damaged or of another corpus."""
        about = read(About, folder / "tokens.json", "tokenize the text again")
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
        if about.corpus != corpus.sha256:
            raise UserError(f"{folder}: of another corpus; tokenize the text again")
        splits = open_splits(folder, about.splits, np.uint16)
        bytes_per_token = corpus.splits["train"].size / splits["train"].size
        return cls(tokenizer, splits, bytes_per_token, folder)


def tokenize(corpus: Corpus, vocabulary: int) -> TokenCorpus:
    """The corpus as tokens of a BPE trained on its training split, cached in the corpus's folder.

    UserError for a vocabulary out of range.
    """
    _check(vocabulary)
    return _tokenize(corpus, f"bpe-{vocabulary}", lambda: train_bpe(corpus, vocabulary))


def tokenize_with(corpus: Corpus, tokenizer: Tokenizer) -> TokenCorpus:
    """The corpus as tokens of a tokenizer that came from elsewhere, cached in the corpus's folder."""
    content = hashlib.sha256(json.dumps([tokenizer.vocabulary, tokenizer.merges]).encode()).hexdigest()
    return _tokenize(corpus, f"bpe-{tokenizer.vocabulary}-{content[:12]}", lambda: tokenizer)


def _tokenize(corpus: Corpus, name: str, make: Callable[[], Tokenizer]) -> TokenCorpus:
    def open_(folder: Path) -> TokenCorpus:
        return TokenCorpus.open(folder, corpus)

    def build(folder: Path) -> None:
        tokenizer = make()
        tokenizer.save(folder / "tokenizer.json")
        splits = {
            name: write_split(folder, name, tokenizer.encode_all(split), SEPARATOR, np.uint16)
            for name, split in corpus.splits.items()
        }
        write_json(folder / "tokens.json", to_json(About(FORMAT, corpus.sha256, splits)))

    return cached(corpus.folder / name, open_, build)


def train_bpe(corpus: Corpus, vocabulary: int, max_bytes: int = 32 << 20) -> Tokenizer:
    """Trains a tokenizer on at most `max_bytes` of the training split, a sample that depends only on its contents.

    Warns when the text has too few repeated pairs for `vocabulary` tokens; the other ids stay unused. UserError for a
    vocabulary out of range.
    """
    from tokenizers import Regex, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Engine

    _check(vocabulary)
    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.Split(Regex(LIBRARY_WORDS), "isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 1,  # the library does not know the separator
        min_frequency=2,
        initial_alphabet=[chr(byte) for byte in range(256)],
        show_progress=False,
    )
    sample = corpus.select("train", max_bytes, LONGEST_DOCUMENT)
    engine.train_from_iterator(([text for text, _ in batch] for batch in _batches(sample)), trainer)
    merges = json.loads(engine.to_str())["model"]["merges"]
    number = {chr(byte): byte + 1 for byte in range(256)}
    for left, right in merges:
        number.setdefault(left + right, len(number) + 1)
    used = len(number) + 1
    if used < vocabulary:
        warnings.warn(
            f"{corpus.name}: the training text gives {used:,} tokens; the other {vocabulary - used:,} of "
            f"the {vocabulary:,} asked for stay unused",
            stacklevel=2,
        )
    return Tokenizer(vocabulary, [(number[left], number[right]) for left, right in merges])


def _check(vocabulary: int) -> None:
    if vocabulary not in VOCABULARIES:
        low, high = VOCABULARIES[0], VOCABULARIES[-1]
        raise UserError(f"a vocabulary of {vocabulary} tokens: it must have {low} (all bytes) to {high}")


def _batches(documents: Iterable[Any]) -> Iterator[list[tuple[str, bool]]]:
    """The documents' pieces in lists of about BATCH bytes; each piece with whether it ends its document."""
    batch: list[tuple[str, bool]] = []
    size = 0
    for document in documents:
        text = bytes(document)
        borders = [0, *_piece_ends(text)]
        for start, end in pairwise(borders):
            batch.append((text[start:end].decode("latin-1"), end == len(text)))
            size += end - start
            if size >= BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _piece_ends(text: bytes) -> Iterator[int]:
    """Ends of pieces of about PIECE bytes, before a blank where there is one.

    No word of WORDS spans such a blank, so the cut changes no token.
    """
    end = 0
    while len(text) - end > 2 * PIECE:
        border = WORD_BORDER.search(text, end + PIECE, end + 2 * PIECE)
        end = border.start() if border else end + 2 * PIECE
        yield end
    yield len(text)
