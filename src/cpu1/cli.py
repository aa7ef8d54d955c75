"""The command line: one verb a function, heavy imports inside the verb."""

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpu1.device import DEVICES
from cpu1.errors import UserError

if TYPE_CHECKING:
    from cpu1.sampling import Sampling
    from cpu1.study.start import Request
    from cpu1.training.settings import Budget

LAB = ("torch", "tokenizers", "rich", "zstandard", "filelock", "matplotlib")
SIZES = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 1024, "mi": 1024**2, "gi": 1024**3}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0 done, 1 some runs failed, 2 bad input, 130 interrupted."""
    words = _parser().parse_args(arguments)
    warnings.showwarning = _show_warning
    try:
        return words.verb(words)
    except UserError as error:
        print(f"cpu1: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in LAB:
            raise
        print(
            f"cpu1: {error.name} is not installed; this verb needs the lab: pip install 'cpu1[lab]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"cpu1: note: {message}", file=sys.stderr)


# ------------------------------------------------------------------------------------------ ladder


def ladder(words: argparse.Namespace) -> int:
    """Prints the chain with its differences, or the sizes beside the card's."""
    from cpu1.study import ladder_table

    if words.json:
        rows = ladder_table.sizes(words.scale) if words.params else ladder_table.chain()
        print(json.dumps(rows, indent=1))
    elif words.params:
        ladder_table.print_sizes(words.scale)
    else:
        ladder_table.print_chain()
    return 0


# ------------------------------------------------------------------------------------------- train


def train(words: argparse.Namespace) -> int:
    """Trains or resumes one run."""
    from cpu1.training.job import Job
    from cpu1.training.job import train as run
    from cpu1.training.loop import Interrupted
    from cpu1.training.parallel import Place

    leads = Place.read().rank == 0  # only one process of a group talks
    round = _round(words)
    folder = words.out or Path("runs") / f"{words.run.removeprefix('run_')}-{words.scale}-{round}-s{words.seed}"
    job = Job(
        run=words.run,
        folder=folder,
        scale=words.scale,
        round=round,
        budget=_budget(words),
        seed=words.seed,
        data=words.data,
        field=words.field,
        threads=words.threads,
        device=words.device,
        shard=words.shard,
        teacher=words.teacher,
        overrides=tuple(words.set),
        changes=tuple(words.changes),
        eval_bytes=int(words.eval_bytes),
        tensorboard=words.tensorboard,
        checkpoint_seconds=words.checkpoint_seconds,
    )
    try:
        with _training_report(words.quiet or not leads, folder) as report:
            result = run(job, report)
    except Interrupted:
        if leads:
            print(f"cpu1: interrupted and saved; run the same command again to go on ({folder})", file=sys.stderr)
        return 130
    if leads and not words.quiet:
        print(_headline(result))
        print(f"run folder: {folder}")
    return 0


def _round(words: argparse.Namespace) -> str:
    """The round's name; "custom" is a budget of its own."""
    own = words.bytes is not None or words.minutes is not None
    if words.round == "custom" and not own:
        raise UserError("--round custom needs --bytes or --minutes")
    return words.round or ("custom" if own else "r1")


def _budget(words: argparse.Namespace) -> "Budget | None":
    from cpu1.training.settings import Budget

    if words.bytes is None and words.minutes is None:
        return None
    return Budget(bytes=int(words.bytes) if words.bytes is not None else None, minutes=words.minutes)


def _headline(result: dict[str, Any]) -> str:
    low, high = result["bpb_interval"]
    interval = f" [{low:.3f}, {high:.3f}]" if low is not None else ""
    return (
        f"run_{result['run']}  {result['title']}: {result['bpb']:.4f} bits per byte{interval}, "
        f"val loss {result['val_loss']:.4f}, byte frequencies {result['frequency_bpb']:.3f}, "
        f"{result['train']['bytes_per_s'] / 1e3:.0f} KB/s, non-finite steps {result['nonfinite_steps']}, "
        f"generation {result['generation']['verdict']}"
    )


class _training_report:
    """A progress bar fed by the lines of metrics; nothing when quiet."""

    def __init__(self, quiet: bool, folder: Path) -> None:
        self.quiet, self.folder, self.steps = quiet, folder, 0

    def __enter__(self) -> Callable[[Any], None]:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, disable=self.quiet)
        self.bar.start()
        self.task = self.bar.add_task("training", total=None, note="preparing the text")
        return self.show

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, line: str | dict[str, Any]) -> None:
        if isinstance(line, str):
            self.bar.console.print(line, highlight=False)
            return
        from cpu1.files import read_json

        self.steps = self.steps or read_json(self.folder / "settings.json")["steps"]
        speed, bpb = line["bytes_per_s"] or 0.0, line["bpb"]
        note = (
            f"step {line['step']}  bpb {bpb:.3f}  {speed / 1e3:.0f} KB/s" if bpb is not None else f"step {line['step']}"
        )
        self.bar.update(self.task, completed=line["step"], total=self.steps, note=note)


# -------------------------------------------------------------------------------------------- eval


def evaluate(words: argparse.Namespace) -> int:
    """Scores a trained run on any text, beside the baselines on the same bytes."""
    from cpu1.device import choose
    from cpu1.evaluation.report import evaluate_text, print_evaluation

    found = evaluate_text(
        words.folder,
        words.data,
        words.field,
        words.split,
        words.context,
        int(words.max_bytes),
        words.joined,
        choose(words.device),
    )
    if words.json:
        print(json.dumps(found, indent=1))
    else:
        print_evaluation(found)
    return 0


# ---------------------------------------------------------------------------------------- generate


def generate(words: argparse.Namespace) -> int:
    """Continues a prompt, streaming whole characters."""
    from cpu1.sampling import Sampling
    from cpu1.text import stream_text

    sampling = Sampling(words.temperature, words.top_k, words.top_p, words.min_p, words.seed)
    prompt = sys.stdin.buffer.read() if words.prompt == "-" else words.prompt.encode(errors="surrogateescape")
    if words.echo:
        print(prompt.decode(errors="replace"), end="", flush=True)
    chunks = _continuation(words.model, prompt, words.max_bytes, sampling, words.threads, words.device)
    for text in stream_text(chunks, words.stop):
        print(text, end="", flush=True)
    print()
    return 0


def _continuation(
    model: Path, prompt: bytes, size: int, sampling: "Sampling", threads: int, device: str
) -> Iterator[bytes]:
    if model.is_file():
        from cpu1.runtime.packed import PackedModel

        return PackedModel(model, threads).chunks(prompt, size, sampling)
    import torch

    from cpu1.device import choose
    from cpu1.inference import generate as continue_text
    from cpu1.runs import load

    torch.set_num_threads(threads)
    return continue_text(load(model, choose(device)), prompt, size, sampling)


# ------------------------------------------------------------------------------------------- score


def score(words: argparse.Namespace) -> int:
    """Says how many bits per byte a packed model needs for a text."""
    from cpu1.runtime.packed import PackedModel

    text = sys.stdin.buffer.read() if str(words.text) == "-" else _read(words.text)
    if not text:
        raise UserError(f"{words.text}: empty, nothing to score")
    bits = PackedModel(words.model, words.threads).score(text)
    if words.json:
        print(json.dumps({"bytes": len(text), "bits": float(bits.sum()), "bpb": float(bits.mean())}))
    else:
        print(f"{words.text}: {bits.mean():.4f} bits per byte, {len(text):,} bytes as one document")
    return 0


def bench(words: argparse.Namespace) -> int:
    """Measures a packed model: generation and prompt a second, memory, load time, and the machine's own limits."""
    from cpu1.runtime.speed import measure

    try:
        found = measure(words.model, words.steps, words.repeats, words.threads)
    except ValueError as error:
        raise UserError(str(error)) from None
    if words.json:
        print(json.dumps(found))
        return 0
    for name, value in found.items():
        if isinstance(value, float | int):
            print(f"{name:26}{value:>16,.2f}" if isinstance(value, float) else f"{name:26}{value:>16,}")
        elif isinstance(value, str):
            print(f"{name:26}{value:>16}")
    print("microseconds a patch, by operation:")
    for name, spent in sorted(found["profile_us_per_patch"].items(), key=lambda row: -row[1]):
        print(f"  {name:24}{spent:>16.2f}")
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror})") from None


# ------------------------------------------------------------------------------------ study, card


def study(words: argparse.Namespace) -> int:
    """Runs what is missing of (runs x seeds), then writes and prints the card."""
    from cpu1.study.start import start

    if words.equal_bytes and (words.bytes or words.minutes):
        raise UserError("--equal-bytes takes the bytes of the round; leave out --bytes and --minutes")
    return start(_study_request(words, words.equal_bytes))


def _study_request(words: argparse.Namespace, equal_bytes: bool) -> "Request":
    from cpu1.study.start import Request

    return Request(
        folder=words.out,
        runs=words.runs,
        seeds=words.seeds,
        scale=words.scale,
        round=_round(words),
        budget=_budget(words),
        equal_bytes=equal_bytes,
        data=words.data,
        field=words.field,
        jobs=words.jobs,
        threads=words.threads or 1,
        device=words.device,
        overrides=tuple(words.set),
        changes=tuple(words.changes),
        eval_bytes=words.eval_bytes,
    )


def sweep(words: argparse.Namespace) -> int:
    """Varies settings or ingredients of runs over seeds, and prints one table."""
    from cpu1.study.sweep import Sweep, start

    vary = dict(words.vary)
    if len(vary) < len(words.vary):
        raise UserError("--vary names one thing twice; put its values together: --vary rate=2e-3,4e-3")
    request = _study_request(words, equal_bytes=not (words.bytes or words.minutes))
    return start(Sweep(request, vary, words.teacher, words.alone))


def card(words: argparse.Namespace) -> int:
    """Rebuilds the card from the run folders of a study."""
    from cpu1.study.publish import write_card
    from cpu1.study.terminal import print_card

    print_card(write_card(words.study, words.out))
    print(f"written: {words.out or words.study}/card.md, card.json, card.html")
    return 0


def data(words: argparse.Namespace) -> int:
    """Prepares a text and says what is in it."""
    from cpu1.data.corpus import describe, prepare

    print(describe(prepare(words.data, field=words.field)))
    return 0


# ------------------------------------------------------------------------------------ pack, unpack


def pack(words: argparse.Namespace) -> int:
    """Packs a trained run into one small file that runs without torch."""
    from cpu1.lowering import pack_run

    size = pack_run(words.folder, words.out, words.dense)
    print(f"{words.out}: {size:,} bytes")
    return 0


def unpack(words: argparse.Namespace) -> int:
    """Makes a run folder with fp32 weights of a packed file."""
    from cpu1.pack import open_packed
    from cpu1.pack import unpack as write_folder

    if words.out.exists():
        raise UserError(f"{words.out} exists; name a new folder")
    try:
        write_folder(open_packed(words.file), words.out)
    except ValueError as error:
        raise UserError(str(error)) from None
    print(f"run folder: {words.out}")
    return 0


# ------------------------------------------------------------------------------------------ parser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cpu1",
        description="Byte-level language models made for CPUs, and the lab that measures their ingredients.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(function: Callable[[argparse.Namespace], int], name: str, examples: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(
            name,
            help=(function.__doc__ or "").splitlines()[0],
            description=function.__doc__,
            epilog="examples:\n" + "\n".join(f"  cpu1 {line}" for line in examples.splitlines()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(verb=function)
        return added

    scales = ("card", "demo", "nano", "small", "base")
    rounds = ("r1", "r2", "r3", "custom")

    p = verb(ladder, "ladder", "ladder\nladder --params\nladder --params --json\nladder --params --scale nano")
    p.add_argument("--params", action="store_true", help="sizes of all runs beside the card's")
    p.add_argument("--scale", choices=scales, default="card", help="with --params (default: card)")
    p.add_argument("--json", action="store_true", help="machine-readable")

    p = verb(train, "train", "train 07\ntrain 07 --scale small --round r1 --data books.txt.zst\n"
             "train 14 --teacher runs/02-nano-r1-s0\ntrain 04 --minutes 5 --set rate=0.002\n"
             "train 04 --with ffn=ReLU2 --with head.hidden=512 --out runs/relu2")  # fmt: skip
    p.add_argument("run", help="a run of the ladder: 01, 02a, ... 16")
    p.add_argument("--out", type=Path, help="run folder (default: runs/RUN-SCALE-ROUND-sSEED); resumed if it exists")
    p.add_argument("--seed", type=_count, default=0)
    _training_options(p, scales, rounds)
    p.add_argument("--shard", action="store_true", help="with torchrun: split the model among the processes (FSDP2)")
    p.add_argument("--teacher", type=Path, help="folder of a trained byte-level run (runs 14 and 15)")
    p.add_argument("--checkpoint-seconds", type=_count, default=60, metavar="N",
                   help="save about so often (default: 60; 0: after every step)")  # fmt: skip
    p.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events into the run folder")
    p.add_argument("--quiet", action="store_true", help="no progress bar")

    p = verb(evaluate, "eval", "eval runs/07-nano-r1-s0\neval runs/07-nano-r1-s0 --data book.txt --split all\n"
             "eval runs/07-nano-r1-s0 --context 4096 --json")  # fmt: skip
    p.add_argument("folder", type=Path, help="folder of a trained run")
    _data_options(p, default=None)
    p.add_argument("--split", choices=("train", "valid", "test", "all"), default="valid")
    p.add_argument("--context", type=_positive, help="bytes that a prediction may look back (default: as trained)")
    p.add_argument("--max-bytes", type=byte_size, default=256 * 1024, help="score at most so much (default: 256Ki)")
    p.add_argument("--joined", action="store_true", help="let documents run into each other, a NUL byte between")
    _device_option(p)
    p.add_argument("--json", action="store_true")

    p = verb(generate, "generate", 'generate runs/07-nano-r1-s0 "def main("\n'
             'generate runs/07-nano-r1-s0 "The " --temperature 0 --max-bytes 100\n'
             'generate runs/07-nano-r1-s0 - --top-p 0.9 --stop "\\n\\n" < prompt.txt')  # fmt: skip
    p.add_argument("model", type=Path, help="a packed file, or the folder of a trained run (through torch)")
    p.add_argument("prompt", nargs="?", default="", help="text to continue; - reads it from standard input")
    p.add_argument("--max-bytes", type=_positive, default=256)
    p.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (default: 0.8)")
    p.add_argument("--top-k", type=int, default=0)
    p.add_argument("--top-p", type=float, default=1.0)
    p.add_argument("--min-p", type=float, default=0.0)
    p.add_argument("--seed", type=_count, default=0)
    p.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be repeated")
    p.add_argument("--echo", action="store_true", help="print the prompt as well")
    p.add_argument("--threads", type=_positive, default=1)
    _device_option(p, "of a run folder's model", default="cpu")

    p = verb(score, "score", "score model.cpu1 book.txt\nscore model.cpu1 - --json < book.txt")
    p.add_argument("model", type=Path, help="a packed file")
    p.add_argument("text", type=Path, help="a file of text; - reads standard input")
    p.add_argument("--threads", type=_positive, default=1)
    p.add_argument("--json", action="store_true")

    p = verb(bench, "bench", "bench model.cpu1\nbench model.cpu1 --threads 2 --json")
    p.add_argument("model", type=Path, help="a packed file")
    p.add_argument("--steps", type=_positive, default=256, help="patches or tokens of one repeat (default: 256)")
    p.add_argument("--repeats", type=_positive, default=15, help="of which the median counts (default: 15)")
    p.add_argument("--threads", type=_positive, default=1)
    p.add_argument("--json", action="store_true")

    p = verb(study, "study", "study --scale demo --round r1 --equal-bytes --out runs/demo\n"
             "study --runs 03,04 --seeds 3 --scale nano --round r2 --equal-bytes --data books/\n"
             "study --scale card --round r1")  # fmt: skip
    p.add_argument("--runs", default="all", help="names with commas between (default: all sixteen)")
    p.add_argument("--seeds", type=_positive, default=1, help="how many (default: 1)")
    p.add_argument("--out", type=Path, default=Path("runs/study"), help="study folder (default: runs/study)")
    _training_options(p, scales, rounds)
    p.add_argument("--equal-bytes", action="store_true", help="every run sees the bytes of run 07's round")
    p.add_argument("--jobs", type=_positive, help="runs trained at once (default: one a core)")

    p = verb(sweep, "sweep", "sweep 04 --vary rate=3e-3,6e-3 --seeds 2 --bytes 4M\n"
             "sweep 03,04 --vary optimizer=adamw,muon --vary ffn=SwiGLU,ReLU2 --out runs/optimisers\n"
             "sweep 04 --alone --vary rate=3e-3,9e-3 --vary weight_decay=0 --vary z_loss=1e-4")  # fmt: skip
    p.add_argument("runs", metavar="RUN[,RUN]", help="runs of the ladder")
    p.add_argument("--vary", type=_variation, action="append", required=True, metavar="NAME=VALUE[,VALUE]",
                   help="a setting (as in --set) or a part of the recipe (as in --with); may be repeated")  # fmt: skip
    p.add_argument("--alone", action="store_true", help="the run as it is, and beside it each value alone, "
                   "instead of every combination")  # fmt: skip
    p.add_argument("--seeds", type=_positive, default=2, help="how many (default: 2)")
    p.add_argument("--out", type=Path, default=Path("runs/sweep"), help="folder (default: runs/sweep)")
    _training_options(p, scales, rounds)
    p.add_argument("--teacher", type=Path, help="folder of a trained byte-level run, for variants that distil")
    p.add_argument("--jobs", type=_positive, help="runs trained at once (default: one a core)")

    p = verb(card, "card", "card runs/demo\ncard runs/demo --out docs/demo")
    p.add_argument("study", type=Path, help="study folder")
    p.add_argument("--out", type=Path, help="folder for card.md, card.json, card.html (default: the study folder)")

    p = verb(pack, "pack", "pack runs/07-nano-r1-s0 -o model.cpu1\npack runs/03-nano-r1-s0 -o dense.cpu1 --dense bf16")
    p.add_argument("folder", type=Path, help="folder of a trained run")
    p.add_argument("-o", "--out", type=Path, required=True, help="the file to write")
    p.add_argument("--dense", choices=("int8", "bf16", "fp32"), default="int8",
                   help="how the full-precision matrices are stored (default: int8, one scale a row)")  # fmt: skip

    p = verb(unpack, "unpack", "unpack model.cpu1 -o runs/mine")
    p.add_argument("file", type=Path, help="a packed model")
    p.add_argument("-o", "--out", type=Path, required=True, help="the run folder to make")

    p = verb(data, "data", "data python-stdlib\ndata 'books/*.txt.zst'\ndata posts.jsonl.gz --field body")
    p.add_argument("data", help=DATA_HELP)
    p.add_argument("--field", default="text", help="field or column of the text")
    return parser


DATA_HELP = (
    "file, folder or glob (plain, .zst, .gz, .xz, .jsonl, .parquet), - for standard input, hf:NAME[:SPLIT], "
    "or python-stdlib, the text that comes with Python (default)"
)


def _data_options(parser: argparse.ArgumentParser, default: str | None = "python-stdlib") -> None:
    parser.add_argument("--data", default=default, help=DATA_HELP)
    parser.add_argument("--field", default="text", help="field or column of the text in JSONL and Parquet")


def _device_option(parser: argparse.ArgumentParser, of: str = "", default: str = "auto") -> None:
    about = f"{of} (default: {default})" if default != "auto" else "(default: auto, a GPU where there is one)"
    parser.add_argument("--device", choices=DEVICES, default=default, help=about.strip())


def _training_options(parser: argparse.ArgumentParser, scales: Sequence[str], rounds: Sequence[str]) -> None:
    parser.add_argument("--scale", choices=scales, default="nano")
    parser.add_argument("--round", choices=rounds, help="r1, r2, r3: 2, 15, 50 units per parameter, r3 with the "
                        "BitLinear rate doubled (default: r1)")  # fmt: skip
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--bytes", type=byte_size, help="budget in bytes of text, like 2M, in place of the round's")
    budget.add_argument("--minutes", type=float, help="budget in minutes on this machine")
    _data_options(parser)
    _device_option(parser)
    parser.add_argument("--threads", type=_positive, help="of one process (default: train: all cores; study: 1)")
    parser.add_argument("--set", type=_setting, action="append", default=[], metavar="NAME=VALUE",
                        help="override a setting of training, e.g. rate=0.002, steps=100")  # fmt: skip
    parser.add_argument("--with", dest="changes", type=_change, action="append", default=[], metavar="NAME=VALUE",
                        help="change the recipe, e.g. ffn=ReLU2, gate=none, head.hidden=512, layers=4")  # fmt: skip
    parser.add_argument(
        "--eval-bytes", type=byte_size, default=256 * 1024, help="held-out bytes to score (default: 256Ki)"
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def byte_size(text: str) -> int:
    number = text.rstrip("kKmMgGiI")
    unit = text[len(number) :].lower()
    try:
        value = float(number) * SIZES[unit]
        if not 1 <= value < 2**60:
            raise ValueError
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 500000, 2M or 64Ki") from None
    return int(value)


def _change(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _variation(text: str) -> tuple[str, tuple[str, ...]]:
    name, values = _change(text)
    return name, tuple(values.split(","))


def _setting(text: str) -> tuple[str, int | float | str]:
    from cpu1.training.settings import read_value

    name, value = _change(text)
    return name, read_value(value)
