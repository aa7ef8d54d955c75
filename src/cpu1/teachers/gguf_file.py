"""A GGUF file as a teacher: weights dequantised, the tokenizer built from the file's metadata.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Only the architecture `llama` is read. Its rows of
queries and keys have llama.cpp's order, for rotary embeddings of neighbouring values; `transformers` rotates halves.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.teachers.byte_level import ByteLevelTokenizer
from cpu1.teachers.teacher import content

if TYPE_CHECKING:
    from cpu1.teachers.causal_lm import CausalLM

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt-2": BYTE_LEVEL,
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]},
}
ORDINARY = 1  # the type of a token that is text
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def open_gguf(path: Path) -> "CausalLM":
    """The model of a GGUF file. UserError for a damaged file, and for other architectures or tokenizers."""
    try:
        from gguf import GGUFReader
        from transformers import LlamaForCausalLM
    except ImportError as error:
        raise UserError(f"{error.name} is not installed; GGUF teachers need it: pip install 'cpu1[distill]'") from None
    from cpu1.teachers.causal_lm import CausalLM

    try:
        reader = GGUFReader(path)
        about = {name: field.contents() for name, field in reader.fields.items()}
    except Exception as error:  # the library raises what numpy and struct raise
        raise UserError(f"{path}: not a GGUF file, or cut short ({error})") from None
    if (architecture := about.get("general.architecture")) != "llama":
        raise UserError(f"{path}: of architecture {architecture}; of GGUF files those of llama are read")
    try:
        tokenizer = _tokenizer(about, str(path))
        config = _config(about, tied=all(tensor.name != "output.weight" for tensor in reader.tensors))
        model = LlamaForCausalLM(config)
        model.load_state_dict(_weights(reader.tensors, config), strict=not config.tie_word_embeddings)
    except KeyError as error:
        raise UserError(f"{path}: lacks {error.args[0]}") from None
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{path}: damaged, or of an unknown kind ({error})") from None
    return CausalLM(model, tokenizer, {"kind": "gguf", "sha256": content([path])}, str(path))


def _config(about: dict[str, Any], tied: bool) -> Any:
    from transformers import LlamaConfig

    heads = about["llama.attention.head_count"]
    width = about["llama.embedding_length"]
    if "llama.rope.scaling.type" in about or about.get("llama.rope.dimension_count", width // heads) != width // heads:
        raise ValueError("its rotary embeddings are scaled or partial")
    return LlamaConfig(
        vocab_size=len(about["tokenizer.ggml.tokens"]),
        hidden_size=width,
        intermediate_size=about["llama.feed_forward_length"],
        num_hidden_layers=about["llama.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=about.get("llama.attention.head_count_kv", heads),
        max_position_embeddings=about["llama.context_length"],
        rms_norm_eps=about["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": about.get("llama.rope.freq_base", 10_000.0)},
        tie_word_embeddings=tied,
    )


def _weights(tensors: Any, config: Any) -> dict[str, torch.Tensor]:
    from gguf.quants import dequantize

    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    weights = {}
    for tensor in tensors:
        stem = tensor.name.removesuffix(".weight")
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if stem.startswith("blk."):
            _, layer, part = stem.split(".")
            if part in ("attn_q", "attn_k"):
                heads = config.num_attention_heads if part == "attn_q" else config.num_key_value_heads
                values = _halves(values, heads)
            name = f"model.layers.{layer}.{LAYER[part]}"
        else:
            name = names[stem]
        weights[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(values))
    if config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    return weights


def _halves(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of each head, of h rows, from the pairs (0, 1), (2, 3), ... to the pairs (0, h/2), (1, h/2 + 1), ..."""
    return rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _tokenizer(about: dict[str, Any], source: str) -> ByteLevelTokenizer:
    model, pre = about["tokenizer.ggml.model"], about.get("tokenizer.ggml.pre")
    if model != "gpt2" or pre not in PRE_TOKENIZERS:
        raise UserError(
            f"{source}: its tokenizer is {model} ({pre}); "
            f"byte-level BPE is read, cut as in {' or '.join(PRE_TOKENIZERS)}"
        )
    tokens, types = about["tokenizer.ggml.tokens"], about["tokenizer.ggml.token_type"]
    merges = [merge.split(" ", 1) for merge in about["tokenizer.ggml.merges"]]
    tokenizer = {
        "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges},
        "pre_tokenizer": PRE_TOKENIZERS[pre],
        "added_tokens": [
            {"content": token, "id": i}
            for i, (token, type_) in enumerate(zip(tokens, types, strict=True))
            if type_ != ORDINARY
        ],
    }
    return ByteLevelTokenizer(tokenizer, len(tokens), about.get("tokenizer.ggml.eos_token_id"), source)
