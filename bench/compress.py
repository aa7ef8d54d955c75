"""A packed model as a compressor beside the usual ones: `python bench/compress.py MODEL FILE... [--json]`.

    python bench/compress.py model.cpu1 wikitext2.test.raw.txt.zst books.txt --max-bytes 1M

For each file: bytes, bits per byte, and speed both ways, one thread; every compressor must give the text back. The
model's file is not counted, as the others' programs are not; a last line counts it, once for all files. `scored` is
what `cpu1 score` says of the text as one document, and `learning` what it says with --learn. Speeds are medians over
rounds in which all take turns. `--json` prints {file: {method: figures}}, with MB/s of 10^6 bytes. brotli -11
is in the table if it is installed (the extra `bench`), zpaq -m5, PPMd and paq9a if Debian's packages zpaq, p7zip-full
and python3-paq are. Files that are themselves .zst, .gz or .xz are read as what they hold. `bench/unlike.py` makes
texts unlike English prose, `bench/kinds.py` two files of each kind of text. `--archives` leaves out the scores and
archives without learning, which take most of the time.

What the code costs over drawing text at random: the model generates, encodes and decodes in turn, and ratios are
medians over rounds.
"""

import argparse
import json
import lzma
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import zstandard

from cpu1.cli.options import byte_size, positive
from cpu1.data.formats import read_chunks
from cpu1.errors import UserError
from cpu1.runtime import archive
from cpu1.runtime.model import Model
from cpu1.runtime.sampling import Sampler, Sampling

UNITS = 4096  # of a round of generating, encoding and decoding


@dataclass(frozen=True)
class Compressor:
    shrink: Callable[[bytes], bytes]
    restore: Callable[[bytes], bytes]


def usual() -> dict[str, Compressor]:
    peers = {
        f"zstd {name}": Compressor(zstandard.ZstdCompressor(level=level).compress, zstandard.decompress)
        for name, level in (("-19", 19), ("--ultra -22", 22))
    }
    peers["xz -9e"] = Compressor(lambda text: lzma.compress(text, preset=9 | lzma.PRESET_EXTREME), lzma.decompress)
    if find_spec("brotli"):
        brotli = import_module("brotli")
        peers["brotli -11"] = Compressor(lambda text: brotli.compress(text, quality=11, lgwin=24), brotli.decompress)
    for name, program in PROGRAMS.items():
        if program.installed():
            peers[name] = Compressor(program.shrunk, program.restored)
    return peers


@dataclass(frozen=True)
class Program:
    """One that packs the file `text` to the file `small`, and unpacks it again, in a folder of its own."""

    shrink: list[str]
    restore: list[str]
    small: str = "small"
    needs: str = ""  # a module of Debian's Python

    def installed(self) -> bool:
        if not self.needs:
            return shutil.which(self.shrink[0]) is not None
        words = [PYTHON, "-c", f"import {self.needs}"]
        return Path(PYTHON).exists() and not subprocess.run(words, capture_output=True, check=False).returncode

    def shrunk(self, text: bytes) -> bytes:
        return self._run(self.shrink, "text", self.small, text)

    def restored(self, data: bytes) -> bytes:
        return self._run(self.restore, self.small, "text", data)

    def _run(self, words: list[str], given: str, wanted: str, data: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, given).write_bytes(data)
            subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return Path(folder, wanted).read_bytes()


PYTHON = "/usr/bin/python3"
PAQ = "import paq; open({1!r}, 'wb').write(paq.{2}(open({0!r}, 'rb').read()))"
PROGRAMS = {
    "zpaq -m5": Program(
        ["zpaq", "a", "small.zpaq", "text", "-m5", "-t1"], ["zpaq", "x", "small.zpaq", "-t1"], "small.zpaq"
    ),
    "paq9a": Program(
        [PYTHON, "-c", PAQ.format("text", "small", "compress")],
        [PYTHON, "-c", PAQ.format("small", "text", "decompress")],
        needs="paq",
    ),
    "7z PPMd o=16": Program(
        ["7z", "a", "-m0=PPMd:o=16:mem=512m", "-mmt=1", "small.7z", "text"],
        ["7z", "x", "-y", "-mmt=1", "small.7z"],
        "small.7z",
    ),
}


def seconds(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - begun, result


def compare(text: bytes, compressors: dict[str, Compressor], repeats: int) -> dict[str, dict[str, float]]:
    """Figures of each compressor. Raises UserError where one does not give the text back."""
    sizes: dict[str, int] = {}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in compressors}
    for _ in range(repeats):
        for name, each in compressors.items():
            there, small = seconds(each.shrink, text)
            back, again = seconds(each.restore, small)
            if again != text:
                raise UserError(f"{name} did not give the text back")
            sizes[name] = len(small)
            times[name][0].append(there)
            times[name][1].append(back)
    megabytes = len(text) / 1e6
    return {
        name: {
            "bytes": size,
            "bits_per_byte": 8 * size / len(text),
            "mb_per_s": megabytes / statistics.median(times[name][0]),
            "mb_per_s_back": megabytes / statistics.median(times[name][1]),
        }
        for name, size in sizes.items()
    }


def coding(model: Model, text: bytes, repeats: int) -> dict[str, float]:
    """Units a second of drawing, encoding and decoding, and how much of the first the others reach."""
    units = model.encode(text[: 4 * UNITS])[:UNITS]
    times: dict[str, list[float]] = {"generate": [], "encode": [], "decode": []}
    for number in range(repeats + 1):
        encoder = model.units().encoder()
        encode = seconds(encoder.put, units)[0]
        decode = seconds(model.units().decoder(encoder.finish()).get, len(units))[0]
        sampler = Sampler(Sampling(temperature=1, seed=number))
        generate = seconds(model.units().generate, len(units), sampler, False)[0]
        if number:  # the first warms up
            for name, spent in (("generate", generate), ("encode", encode), ("decode", decode)):
                times[name].append(spent)
    rates = {f"{name}_units_per_s": len(units) / statistics.median(spent) for name, spent in times.items()}
    for name in ("encode", "decode"):
        shares = [other / own for other, own in zip(times["generate"], times[name], strict=True)]
        rates[f"{name}_of_generation"] = statistics.median(shares)
    return rates


def read(files: list[Path], most: int | None) -> dict[str, bytes]:
    """The first `most` bytes of each file by its name. UserError for an empty file and for two of one name."""
    texts: dict[str, bytes] = {}
    for file in files:
        name = file.name.removesuffix(".zst")
        if name in texts:
            raise UserError(f"{file}: there are two files called {name}; rename one")
        texts[name] = b"".join(read_chunks(file))[:most]
        if not texts[name]:
            raise UserError(f"{file}: empty")
    return texts


def measure(path: Path, files: list[Path], most: int | None, repeats: int, scores: bool) -> dict[str, Any]:
    """{file: {method: figures}}: of every compressor, of the text itself (`plain`), and as `cpu1 score` has it.

    `bits_per_byte` is in all of them, sizes and speeds where there is an archive. Without `scores`, there is neither
    what `cpu1 score` has nor an archive without learning.
    """
    model = Model(path)

    def ours(learn: bool | None) -> Compressor:
        return Compressor(
            lambda text: archive.compress(text, model, learn=learn), lambda data: archive.decompress(data, path)
        )

    frozen = {"cpu1 --frozen": ours(False)} if scores else {}
    compressors = {"cpu1": ours(None), **frozen, **usual()}
    results: dict[str, Any] = {}
    for name, text in read(files, most).items():
        results[name] = {"plain": {"bytes": len(text), "bits_per_byte": 8.0}}
        if scores:
            results[name]["scored"] = {"bits_per_byte": float(model.score(text).mean())}
        if scores and model.tokens is None:
            results[name]["learning"] = {"bits_per_byte": float(Model(path, learn=True).score(text).mean())}
        results[name] |= compare(text, compressors, repeats)
        print(f"{name}: {results[name]['cpu1']['bits_per_byte']:.3f} bits a byte", file=sys.stderr, flush=True)
    return results


def show(results: dict[str, Any], model: Path, coding: dict[str, float] | None) -> str:
    size = model.stat().st_size
    lines = [f"{model.name}: {size:,} bytes"]
    if coding:
        lines[0] += (
            f"; units a second: generate {coding['generate_units_per_s']:,.0f}, "
            f"encode {coding['encode_units_per_s']:,.0f} ({coding['encode_of_generation']:.2f} x), "
            f"decode {coding['decode_units_per_s']:,.0f} ({coding['decode_of_generation']:.2f} x)"
        )
    for file, methods in results.items():
        lines += ["", f"{file}: {methods['plain']['bytes']:,} bytes"]
        if "scored" in methods:
            lines[-1] += f", scored {methods['scored']['bits_per_byte']:.4f} bits a byte"
        lines.append(f"{'':18}{'bytes':>12}{'bits/byte':>11}{'compress KB/s':>15}{'decompress KB/s':>17}")
        archives = {name: row for name, row in methods.items() if "mb_per_s" in row}
        for name, row in sorted(archives.items(), key=lambda item: item[1]["bytes"]):
            lines.append(
                f"{name:18}{row['bytes']:>12,}{row['bits_per_byte']:>11.4f}"
                f"{1e3 * row['mb_per_s']:>15,.1f}{1e3 * row['mb_per_s_back']:>17,.1f}"
            )
        if "scored" in methods:
            expected = methods.get("learning", methods["scored"])["bits_per_byte"]
            lines.append(f"cpu1 is {archives['cpu1']['bits_per_byte'] / expected - 1:+.3%} off what was scored")
    total = {name: sum(methods[name]["bytes"] for methods in results.values()) for name in ("plain", "cpu1")}
    share = 8 * (total["cpu1"] + size) / total["plain"]
    return "\n".join([*lines, "", f"cpu1, all files and the model's own file once: {share:.4f} bits per byte"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a packed file")
    parser.add_argument("files", type=Path, nargs="+", help="texts, perhaps compressed")
    parser.add_argument("--max-bytes", type=byte_size, help="of each file at most so much (default: all)")
    parser.add_argument("--repeats", type=positive, default=3, help="rounds (default: 3)")
    parser.add_argument("--archives", action="store_true", help="archives alone: no scores, none without learning")
    parser.add_argument("--json", action="store_true", help="print {file: {method: figures}}")
    args = parser.parse_args()
    try:
        results = measure(args.model, args.files, args.max_bytes, args.repeats, not args.archives)
        if args.json:
            text = json.dumps(results, indent=1)
        else:
            last = b"".join(read_chunks(args.files[-1]))[: args.max_bytes]
            rates = None if args.archives else coding(Model(args.model), last, args.repeats)
            text = show(results, args.model, rates)
    except UserError as error:
        print(f"bench/compress.py: {error}", file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
