"""The bench that holds a teacher's bytes against its tokens."""

import numpy as np
import pytest
import teacher as bench
import torch
from helpers.text import write_text
from helpers.token_models import byte_level_tokenizer, open_in_fp32, write_qwen

from cpu1.errors import UserError

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def small_qwen(tmp_path_factory):
    folder = write_qwen(tmp_path_factory.mktemp("qwen"), byte_level_tokenizer(tmp_path_factory.mktemp("text")))
    return open_in_fp32(folder), folder


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return np.frombuffer(write_text(tmp_path_factory.mktemp("text")).read_bytes()[:3000], np.uint8)


def test_windows_predict_each_byte_once_and_begin_with_words(text):
    pieces = bench.windows(text, 400, 100)
    assert len(pieces) > 5
    assert b"".join(piece.text[piece.begin : piece.end].tobytes() for piece in pieces) == text.tobytes()
    assert all(len(piece.text) <= 400 and len(piece.text) == piece.end for piece in pieces)
    assert all(piece.begin >= 100 and piece.text[piece.begin] == ord(" ") for piece in pieces[1:])
    with pytest.raises(UserError, match="no word begins in the 10 bytes after byte 0"):
        bench.windows(np.frombuffer(b"x" * 100, np.uint8), 20, 10)


def test_tokens_cost_what_transformers_says(small_qwen, text):
    model, folder = small_qwen
    pieces = bench.windows(text, 400, 100)
    bits, count = bench.by_tokens(model, pieces)
    alone = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    nats, tokens = 0.0, 0
    for piece in pieces:
        before = model.encode(piece.text[: piece.begin].tobytes())
        ids = torch.tensor([[model.start, *model.encode(piece.text.tobytes())]])
        with torch.no_grad():
            logits = alone(ids).logits[0, :-1, model.trie.order]
        place = {int(token): i for i, token in enumerate(model.trie.order)}
        for at in range(len(before), ids.shape[1] - 1):
            nats -= float(torch.log_softmax(logits[at], -1)[place[int(ids[0, at + 1])]])
            tokens += 1
    assert tokens == count
    assert bits == pytest.approx(nats / np.log(2), rel=1e-4)


def test_bytes_cost_no_more_than_tokens_and_shares_are_compared(small_qwen, text):
    model, _ = small_qwen
    found = bench.measure(model, text[:600].tobytes(), 300, 50, [0.02, 1.0])
    followed, alone = found["shares"]
    assert followed["bpb"] < found["token_bpb"]
    assert alone["kl"] > 0
    assert 0 < alone["far"] <= 1
    assert f"{alone['kl']:.4f}" in bench.show(found)
