"""Byte-level BPE tokenizers of other models, read so that they write exactly the bytes of any text.

They are tokenizers like GPT-2's, as Qwen, Llama 3 and SmolLM have them: the vocabulary spells bytes as 256 printable
letters (https://github.com/openai/gpt-2/blob/master/src/encoder.py, `bytes_to_unicode`). Only the model and the
pre-tokenizer of a tokenizer.json are used. Normalisers would change the text, added tokens would turn some text into
control tokens, and post-processors would add tokens.
"""

import json
import re
from typing import Any

from cpu1.errors import UserError
from cpu1.format.tokens import SEPARATOR

ENDS = ("<|endoftext|>", "<|end_of_text|>")  # the token between documents, likeliest first
STARTS = ("<|begin_of_text|>",)  # the token before each document, where it is another one
# The bytes of printed text in UTF-8, up to U+3FFFF. Real vocabularies lack some control characters.
NEEDED = (*b"\t\n\r", *range(0x20, 0x7F), *range(0x80, 0xC0), *range(0xC2, 0xF1))
NO_UTF8 = "\udc80-\udcff"  # bytes that are not UTF-8, as surrogateescape decodes them
FAR = "\U00040000-\U0010ffff"


class ByteLevelTokenizer:
    """Tokens with their bytes. The token that ends a document spells NUL, which ends documents in this project.

    It also encodes the few bytes, if any, that have no token; the model can then not expect them.
    """

    token_bytes: list[bytes | None]  # None: a control token, or an id without a token
    start: int  # the token before a document

    def __init__(self, tokenizer: dict[str, Any], size: int, eos: int | None, source: str) -> None:
        """`tokenizer` is the content of a tokenizer.json, for a model of `size` tokens; errors name `source`.

        `eos` ends documents where the vocabulary has none of ENDS. UserError unless this is byte-level BPE with a token
        for every byte of printed text, and one that ends documents.
        """
        self._source = source
        self._engine, vocabulary, added = _parse(tokenizer, source)
        known = vocabulary | added
        _check_ids(known, size, source)
        self.token_bytes = _token_bytes(vocabulary, added, size)
        self._single = _single_byte_tokens(self.token_bytes, source)
        self._end = self._single[SEPARATOR] = _end_token(known, eos, size, source)
        self.token_bytes[self._end] = bytes([SEPARATOR])
        self.start = next((known[token] for token in STARTS if token in known), self._end)
        lacking = bytes(byte for byte in range(256) if byte not in self._single)
        self._read_as = bytes.maketrans(lacking, bytes(len(lacking)))  # to NUL
        self._odd = _odd_text(lacking)

    def encode(self, text: bytes) -> list[int]:
        """The tokens that spell exactly the bytes `text`. Text that looks like a control token is still text.

        UserError for a tokenizer that writes another text than it reads.
        """
        ids: list[int] = []
        for number, part in enumerate(self._odd.split(text.decode(errors="surrogateescape"))):
            if number % 2:
                ids += [self._single.get(byte, self._end) for byte in part.encode(errors="surrogateescape")]
            else:
                ids += self._engine.encode(part, add_special_tokens=False).ids
        spelled = b"".join([self.token_bytes[i] or b"" for i in ids])
        if spelled != text and spelled != text.translate(self._read_as):
            raise UserError(f"{self._source}: the tokenizer does not write down the text it reads")
        return ids


def byte_letters() -> dict[str, int]:
    """The byte of each of GPT-2's letters: its own in Latin-1 where it prints there, else those from U+0100 on."""
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in prints]
    return {chr(byte): byte for byte in prints} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _parse(tokenizer: dict[str, Any], source: str) -> tuple[Any, dict[str, int], dict[str, int]]:
    """The library's tokenizer without what could change a text, its vocabulary, and its added tokens."""
    from tokenizers import Tokenizer

    try:
        vocabulary: dict[str, int] = dict(tokenizer["model"]["vocab"])
        added = {str(token["content"]): int(token["id"]) for token in tokenizer.get("added_tokens") or []}
        if tokenizer["model"]["type"] != "BPE" or not _is_byte_level(tokenizer.get("pre_tokenizer")):
            raise UserError(
                f"{source}: the tokenizer is not byte-level BPE, so that there are bytes it cannot write; "
                "teachers are models with a tokenizer of GPT-2's kind, like Qwen, Llama 3 or SmolLM"
            )
        plain = {"version": "1.0", "model": tokenizer["model"], "pre_tokenizer": tokenizer["pre_tokenizer"]}
        return Tokenizer.from_str(json.dumps(plain)), vocabulary, added
    except UserError:
        raise
    except Exception as error:  # the library raises plain Exceptions
        raise UserError(f"{source}: not a tokenizer ({error})") from None


def _is_byte_level(pre_tokenizer: Any) -> bool:
    if not isinstance(pre_tokenizer, dict):
        return False
    parts = pre_tokenizer.get("pretokenizers") or [pre_tokenizer]
    return any(part.get("type") == "ByteLevel" and not part.get("add_prefix_space") for part in parts)


def _check_ids(known: dict[str, int], size: int, source: str) -> None:
    """UserError unless the model has all tokens of the vocabulary."""
    if any(not 0 <= i < size for i in known.values()):
        raise UserError(f"{source}: the tokenizer has ids up to {max(known.values()):,}, the model {size:,} tokens")


def _token_bytes(vocabulary: dict[str, int], added: dict[str, int], size: int) -> list[bytes | None]:
    """The bytes of each token; None for added tokens, and for ids without a token."""
    letters = byte_letters()
    token_bytes: list[bytes | None] = [None] * size
    for token, i in vocabulary.items():
        if token not in added:
            token_bytes[i] = _spell(token, letters)
    return token_bytes


def _single_byte_tokens(token_bytes: list[bytes | None], source: str) -> dict[int, int]:
    """The token of each byte that has one of its own. UserError when a byte of printed text has none."""
    single = {text[0]: i for i, text in enumerate(token_bytes) if text and len(text) == 1}
    if missing := [byte for byte in NEEDED if byte not in single]:
        raise UserError(f"{source}: the tokenizer has no token for byte {missing[0]:#04x}: it can't write every text")
    return single


def _end_token(known: dict[str, int], eos: int | None, size: int, source: str) -> int:
    """The token that ends a document. UserError when there is none."""
    end = next((known[token] for token in ENDS if token in known), eos)
    if end is None or not 0 <= end < size:
        raise UserError(f"{source}: the tokenizer has no token that ends a document (one of {', '.join(ENDS)})")
    return end


def _odd_text(lacking: bytes) -> re.Pattern[str]:
    """Matches runs of characters that must be encoded byte by byte: NUL, no UTF-8, and those of bytes without token."""
    control = re.escape("".join(chr(byte) for byte in lacking if byte < 0x80))
    return re.compile(f"([\\0{control}{NO_UTF8}{FAR}]+)")


def _spell(token: str, letters: dict[str, int]) -> bytes | None:
    if not all(letter in letters for letter in token):
        return None
    return bytes(letters[letter] for letter in token)
