"""Byte pair encoding: exact for any bytes, deterministic, cached, and honest about small texts."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cpu1.data import bpe
from cpu1.data.bpe import TokenCorpus, Tokenizer, tokenize, train_bpe
from cpu1.data.corpus import Corpus, prepare
from cpu1.data.split import SPLITS
from cpu1.errors import UserError

WORDS = ["the", "cat", "sat,", "naïve", "日本語", "été;", "return", "self.value_2024\n", "", "", "if", "==", "10:\n"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Sixty-odd pieces of random words; no training text holds `unseenword`."""
    top = tmp_path_factory.mktemp("bpe")
    drawn = np.random.default_rng(0).choice(WORDS, 30_000)
    (top / "text.txt").write_text(" ".join(drawn))
    return prepare(str(top / "text.txt"), cache=top / "cache")


@pytest.fixture(scope="module")
def tokenizer(corpus: Corpus) -> Tokenizer:
    return train_bpe(corpus, 300)


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(str.encode),
        st.lists(st.sampled_from(WORDS)).map(lambda words: " ".join(words).encode()),
    )
)
@example(b"")
@example(bytes(range(256)) * 3)
@example(b"\x00" * 100 + b"\x85\xa0\xad\r\n\x1c \x0b\x0c" + b"\xff" * 100)
@example("␀ <|endoftext|> ▁ Ġ\u2028\u00a0".encode())
def test_decoding_gives_back_any_bytes(tokenizer: Tokenizer, text: bytes) -> None:
    ids = tokenizer.encode(text)
    assert ids.dtype == np.uint16
    assert not (ids == bpe.SEPARATOR).any()
    assert tokenizer.decode(ids) == text
    assert b"".join(tokenizer.token_bytes[i] for i in ids) == text


def test_vocabulary(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.token_bytes) == tokenizer.vocabulary == 300
    assert tokenizer.token_bytes[0] == b""
    assert tokenizer.token_bytes[1:257] == [bytes([byte]) for byte in range(256)]
    assert len(set(tokenizer.token_bytes)) == 300
    assert len(tokenizer.encode(b" the cat sat")) < 6
    assert tokenizer.decode([0, 98, 0]) == b"a"
    for ids in ([300], [-1]):
        with pytest.raises(ValueError, match="0 to 299"):
            tokenizer.decode(ids)


def test_encoding_is_that_of_the_merges_in_order(tokenizer: Tokenizer) -> None:
    """Against the plain algorithm, word by word: apply the best merge there is until there is none."""
    rank = {pair: i for i, pair in enumerate(tokenizer.merges)}
    number = {token: i for i, token in enumerate(tokenizer.token_bytes) if token}
    for word in ("the", "return", "naïve", "日本語", "returnselfcat", "xyzzy"):
        text = word.encode()
        parts = [byte + 1 for byte in text]
        while pairs := [(rank[pair], i) for i, pair in enumerate(pairwise(parts)) if pair in rank]:
            _, i = min(pairs)
            merged = tokenizer.token_bytes[parts[i]] + tokenizer.token_bytes[parts[i + 1]]
            parts[i : i + 2] = [number[merged]]
        assert tokenizer.encode(text).tolist() == parts


def test_long_texts_encode_as_if_in_one_piece(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = " \n ".join(np.random.default_rng(1).choice(WORDS, 3000)).encode()
    whole = tokenizer.encode(text)
    monkeypatch.setattr(bpe, "PIECE", 200)
    monkeypatch.setattr(bpe, "BATCH", 1000)
    assert (tokenizer.encode(text) == whole).all()
    unbroken = b"\xe6\x97\xa5" * 1000
    assert tokenizer.decode(tokenizer.encode(unbroken)) == unbroken
    several = [b"", text, b"x", b"", unbroken]
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_all(several)] == several


def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again.token_bytes == tokenizer.token_bytes
    assert (again.encode(b"the cat sat") == tokenizer.encode(b"the cat sat")).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2, not 1"),
        ({"vocabulary": 258}, "not a tokenizer"),
        ({"vocabulary": 10**12}, "not a tokenizer"),
        ({"vocabulary": "300"}, "not a tokenizer"),
        ({"merges": [[1, 257]]}, "merge of 1 and 257"),
        ({"merges": [[0, 5]]}, "merge of 0 and 5"),
        ({"merges": [[1]]}, "not a tokenizer"),
        ({"merges": None}, "not a tokenizer"),
        ({"merges": [[1, 1], [257, 257], [258, 258], [259, 259], [260, 260], [261, 261]]}, "64 bytes"),
    ],
)
def test_a_damaged_tokenizer_is_refused(
    tokenizer: Tokenizer, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message) as caught:
        Tokenizer.load(path)
    assert "tokenizer.json" in str(caught.value)


def test_a_missing_or_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(UserError, match="No such file"):
        Tokenizer.load(path)
    for content in ('{"format": 1, "voc', "[]"):
        path.write_text(content)
        with pytest.raises(UserError, match=r"tokenizer\.json"):
            Tokenizer.load(path)


def test_tokens_of_a_corpus(corpus: Corpus) -> None:
    tokens = tokenize(corpus, 300)
    assert tokens.folder == corpus.folder / "bpe-300"
    for name in SPLITS:
        texts, ids = corpus.splits[name], tokens.splits[name]
        assert ids.stream.dtype == np.uint16
        assert len(ids) == len(texts)
        assert (np.flatnonzero(np.asarray(ids.stream) == 0) == np.asarray(ids.offsets[1:]) - 1).all()
        for i in range(len(texts)):
            assert tokens.tokenizer.decode(ids.document(i)) == bytes(texts.document(i))
    assert tokens.bytes_per_token == corpus.splits["train"].size / tokens.splits["train"].size > 1.5


def test_only_the_training_split_is_learned_from(tmp_path: Path) -> None:
    words = [f"w{i:03}x" for i in range(200)]
    for i in range(200):
        (tmp_path / f"{i}.txt").write_text(f"{words[i]} only here zq{'qz' * (i % 3)} " * 30)
    corpus = prepare(str(tmp_path), cache=tmp_path / ".cache")
    assert corpus.cut == 0
    for name in ("valid", "test"):
        path = corpus.folder / f"{name}.bin"
        path.write_bytes(path.read_bytes().replace(b"only here", b"KKKKKKKKK"))
    tokenizer = train_bpe(Corpus.open(corpus.folder), 270)
    assert not any(b"KK" in token for token in tokenizer.token_bytes)
    assert any(b"only" in token for token in tokenizer.token_bytes)


def test_cache_is_reused_and_mended(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tokenize(corpus, 290)
    kept = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    assert kept.keys() >= {"tokenizer.json", "tokens.json", "train.bin", "train.offsets.npy"}
    with monkeypatch.context() as patch:
        patch.setattr(bpe, "train_bpe", None)
        tokenize(corpus, 290)
    for name, content in kept.items():
        (first.folder / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError):
            TokenCorpus.open(first.folder, corpus)
        tokenize(corpus, 290)
        assert (first.folder / name).read_bytes() == content


def test_training_is_the_same_in_every_process(corpus: Corpus, tokenizer: Tokenizer) -> None:
    script = (
        "import sys; from cpu1.data.corpus import Corpus; from cpu1.data.bpe import train_bpe;"
        "print(train_bpe(Corpus.open(sys.argv[1]), 300).merges)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(bpe.__file__).parents[2]), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-c", script, corpus.folder], env=environment, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == str(tokenizer.merges)


def test_a_text_too_small_for_the_vocabulary(corpus: Corpus) -> None:
    with pytest.warns(UserWarning, match=r"gives \d+ tokens; the other [\d,]+ of the 60,000 asked for"):
        tokenizer = train_bpe(corpus, 60_000)
    assert tokenizer.vocabulary == len(tokenizer.token_bytes) == 60_000
    assert tokenizer.token_bytes[-1] == b""


@pytest.mark.parametrize("vocabulary", [0, 256, 65537])
def test_vocabularies_out_of_range(corpus: Corpus, vocabulary: int) -> None:
    with pytest.raises(UserError, match=f"a vocabulary of {vocabulary} tokens: it must have 257"):
        tokenize(corpus, vocabulary)
