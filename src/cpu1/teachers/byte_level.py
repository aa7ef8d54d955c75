"""Byte-level BPE tokenizers of other models, read so that they write down the very bytes of any text.

GPT-2's kind, which Qwen, Llama 3 and SmolLM share: bytes stand in the vocabulary as 256 printable letters
(https://github.com/openai/gpt-2/blob/master/src/encoder.py, `bytes_to_unicode`). Of a tokenizer.json the model and
the pre-tokenizer are taken. What would change the text (normalisers), what would find control tokens in it (added
tokens) and what would add some (post-processors) is left out.
"""

import json
import re
from typing import Any

from cpu1.errors import UserError
from cpu1.format.tokens import SEPARATOR

ENDS = ("<|endoftext|>", "<|end_of_text|>")  # what stood between documents, likeliest first
STARTS = ("<|begin_of_text|>",)  # what stood before each, where it is another token
# What printed text is made of in UTF-8, up to U+3FFFF. Real vocabularies lack some control characters.
NEEDED = (*b"\t\n\r", *range(0x20, 0x7F), *range(0x80, 0xC0), *range(0xC2, 0xF1))
NO_UTF8 = "\udc80-\udcff"  # as surrogateescape decodes it
FAR = "\U00040000-\U0010ffff"


class ByteLevelTokenizer:
    """Tokens with their bytes. The token that ends a document stands for NUL, which ends documents here.

    It is also read for the few bytes, if any, that have no token, which the model then can't expect.
    """

    token_bytes: list[bytes | None]  # None: a control token, or an id without a token
    start: int  # the token before a document

    def __init__(self, tokenizer: dict[str, Any], size: int, eos: int | None, source: str) -> None:
        """`tokenizer` as in a tokenizer.json, of a model with `size` tokens; `eos` ends documents where none of ENDS
        is known; `source` is for messages.

        UserError unless it is byte-level BPE that has a token for every byte of printed text, and an end.
        """
        from tokenizers import Tokenizer

        self._source = source
        try:
            vocabulary: dict[str, int] = dict(tokenizer["model"]["vocab"])
            added = {str(token["content"]): int(token["id"]) for token in tokenizer.get("added_tokens") or []}
            if tokenizer["model"]["type"] != "BPE" or not _is_byte_level(tokenizer.get("pre_tokenizer")):
                raise UserError(
                    f"{source}: the tokenizer is not byte-level BPE, so that there are bytes it cannot write; "
                    "teachers are models with a tokenizer of GPT-2's kind, like Qwen, Llama 3 or SmolLM"
                )
            plain = {"version": "1.0", "model": tokenizer["model"], "pre_tokenizer": tokenizer["pre_tokenizer"]}
            self._engine = Tokenizer.from_str(json.dumps(plain))
        except UserError:
            raise
        except Exception as error:  # the library raises plain Exceptions
            raise UserError(f"{source}: not a tokenizer ({error})") from None
        known = vocabulary | added
        if any(not 0 <= i < size for i in known.values()):
            raise UserError(f"{source}: the tokenizer has ids up to {max(known.values()):,}, the model {size:,} tokens")
        self.token_bytes = [None] * size
        letters = byte_letters()
        for token, i in vocabulary.items():
            if token not in added:
                self.token_bytes[i] = _spell(token, letters)
        self._single = {text[0]: i for i, text in enumerate(self.token_bytes) if text and len(text) == 1}
        if missing := [byte for byte in NEEDED if byte not in self._single]:
            raise UserError(
                f"{source}: the tokenizer has no token for byte {missing[0]:#04x}: it can't write every text"
            )
        end = next((known[token] for token in ENDS if token in known), eos)
        if end is None or not 0 <= end < size:
            raise UserError(f"{source}: the tokenizer has no token that ends a document (one of {', '.join(ENDS)})")
        self._end = self._single[SEPARATOR] = end
        self.token_bytes[end] = bytes([SEPARATOR])
        lacking = bytes(byte for byte in range(256) if byte not in self._single)
        self._read_as = bytes.maketrans(lacking, bytes(len(lacking)))
        control = re.escape("".join(chr(byte) for byte in lacking if byte < 0x80))
        self._odd = re.compile(f"([\\0{control}{NO_UTF8}{FAR}]+)")
        self.start = next((known[token] for token in STARTS if token in known), end)

    def encode(self, text: bytes) -> list[int]:
        """The tokens of any bytes, which they spell exactly; text that looks like a control token is but text."""
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
    """GPT-2's letter for each byte: itself where it prints in Latin-1, else the next from U+0100 on."""
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in prints]
    return {chr(byte): byte for byte in prints} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _spell(token: str, letters: dict[str, int]) -> bytes | None:
    if not all(letter in letters for letter in token):
        return None
    return bytes(letters[letter] for letter in token)


def _is_byte_level(pre_tokenizer: Any) -> bool:
    if not isinstance(pre_tokenizer, dict):
        return False
    parts = pre_tokenizer.get("pretokenizers") or [pre_tokenizer]
    return any(part.get("type") == "ByteLevel" and not part.get("add_prefix_space") for part in parts)
