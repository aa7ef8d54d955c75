"""Bytes a message by our codecs and the usual ones: `python bench/messages.py SETS [--codecs FOLDER] [--json]`.

    python bench/message_sets.py sets ...
    cpu1 messages train sets/dialogue.sample.txt -o codecs/dialogue.cpa
    cpu1 messages train sets/dialogue.sample.txt -o codecs/dialogue.cpu1 --minutes 5
    cpu1 messages train sets/dialogue.sample.txt -o codecs/dialogue-nano.cpu1 --minutes 5 --scratch
    python bench/messages.py sets --codecs codecs

SETS holds NAME.sample.txt, from which dictionaries are made, and NAME.test.txt, a message a line (see
`bench/message_sets.py`). Sizes are whole bytes a message, each coded alone; every codec must give the message back.
The others get what favours them: a message that a codec would lengthen counts with its own length, zlib has no header
(raw deflate), zstd neither magic number, size nor dictionary number. brotli, smaz and unishox2 are in the table if they
are installed (PyPI: brotli, smaz-py3, unishox2-py3). The bundled model runs as it is, with the adapter (.cpa) and
trained on (.cpu1), and a nano model from nothing, where CODECS has them. Times are medians over messages, one thread.

`data_bytes`: the model or dictionary. `program_bytes`: the packages that must be installed, as unpacked.
Also measured for the bundled model: ends by the separator against ends by a coded length, and forms as text.
"""

import argparse
import base64
import json
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from cpu1.errors import UserError
from cpu1.messages import Codec, to_text
from cpu1.runtime.default import default_model

DICTIONARY = 110_000  # bytes of zstd's
PRESET = 32_768  # bytes that deflate looks back
GSM = frozenset("@$_!\"#%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz \n")
GSM_TWICE = frozenset("^{}[]~\\|")  # characters of ASCII that SMS sends in two septets


@dataclass(frozen=True)
class Method:
    """A codec, the bytes of its model or dictionary, and the packages that it needs."""

    shrink: Callable[[bytes], bytes]
    restore: Callable[[bytes], bytes]
    data_bytes: int = 0
    packages: tuple[str, ...] = ()
    never_longer: bool = False


def usual(sample: Sequence[bytes]) -> dict[str, Method]:
    """The other codecs, with dictionaries of the sample."""
    preset = b"".join(message + b"\n" for message in sample)[-PRESET:]
    methods = {"zlib": deflate(None), "zlib, preset": deflate(preset), "zstd -19": zstd(None)}
    methods["zstd -19, dictionary"] = zstd(zstandard.train_dictionary(DICTIONARY, list(sample)))
    if find_spec("brotli"):
        brotli = import_module("brotli")
        shrink = lambda text: brotli.compress(text, mode=brotli.MODE_TEXT, quality=11)  # noqa: E731
        methods["brotli -11"] = Method(shrink, brotli.decompress, packages=("brotli",))
    if find_spec("smaz"):
        smaz = import_module("smaz")
        methods["smaz"] = Method(
            lambda text: bytes(smaz.compress(text.decode())),
            lambda code: str(smaz.decompress(code)).encode(),
            packages=("smaz-py3",),
        )
    if find_spec("unishox2"):
        unishox2 = import_module("unishox2")
        methods["unishox2"] = Method(
            lambda text: bytes(unishox2.compress(text.decode())[0]),
            lambda code: str(unishox2.decompress(code, 4096)).encode(),
            packages=("unishox2-py3",),
        )
    return methods


def deflate(preset: bytes | None) -> Method:
    more = {} if preset is None else {"zdict": preset}

    def shrink(text: bytes) -> bytes:
        packer = zlib.compressobj(9, wbits=-15, **more)  # type: ignore[arg-type]
        return packer.compress(text) + packer.flush()

    def restore(code: bytes) -> bytes:
        return zlib.decompressobj(wbits=-15, **more).decompress(code)

    return Method(shrink, restore, len(preset or b""))


def zstd(dictionary: zstandard.ZstdCompressionDict | None) -> Method:
    how = zstandard.ZstdCompressionParameters.from_level(
        19, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=False, write_dict_id=False
    )
    more: dict[str, Any] = {} if dictionary is None else {"dict_data": dictionary}
    packer = zstandard.ZstdCompressor(compression_params=how, **more)
    opener = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS, **more)
    size = len(dictionary.as_bytes()) if dictionary else 0
    return Method(packer.compress, lambda code: opener.decompress(code, 4096), size, ("zstandard",))


def ours(name: str, codecs: Path | None) -> dict[str, Method]:
    """The bundled model, and what `codecs` has for the set `name`."""
    default = default_model()
    found: dict[str, tuple[Path, Path | None]] = {"cpu1": (default, None)}
    if codecs:
        found["cpu1, adapter"] = (default, codecs / f"{name}.cpa")
        found["cpu1, trained on"] = (codecs / f"{name}.cpu1", None)
        found["cpu1, trained on, adapter"] = (codecs / f"{name}.cpu1", codecs / f"{name}-trained.cpa")
        found["cpu1, nano from nothing"] = (codecs / f"{name}-nano.cpu1", None)
    methods = {}
    for title, (model, adapter) in found.items():
        files = [model] if adapter is None else [model, adapter]
        if all(file.exists() for file in files):
            codec, size = Codec(model, adapter), sum(file.stat().st_size for file in files)
            methods[title] = Method(codec.encode, codec.decode, size, ("cpu1", "numpy", "safetensors"), True)
    return methods


def installed(package: str) -> int:
    """Bytes of a package as unpacked. Of ours, models are left out, which `data_bytes` counts."""
    if package == "cpu1":
        folder = Path(str(find_spec("cpu1").submodule_search_locations[0]))  # type: ignore[union-attr, index]
        native = import_module("cpu1.runtime.engine").native().__file__
        return Path(native).stat().st_size + sum(file.stat().st_size for file in folder.rglob("*.py"))
    try:
        files = distribution(package).files or ()
    except PackageNotFoundError:
        return 0
    return sum(path.stat().st_size for each in files if (path := Path(str(each.locate()))).is_file())


def measure(method: Method, messages: Sequence[bytes]) -> dict[str, float]:
    """Figures of a method. UserError where it does not give a message back, or lengthens one that it must not."""
    size, there, back = 0, [], []
    for message in messages:
        begun = time.perf_counter()
        code = method.shrink(message)
        middle = time.perf_counter()
        again = method.restore(code)
        there.append(middle - begun)
        back.append(time.perf_counter() - middle)
        if again != message or (method.never_longer and len(code) > len(message) + 1):
            raise UserError(f"a message did not come back, or grew: {message!r}")
        size += len(code) if method.never_longer else min(len(code), len(message))
    return {
        "bytes": size / len(messages),
        "share": size / sum(map(len, messages)),
        "ms": 1e3 * statistics.median(there),
        "ms_back": 1e3 * statistics.median(back),
        "data_bytes": method.data_bytes,
        "program_bytes": sum(map(installed, method.packages)),
    }


def endings(codec: Codec, messages: Sequence[bytes], sample: Sequence[bytes]) -> dict[str, float]:
    """Bits of the end of a message: by the separator, and by a length whose frequencies are those of the sample."""
    lengths = np.bincount([min(len(message), 255) for message in sample], minlength=256) + 0.1
    length = -np.log2(lengths / lengths.sum())
    by_separator = []
    for message in messages:
        stream = codec._stream("encode")
        cost = stream.score(np.append(codec.model.encode(message), np.uint32(codec.model.separator)))
        by_separator.append(cost[-1] / np.log(2))
    return {
        "separator_bits": float(np.mean(by_separator)),
        "length_bits": float(np.mean([length[min(len(message), 255)] for message in messages])),
    }


def text_forms(codes: Sequence[bytes]) -> dict[str, dict[str, float]]:
    """Characters a byte of code, septets of SMS, and characters that JSON escapes, of each form as text."""
    forms: dict[str, Callable[[bytes], str]] = {
        "base64": lambda code: base64.b64encode(code).decode().rstrip("="),
        "base85 (RFC 1924)": lambda code: base64.b85encode(code).decode(),
        "base91": base91,
        "ours, base 84": to_text,
    }
    size = sum(map(len, codes))
    return {name: {"characters": sum(len(form(code)) for code in codes) / size,
                   "septets": sum(septets(form(code)) for code in codes) / size,
                   "escapes": sum(len(json.dumps(form(code))) - 2 - len(form(code)) for code in codes) / size}
            for name, form in forms.items()}  # fmt: skip


def septets(text: str) -> float:
    """What a text takes of an SMS in units of seven bits. A character that SMS lacks makes all take sixteen bits."""
    if not set(text) <= GSM | GSM_TWICE:
        return len(text) * 16 / 7
    return sum(1 + (character in GSM_TWICE) for character in text)


def base91(code: bytes) -> str:
    """The form of base91.sourceforge.net."""
    letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&()*+,./:;<=>?@[]^_`{|}~"'
    value = bits = 0
    out = []
    for byte in code:
        value |= byte << bits
        bits += 8
        if bits > 13:
            pair = value & 8191
            taken = 13 if pair > 88 else 14
            pair = pair if taken == 13 else value & 16383
            value, bits = value >> taken, bits - taken
            out += [letters[pair % 91], letters[pair // 91]]
    if bits:
        out.append(letters[value % 91])
        if bits > 7 or value > 90:
            out.append(letters[value // 91])
    return "".join(out)


def lines(path: Path) -> list[bytes]:
    """The messages of a file. UserError where it cannot be read or has none."""
    try:
        found = [line for line in path.read_bytes().split(b"\n") if line]
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror})") from None
    if not found:
        raise UserError(f"{path}: no messages")
    return found


def run(sets: Path, codecs: Path | None) -> dict[str, Any]:
    """All figures: {"sets": {name: {...}}}."""
    names = sorted(path.name.removesuffix(".test.txt") for path in sets.glob("*.test.txt"))
    if not names:
        raise UserError(f"{sets}: no sets of messages; make them with bench/message_sets.py")
    results: dict[str, Any] = {}
    for name in names:
        sample, messages = lines(sets / f"{name}.sample.txt"), lines(sets / f"{name}.test.txt")
        codec = Codec()
        results[name] = {
            "messages": len(messages),
            "bytes": sum(map(len, messages)) / len(messages),
            "methods": {title: measure(m, messages) for title, m in (usual(sample) | ours(name, codecs)).items()},
            "endings": endings(codec, messages, sample),
            "text_forms": text_forms([codec.encode(message) for message in messages]),
        }
        print(f"{name}: {results[name]['methods']['cpu1']['share']:.1%}", file=sys.stderr, flush=True)
    return {"sets": results}


def show(results: dict[str, Any]) -> str:
    rows = []
    for name, found in results["sets"].items():
        rows += ["", f"{name}: {found['messages']} messages of {found['bytes']:.1f} bytes"]
        rows += [f"{'':28}{'bytes':>8}{'share':>8}{'ms':>9}{'ms back':>9}{'MB':>8}{'MB program':>12}"]
        for title, each in sorted(found["methods"].items(), key=lambda item: -item[1]["bytes"]):
            rows.append(
                f"{title:28}{each['bytes']:8.2f}{each['share']:8.1%}{each['ms']:9.3f}{each['ms_back']:9.3f}"
                f"{each['data_bytes'] / 1e6:8.2f}{each['program_bytes'] / 1e6:12.2f}"
            )
        rows.append(f"bits of the end: {found['endings']}")
        rows += [f"{form:28}{each}" for form, each in found["text_forms"].items()]
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, help="folder of the sets")
    parser.add_argument("--codecs", type=Path, help="folder of codecs, NAME.cpa, NAME.cpu1 and NAME-nano.cpu1")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        results = run(args.sets, args.codecs)
    except UserError as error:
        print(f"bench/messages.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(results, indent=1) if args.json else show(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
