"""Small random token models, in the files that real ones come in."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.text import write_text

from cpu1 import device
from cpu1.teachers.causal_lm import CausalLM
from cpu1.teachers.hugging_face import open_model

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 512}  # fmt: skip


def byte_level_tokenizer(folder: Path) -> dict[str, Any]:
    """A byte-level BPE tokenizer as `tokenizers` saves it, trained on real prose; its special token comes last."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    text = write_text(folder).read_text(encoding="utf-8")
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    engine.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    engine.train_from_iterator([text], trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet))
    engine.add_special_tokens(["<|endoftext|>", "<|im_start|>"])
    return json.loads(engine.to_str())


def write_qwen(folder: Path, tokenizer: dict[str, Any]) -> Path:
    """A folder of transformers."""
    torch.manual_seed(0)
    config = transformers.Qwen3Config(vocab_size=512, head_dim=8, tie_word_embeddings=True, eos_token_id=500, **SIZES)
    model = transformers.Qwen3ForCausalLM(config)
    for parameter in model.parameters():
        parameter.data.mul_(8)  # so that it has opinions
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def open_in_fp32(folder: Path) -> CausalLM:
    """In fp32, one way to read a text differs little from another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "fast_precision", lambda _: "fp32")
        return open_model(str(folder))
