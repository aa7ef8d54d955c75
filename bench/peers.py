"""Our engine beside llama.cpp: random weights, one thread, in turn in one process.

    python bench/peers.py
    python bench/peers.py --repeats 15 --keep
    CPU1_ISA=avx2 python bench/peers.py

llama.cpp runs two llama models. One has the trunk sizes of run_07 at base scale, its matrices in TQ2_0, the ternary
type of two bits. The other has a file of the same size: half the layers, in Q4_K. All else is in F16 or F32. Its types
need rows of a multiple of 256 weights, so its FFN has 1280 inner values to our 1376: it has a little less to do. It is
driven as its own llama-bench drives it: tokens of a random text, logits, no sampling. Ours decodes four bytes a step
and draws each of them. One of our steps (a patch) is compared with one of its tokens. The floor of a step is what
`cpu1 bench` takes it to be: the longer of reading all weights once and of its multiply-adds, as this machine does them.
Rates are medians over rounds; a ratio is the median of the rounds' own ratios, so it need not be the quotient of the
two rates (`contest.py`). Pages and caches are warm.

llama.cpp needs the extra `peers`, best built for this processor:

    pip install --no-binary llama-cpp-python '.[lab,peers]'

Without it only our own figures are taken. `--keep` writes results/bench/peers-PROCESSOR.json, of which
docs/results/engines.md is made.
"""

import argparse
import ctypes
import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contest import DELETING, GENERATED, LEAST_REPEATS, PROMPT, TEXT, Case, Contestant, Ours, measure, ratio
from numpy.typing import NDArray

from cpu1.errors import UserError
from cpu1.files import write_json
from cpu1.model import ladder
from cpu1.model.ingredients import SwiGLU
from cpu1.model.recipe import Recipe
from cpu1.runtime.processor import processor
from cpu1.runtime.speed import machine_rates

RESULTS = Path(__file__).resolve().parents[1] / "results" / "bench"
SCALE = "base"
INSTALL = "pip install --no-binary llama-cpp-python '.[lab,peers]'"

CASES = {
    "run_07, gate never deletes": Case("07", SCALE),
    "run_07, gate deletes 30%": Case("07", SCALE, deleted=DELETING),
    "run_04, ternary": Case("04", SCALE),
    "run_04, ternary, the rest bf16": Case("04", SCALE, "bf16"),
    "run_03, bf16": Case("03", SCALE, "bf16"),
}
NEVER, SOME, TERNARY, TERNARY_BF16, FULL = CASES

# ----------------------------------------------------------------------------------------- llama.cpp


@dataclass(frozen=True)
class Sizes:
    """Of a llama model; every matrix is of type `matrix` but the embedding and the output."""

    matrix: str  # TQ2_0 or Q4_K
    width: int
    hidden: int
    layers: int
    heads: int
    vocabulary: int

    @classmethod
    def like(cls, recipe: Recipe, matrix: str, layers: int) -> "Sizes":
        """A recipe's trunk, with what llama.cpp's types of blocks of 256 cannot hold cut off."""
        multiple = 256
        if recipe.width % multiple:
            raise UserError(f"llama.cpp's types need a width of a multiple of {multiple}, not {recipe.width}")
        assert isinstance(recipe.ffn, SwiGLU)
        hidden = recipe.ffn.hidden(recipe.width) // multiple * multiple
        return cls(matrix, recipe.width, hidden, layers, recipe.width // ladder.SCALES[SCALE].head_size, 256)

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Those of type `matrix`, (outputs, inputs) by name."""
        d, h = self.width, self.hidden
        names = {"attn_q": (d, d), "attn_k": (d, d), "attn_v": (d, d), "attn_output": (d, d)}
        names |= {"ffn_gate": (h, d), "ffn_up": (h, d), "ffn_down": (d, h)}
        return {f"blk.{i}.{name}.weight": shape for i in range(self.layers) for name, shape in names.items()}


def write_gguf(path: Path, sizes: Sizes) -> None:
    """A llama model of random weights, without a tokenizer."""
    gguf = import_module("gguf")
    kind, random = gguf.GGMLQuantizationType[sizes.matrix], np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(GENERATED + PROMPT)
    writer.add_embedding_length(sizes.width)
    writer.add_feed_forward_length(sizes.hidden)
    writer.add_block_count(sizes.layers)
    writer.add_head_count(sizes.heads)
    writer.add_head_count_kv(sizes.heads)
    writer.add_rope_dimension_count(sizes.width // sizes.heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(sizes.vocabulary)
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType["MOSTLY_TQ2_0" if sizes.matrix == "TQ2_0" else "MOSTLY_Q4_K_M"])
    for name, (outputs, inputs) in sizes.matrices().items():
        if sizes.matrix == "Q4_K":
            packed = q4_k(random, outputs, inputs)
        else:
            values = random.integers(-1, 2, (outputs, inputs)) * np.float32(inputs**-0.5)
            packed = gguf.quants.quantize(values.astype(np.float32), kind)
        writer.add_tensor(name, packed, raw_dtype=kind)
    for name in ("token_embd.weight", "output.weight"):
        writer.add_tensor(name, random.standard_normal((sizes.vocabulary, sizes.width)).astype(np.float16))
    norms = [f"blk.{i}.{name}_norm.weight" for i in range(sizes.layers) for name in ("attn", "ffn")]
    for name in (*norms, "output_norm.weight"):
        writer.add_tensor(name, np.ones(sizes.width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def q4_k(random: np.random.Generator, outputs: int, inputs: int) -> NDArray[np.uint8]:
    """Random blocks of llama.cpp's Q4_K: 256 weights in 144 bytes, of which the first four are two small scales."""
    blocks = random.integers(0, 256, (outputs, inputs // 256, 144), np.uint8)
    blocks[..., :4] = np.full(2, 1e-4, np.float16).view(np.uint8)
    return blocks.reshape(outputs, -1)


def installed() -> bool:
    return all(find_spec(name) for name in ("llama_cpp", "gguf"))


class LlamaCpp:
    """The peer, through llama.cpp's own C interface: what crosses from Python is one call a decoded batch."""

    def __init__(self, sizes: Sizes, folder: Path) -> None:
        path = folder / f"{sizes.matrix}.gguf"
        write_gguf(path, sizes)
        self.file_bytes = path.stat().st_size
        try:
            self._c = c = import_module("llama_cpp")
        except (ImportError, OSError, RuntimeError) as error:
            raise UserError(f"llama-cpp-python is installed, but does not load: {error}") from None
        self._quiet = c.llama_log_callback(lambda level, text, data: None)  # must outlive the library's use of it
        c.llama_log_set(self._quiet, ctypes.c_void_p())
        c.llama_backend_init()
        self.version = f"llama-cpp-python {c.__version__}; {c.llama_print_system_info().decode().strip(' |')}"
        model = c.llama_model_load_from_file(str(path).encode(), c.llama_model_default_params())
        how = c.llama_context_default_params()
        how.n_threads = how.n_threads_batch = 1
        how.n_ctx = how.n_batch = how.n_ubatch = PROMPT
        self._context = c.llama_init_from_model(model, how) if model else None
        if not self._context:
            raise UserError(f"llama-cpp-python {c.__version__} refused the random model that was written for it")
        self._tokens = (ctypes.c_int32 * PROMPT)(*TEXT[:PROMPT].tolist())
        self._next = (ctypes.c_int32 * 1)()
        self._one = c.llama_batch_get_one(self._next, 1)

    def reset(self) -> None:
        self._c.llama_memory_clear(self._c.llama_get_memory(self._context), False)

    def generate(self, steps: int) -> None:
        for token in self._tokens[:steps]:
            self._next[0] = token
            self._decode(self._one)

    def prompt(self, steps: int) -> None:
        self._decode(self._c.llama_batch_get_one(self._tokens, steps))

    def _decode(self, batch: Any) -> None:
        if self._c.llama_decode(self._context, batch):
            raise UserError("llama.cpp could not decode")
        self._c.llama_synchronize(self._context)


# ------------------------------------------------------------------------------------------- measure

PEER, SMALLER = "llama.cpp, TQ2_0", "llama.cpp, Q4_K, half the layers"


def compare(repeats: int, folder: Path) -> dict[str, Any]:
    """Runs everything; what `--json` prints."""
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    ours = {name: Ours(case, folder) for name, case in CASES.items()}
    theirs = {name: LlamaCpp(sizes, folder) for name, sizes in peers().items()} if installed() else {}
    contestants: dict[str, Contestant] = {NEVER: ours[NEVER], **theirs, **ours}
    rates = measure(contestants, repeats)
    figures = {name: {**rates[name].plain(), "file_bytes": c.file_bytes} for name, c in (ours | theirs).items()}
    never = rates[NEVER]
    return {
        "processor": processor(),
        "isa": ours[NEVER].isa,
        "threads": 1,
        "scale": SCALE,
        "repeats": repeats,
        "generated_steps": GENERATED,
        "prompt_steps": PROMPT,
        "load_average_before": load,
        "contestants": figures,
        "over": {
            name: {"generate": ratio(never.generate, peer.generate), "prompt": ratio(never.prompt, peer.prompt)}
            for name, peer in rates.items()
            if name in theirs
        },
        "fraction_of_floor": figures[NEVER]["generate"] * floor(ours[NEVER]),
        "deleted_share": ours[SOME].deleted,
        "deleting_over_never": ratio(rates[SOME].generate, never.generate),
        "ternary_over_bf16": ratio(rates[TERNARY].generate, rates[FULL].generate),
        "ternary_over_bf16_same_rest": ratio(rates[TERNARY_BF16].generate, rates[FULL].generate),
        "peer_sizes": {name: vars(sizes) for name, sizes in peers().items()} if theirs else None,
        "peer_version": theirs[PEER].version if theirs else None,
    }


def peers() -> dict[str, Sizes]:
    """The models of llama.cpp: as many weights, and as many bytes."""
    recipe = ladder.recipe("07", SCALE)
    return {PEER: Sizes.like(recipe, "TQ2_0", recipe.layers), SMALLER: Sizes.like(recipe, "Q4_K", recipe.layers // 2)}


def floor(ours: Ours) -> float:
    """Seconds that a step takes at least on this machine."""
    read, products = machine_rates(ours.isa, ours.weight_bytes)
    return max(ours.weight_bytes / read, ours.products / products)


def keep(kind: str, results: dict[str, Any]) -> None:
    """Writes results/bench/KIND-PROCESSOR.json."""
    name = re.sub(r"[^a-z0-9]+", "-", results["processor"].lower()).strip("-")
    write_json(RESULTS / f"{kind}-{name}.json", results)


# ---------------------------------------------------------------------------------------------- show


def table(results: dict[str, Any]) -> str:
    lines = [
        f"{results['processor']}: steps a second at {results['scale']} scale, one thread, {results['isa']},",
        f"medians of {results['repeats']}; load average before: {results['load_average_before']:.1f}",
        "",
        f"{'':32} {'generate':>10} {'prompt':>10} {'file MB':>9}",
    ]
    for name, row in results["contestants"].items():
        lines.append(f"{name:32} {row['generate']:10,.0f} {row['prompt']:10,.0f} {row['file_bytes'] / 1e6:9.1f}")
    lines.append("")
    for name, over in results["over"].items():
        lines.append(f"run_07 over {name}: {over['generate']:.2f} generating, {over['prompt']:.2f} prompt")
    lines += [
        f"run_07 reaches {results['fraction_of_floor']:.0%} of the machine's floor when it generates",
        f"gate deleting {results['deleted_share']:.0%} of generated steps over never: "
        f"{results['deleting_over_never']:.2f}",
        f"ternary run_04 over bf16 run_03: {results['ternary_over_bf16']:.2f}"
        f" ({results['ternary_over_bf16_same_rest']:.2f} with its other matrices in bf16 too)",
    ]
    if results["peer_version"]:
        lines += ["", results["peer_version"]]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help=f"rounds, at least {LEAST_REPEATS} (default: 9)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--keep", action="store_true", help="also write results/bench/peers-PROCESSOR.json")
    args = parser.parse_args()
    if args.repeats < LEAST_REPEATS:
        parser.error(f"--repeats {args.repeats}: at least {LEAST_REPEATS}, for a median")
    if not installed():
        print(f"llama.cpp is not installed; only our own figures follow. To compare:\n    {INSTALL}", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory() as folder:
            results = compare(args.repeats, Path(folder))
    except UserError as error:
        print(f"peers: {error}", file=sys.stderr)
        return 2
    print(json.dumps(results) if args.json else table(results))
    if args.keep:
        keep("peers", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
