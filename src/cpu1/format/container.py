"""safetensors as bytes: what numpy cannot hold (bfloat16) stays raw. Format: https://huggingface.co/docs/safetensors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError, deserialize

from cpu1.files import strict_json

HEADER = 16 << 20  # most bytes of a header
ALIGNMENT = 8


@dataclass(frozen=True)
class Raw:
    """A tensor as a file holds it, little-endian, last dimension closest."""

    dtype: str  # F32, BF16, I8, U8
    shape: tuple[int, ...]
    data: bytes


def write(tensors: Mapping[str, Raw], metadata: Mapping[str, str]) -> bytes:
    """One file, the same bytes for the same tensors: in order of width of their numbers, then of name."""
    width = {"F32": 4, "BF16": 2, "I8": 1, "U8": 1}
    order = sorted(tensors, key=lambda name: (-width[tensors[name].dtype], name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        begin, end = end, end + len(tensors[name].data)
        tensor = tensors[name]
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return b"".join([len(text).to_bytes(8, "little"), text, *(tensors[name].data for name in order)])


def read(data: bytes) -> tuple[dict[str, Raw], dict[str, str]]:
    """The tensors and the metadata of a file; raises ValueError where it is damaged."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > HEADER or size > len(data) - 8:
        raise ValueError(f"not a safetensors file, or cut short (header of {size} bytes in {len(data)})")
    try:
        tensors = {n: Raw(t["dtype"], tuple(t["shape"]), bytes(t["data"])) for n, t in deserialize(data)}
    except SafetensorError as error:
        raise ValueError(f"not a safetensors file, or damaged ({error})") from None
    metadata = strict_json(data[8 : 8 + size].decode()).get("__metadata__")
    return tensors, metadata or {}
