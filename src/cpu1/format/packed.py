"""The packed file: a program, its tensors and its tokenizer in one safetensors file. `docs/file-format.md`.

Torch-free: numpy and safetensors. What is opened is validated before use; each refusal is a ValueError that names what
is wrong.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.files import strict_json, write_atomic, write_json
from cpu1.format import container
from cpu1.format.container import Raw
from cpu1.format.program import Program, Stored
from cpu1.format.tensors import (
    Rows,
    Ternary,
    from_trits,
    groups,
    load_dense,
    load_rows,
    raw,
    store_dense,
    store_rows,
    to_trits,
)

FORMAT = 1
KIND = "packed"
WIDTHS = ("int8", "bf16", "fp32")  # of full-precision matrices
TOKENIZER = "tokenizer"  # a tensor: the bytes of tokenizer.json
UNPACKED = "unpacked.json"  # of a folder made by `unpack`: what the file said of its run
LARGEST = 1 << 34  # bytes of a file


@dataclass(frozen=True)
class Derived:
    """A tensor computed from others as they stand in the file. Unpacking leaves it out, packing makes it again."""

    sources: tuple[str | NDArray[np.float32], ...]  # names of tensors, or values that are in no file
    compute: Callable[..., NDArray[np.float32]]


Value = NDArray[np.float32] | Ternary | Rows | Derived


@dataclass(frozen=True)
class Packed:
    """An open file, validated. `tensors` holds full-precision values in fp32, whatever their width in the file."""

    program: Program
    recipe: dict[str, Any]  # for people and for unpacking; no runtime needs it
    run: dict[str, Any]  # what is known of the training
    dense: str
    derived: tuple[str, ...]  # names of tensors that unpacking leaves out
    tensors: dict[str, NDArray[np.float32] | Ternary | Rows]
    tokenizer: bytes | None = field(repr=False, default=None)

    def values(self, name: str) -> NDArray[np.float32]:
        """A full-precision tensor."""
        value = self.tensors[name]
        assert not isinstance(value, Ternary | Rows)
        return value

    def rows(self, name: str) -> Rows:
        """A tensor of packed rows."""
        value = self.tensors[name]
        assert isinstance(value, Rows)
        return value

    def ternary(self, name: str) -> Ternary:
        """A ternary tensor."""
        value = self.tensors[name]
        assert isinstance(value, Ternary)
        return value


def pack(
    program: Program,
    tensors: Mapping[str, Value],
    path: str | Path,
    dense: str = "int8",
    *,
    recipe: Mapping[str, Any],
    run: Mapping[str, Any] | None = None,
    tokenizer: bytes | None = None,
) -> int:
    """Writes the file, atomically; returns its size in bytes. `dense` is the width of full-precision matrices.

    Raises ValueError where tensors do not fit the program or are not finite, UserError for an unknown width.
    """
    if dense not in WIDTHS:
        raise UserError(f"no width {dense!r} for full-precision matrices; there are {', '.join(WIDTHS)}")
    stored: dict[str, Raw] = {}
    values: dict[str, NDArray[np.float32]] = {}
    # derived ones last: they are computed from what a reader of the file will find
    for name, value in sorted(tensors.items(), key=lambda item: isinstance(item[1], Derived)):
        if isinstance(value, Ternary):
            stored[f"{name}.trits"], stored[f"{name}.scale"] = raw(to_trits(value.w)), raw(value.scale)
            continue
        if isinstance(value, Rows):
            stored[f"{name}.rows"] = raw(store_rows(value))
            continue
        if isinstance(value, Derived):
            value = value.compute(*(values[s] if isinstance(s, str) else s for s in value.sources))
        stored[name], scale = store_dense(value, dense)
        if scale:
            stored[f"{name}.scale"] = scale
        values[name] = load_dense(stored[name], None if scale is None else _floats(scale))
    if tokenizer is not None:
        stored[TOKENIZER] = Raw("U8", (len(tokenizer),), tokenizer)
    about = {
        "format": FORMAT,
        "kind": KIND,
        "dense": dense,
        "derived": sorted(name for name, value in tensors.items() if isinstance(value, Derived)),
        "run": dict(run or {}),
        "recipe": dict(recipe),
        "program": program.to_json(),
    }
    text = json.dumps(about, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    data = container.write(stored, {"cpu1": text})
    read_packed(data)  # nothing is written that would not open
    write_atomic(path, data)
    return len(data)


def open_packed(path: str | Path) -> Packed:
    """Reads a packed file; raises UserError when there is none, ValueError when it is not valid."""
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path.stat().st_size} bytes are too many for a packed model")
        return read_packed(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_packed(data: bytes) -> Packed:
    """What the bytes of a packed file hold; raises ValueError when they are not valid."""
    stored, metadata = container.read(data)
    about = _about(metadata)
    program = Program.from_json(about["program"])
    tokenizer = _take_tokenizer(stored, program)
    ternary, rows = _take_ternary(stored, program), _take_rows(stored, program)
    dense = _take_dense(stored)
    for name in sorted((ternary.keys() & dense.keys()) | ((ternary.keys() | dense.keys()) & rows.keys())):
        raise ValueError(f"tensor {name!r} is there twice")
    tensors: dict[str, NDArray[np.float32] | Ternary | Rows] = {**ternary, **rows, **dense}
    program.check_tensors({name: _stored(value) for name, value in tensors.items()})
    unknown = [name for name in about["derived"] if name not in tensors]
    if unknown:
        raise ValueError(f"derived tensor {unknown[0]!r} is not in the file")
    return Packed(program, about["recipe"], about["run"], about["dense"], tuple(about["derived"]), tensors, tokenizer)


def unpacked_weights(packed: Packed) -> dict[str, NDArray[np.float32]]:
    """The weights of a model that packs to the same file again, in fp32, by the names of its weights file.

    Raises ValueError where a ternary tensor has a scale that no weights have.
    """
    kept = {name: value for name, value in packed.tensors.items() if name not in packed.derived}
    return {name: value.unpacked() if isinstance(value, Ternary | Rows) else value for name, value in kept.items()}


def unpack(packed: Packed, folder: str | Path) -> None:
    """Writes fp32 weights, recipe and tokenizer as a folder that generates, packs to the same file again, and that
    training can start from. It is marked as unpacked: it is no run that was trained, and has no result.

    Raises ValueError where a ternary tensor has a scale that no weights have.
    """
    folder = Path(folder)
    weights = {name: raw(value) for name, value in unpacked_weights(packed).items()}
    write_json(folder / "recipe.json", packed.recipe)
    write_json(folder / UNPACKED, packed.run)
    if packed.tokenizer is not None:
        write_atomic(folder / "tokenizer.json", packed.tokenizer)
    write_atomic(folder / "model.safetensors", container.write(weights, {"cpu1": json.dumps(packed.recipe)}))


# --------------------------------------------------------------------------------------- reading


def _about(metadata: Any) -> dict[str, Any]:
    """The header's own part."""
    text = metadata.get("cpu1") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ValueError("not a model of cpu1: its header has no entry cpu1")
    about = strict_json(text)
    if not isinstance(about, dict) or about.get("kind") != KIND:
        raise ValueError("not a packed model; make one of a run folder with `cpu1 pack`")
    if about.get("format") != FORMAT or isinstance(about["format"], bool):
        raise ValueError(f"format {about.get('format')!r} is not {FORMAT}; made by another version of cpu1?")
    kinds = {"format": int, "kind": str, "dense": str, "derived": list, "run": dict, "recipe": dict, "program": dict}
    for name in sorted(set(about) ^ set(kinds)):
        raise ValueError(f"header: field {name!r} is {'unknown' if name in about else 'missing'}")
    for name, kind in kinds.items():
        if not isinstance(about[name], kind):
            raise ValueError(f"header: {name} is {type(about[name]).__name__}, not {kind.__name__}")
    if about["dense"] not in WIDTHS or not all(isinstance(name, str) for name in about["derived"]):
        raise ValueError("header: dense or derived is not valid")
    return about


def _take_tokenizer(stored: dict[str, Raw], program: Program) -> bytes | None:
    tensor = stored.pop(TOKENIZER, None)
    if tensor is None or program.level == "byte":
        if tensor is not None or program.level == "token":
            raise ValueError(f"a {program.level} model with{'' if tensor else 'out'} tokenizer")
        return None
    try:
        about = strict_json(tensor.data.decode())
        found = about["vocabulary"]
    except (ValueError, TypeError, KeyError):
        raise ValueError("the tokenizer is damaged") from None
    if found != program.vocabulary:
        raise ValueError(f"a tokenizer of {found!r} tokens; the program has {program.vocabulary}")
    return tensor.data


def _take_ternary(stored: dict[str, Raw], program: Program) -> dict[str, Ternary]:
    """The ternary tensors of the program, whose (N, K) the file does not say."""
    found = {}
    for name, (shape, parts) in ((n, (t.shape, t.parts)) for n, t in program.ternary_tensors().items()):
        assert parts is not None
        trits = stored.pop(f"{name}.trits", None)
        if trits is None or trits.dtype != "U8":
            raise ValueError(f"ternary tensor {name!r}: no {name}.trits of type U8")
        scale = _take_scale(stored, name, len(parts))
        rows, columns = shape
        if trits.shape != groups((rows, columns)):
            raise ValueError(f"ternary tensor {name!r}: shape {list(trits.shape)} does not hold {rows} x {columns}")
        try:
            w = from_trits(np.frombuffer(trits.data, np.uint8).reshape(trits.shape), (rows, columns))
        except ValueError as error:
            raise ValueError(f"ternary tensor {name!r}: {error}") from None
        found[name] = Ternary(w, scale, parts)
    return found


def _take_rows(stored: dict[str, Raw], program: Program) -> dict[str, Rows]:
    """The tables of the program, of which the file does not say how many bits a value has."""
    found = {}
    for name, ((count, _), bits) in ((n, (t.shape, t.bits)) for n, t in program.packed_tensors().items()):
        assert bits is not None
        tensor = stored.pop(f"{name}.rows", None)
        if tensor is None or tensor.dtype != "U8" or len(tensor.shape) != 2 or tensor.shape[0] != count:
            raise ValueError(f"table {name!r}: no {name}.rows of type U8 with {count} rows")
        try:
            found[name] = load_rows(np.frombuffer(tensor.data, np.uint8).reshape(tensor.shape), bits)
        except ValueError as error:
            raise ValueError(f"table {name!r}: {error}") from None
    return found


def _take_dense(stored: dict[str, Raw]) -> dict[str, NDArray[np.float32]]:
    """All that is left: full-precision tensors."""
    found = {}
    for name in [name for name, tensor in stored.items() if tensor.dtype == "I8"]:
        tensor = stored.pop(name)
        if len(tensor.shape) < 2 or 0 in tensor.shape:
            raise ValueError(f"tensor {name!r}: int8 of shape {list(tensor.shape)} has no rows")
        if b"\x80" in tensor.data:
            raise ValueError(f"tensor {name!r}: a value of -128")
        found[name] = load_dense(tensor, _take_scale(stored, name, int(np.prod(tensor.shape[:-1]))))
    for name, tensor in stored.items():
        if tensor.dtype not in ("F32", "BF16"):
            raise ValueError(f"tensor {name!r}: unexpected type {tensor.dtype}")
        found[name] = load_dense(tensor, None)
    for name, value in found.items():
        if not np.isfinite(value).all():
            raise ValueError(f"tensor {name!r}: not finite")
    return found


def _take_scale(stored: dict[str, Raw], name: str, count: int) -> NDArray[np.float32]:
    tensor = stored.pop(f"{name}.scale", None)
    if tensor is None or tensor.dtype != "F32" or tensor.shape != (count,):
        raise ValueError(f"tensor {name!r}: no {name}.scale of type F32 and shape [{count}]")
    scale = _floats(tensor)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError(f"tensor {name!r}: a scale that is not finite and above 0")
    return scale


def _stored(value: NDArray[np.float32] | Ternary | Rows) -> Stored:
    if isinstance(value, Rows):
        return Stored(value.q.shape, bits=value.bits)
    return Stored(value.w.shape, value.parts) if isinstance(value, Ternary) else Stored(value.shape)


def _floats(tensor: Raw) -> NDArray[np.float32]:
    return np.frombuffer(tensor.data, "<f4").astype(np.float32)
