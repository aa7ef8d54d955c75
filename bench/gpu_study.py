"""A GPU in one command: is it right, how fast is it, and what the ladder reaches at the card's own scale.

    make gpu                                                  # or: python3 bench/gpu_study.py
    python3 bench/gpu_study.py --device cpu --scale demo      # a rehearsal without a GPU

Three steps, each with a time limit, the next one whatever became of the last: kernels beside the CPU's reference; speed
of run 07; then training of the ladder, several runs at once, until --minutes are over. All results are in a few files
in $OUT (else runs/gpu) from the first second on, so that nothing is lost when the machine goes. Called again it does
what is missing: by itself on the same machine, on another one with --from FOLDER, which holds what came back.
Exit status 0: nothing failed (time may have ended it); 1: something did, and report.json names it; 2: bad input.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import gpu_here as here
import gpu_share

BENCH = Path(__file__).resolve().parent
LIMIT = 90.0  # seconds of the first and the second step
SHARE = 1 / 6  # of the whole time, where that is less
CLOSING = 45.0  # seconds kept for saving and scoring at the end, or
CLOSING_SHARE = 0.12  # of the whole time
TICK = 1.0
AT_ONCE = {False: 3, True: 4}  # runs: where they take turns on the GPU, and where they share it
GOOD = ("done", "known", "time is up")
COLLECT = 5.0  # seconds between two packings of what runs have written
SPEED = (("07", "base", (1 << 14, 1 << 18)), ("18", "small", (1 << 13, 1 << 16)))  # run, scale, bytes a step
MODES = {"cuda": (("eager", "graphs"), ("compiled",)), "cpu": (("eager",),)}  # a process each: a crash ends only one


@dataclass
class Study:
    """One call: where things go, until when, and how the steps went."""

    args: argparse.Namespace
    work: Path
    output: Any  # gpu_output.Output, which is imported once libraries are there
    environment: dict[str, str]
    begun: float = field(default_factory=time.monotonic)
    steps: list[dict[str, Any]] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Seconds until all must be over."""
        return self.begun + 60 * self.args.minutes - time.monotonic()

    def limit(self) -> float:
        return max(1.0, min(LIMIT, 60 * self.args.minutes * SHARE, self.left))

    def report(self) -> None:
        self.output.report({"machine": self.machine, "steps": self.steps, "runs": self.output.runs()})

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun


def main() -> int:
    args = _parse()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    environment = here.environment(work)
    here.adopt(environment)
    from gpu_output import Output

    from cpu1.errors import UserError

    study = Study(args, work, Output(args.out.resolve(), work), environment)
    try:
        if args.before:
            study.output.restore(args.before)
        text = data_of(args)
    except UserError as error:
        print(f"bench/gpu_study.py: {error}", file=sys.stderr)
        return 2
    study.machine = {"data": text, "device": args.device, "scale": args.scale or "original"}
    study.report()
    say(study, f"text {text}; results go to {args.out}; {args.minutes} minutes")
    building = launch(study, "native", [str(BENCH / "gpu_native.py"), str(work)])
    preparing = launch(study, "prepare", [*training_command(study, text), "--prepare"])
    if args.share:
        study.machine["share"] = gpu_share.start(environment, work / "mps", sys.executable)
        say(study, study.machine["share"])
    step(study, "machine", lambda: look(study))
    if args.device == "cuda" and study.steps[-1]["status"] == "done" and not study.machine.get("gpu"):
        preparing.kill()
        building.kill()
        print("bench/gpu_study.py: torch finds no GPU here; --device cpu --scale demo rehearses it", file=sys.stderr)
        return 2
    step(study, "kernels", lambda: kernels(study))
    step(study, "speed", lambda: speed(study))
    step(study, "training", lambda: train(study, training_command(study, text), preparing, building))
    gpu_share.stop(environment)
    study.output.collect()
    study.report()
    print_summary(study)
    return 0 if all(each["status"].partition(";")[0] in GOOD for each in study.steps) else 1


def step(study: Study, name: str, work: Callable[[], str]) -> None:
    """Runs one step, whose answer is its status; whatever goes wrong in it, the next one follows."""
    begun = time.monotonic()
    about: dict[str, Any] = {"step": name, "status": "running"}
    study.steps.append(about)
    study.report()
    try:
        about["status"] = work()
    except Exception as error:  # recorded, and told at the end
        about |= {"status": "failed", "error": f"{type(error).__name__}: {error}"[:500]}
    about["seconds"] = round(time.monotonic() - begun, 1)
    study.report()
    say(study, f"{name}: {about['status']} after {about['seconds']} s")


# --------------------------------------------------------------------------------------- the steps


def look(study: Study) -> str:
    """What machine this is; and whether Triton's kernels can be started, which takes a C compiler on some machines."""
    status, lines = measured(study, "machine", [str(BENCH / "gpu_look.py")], limit=LIMIT)
    for line in lines:
        study.machine |= line
    if study.args.device == "cuda" and study.machine.get("triton_runs") is False:
        study.environment["CPU1_TRITON"] = "0"
        return "failed: no kernel of Triton runs, so plain torch is used"
    return status


def kernels(study: Study) -> str:
    if known(study, "against_cpu"):
        return "known"
    return measured(study, "kernels", [str(BENCH / "gpu.py"), "kernels", "--device", study.args.device])[0]


def speed(study: Study) -> str:
    """Then training takes the graphs only where they ran, and ran faster."""
    if not known(study, "speed"):
        args = study.args
        cases = SPEED if args.device == "cuda" else tuple((run, args.scale or "demo", (4096,)) for run in ("07", "18"))
        until = time.monotonic() + study.limit()
        answers = []
        for modes, (run, scale, batches) in product(MODES[args.device], cases):
            command = [str(BENCH / "gpu.py"), "speed", "--device", args.device, "--run", run, "--scales", scale]
            command += ["--batches", *map(str, batches), "--modes", *modes]
            command += ["--rounds", "2" if args.device == "cpu" else "5"]
            if (left := until - time.monotonic()) > 5:
                answers.append(measured(study, "speed", command, left)[0])
        status = "done" if "done" in answers else (answers or ["time is up"])[0]
    else:
        status = "known"
    if study.args.device == "cuda" and not graphs_pay(study.output.lines()):
        study.environment["CPU1_GRAPHS"] = "0"
        return f"{status}; without graphs"
    return status


def graphs_pay(lines: Sequence[dict[str, Any]]) -> bool:
    """Whether steps as CUDA graphs ran, and at the least batch, which is training's, were no slower than others."""
    rates: dict[tuple[str, str], dict[int, dict[str, float]]] = {}  # of a run at a scale, by batch and by mode
    for line in lines:
        if line.get("kind") == "speed" and "bytes_per_s" in line:
            sizes = rates.setdefault((line["run"], line["scale"]), {})
            sizes.setdefault(line["batch_bytes"], {})[line["mode"]] = line["bytes_per_s"]
    least = [sizes[min(sizes)] for sizes in rates.values()]
    captured = [modes for modes in least if "graphs" in modes]
    return bool(captured) and all(modes["graphs"] >= modes.get("eager", 0.0) for modes in captured)


def train(
    study: Study, training: list[str], preparing: subprocess.Popen[bytes], building: subprocess.Popen[bytes]
) -> str:
    """Runs until done or until the time is up; scores and packs whatever is finished in between."""
    closing = min(CLOSING, 60 * study.args.minutes * CLOSING_SHARE)
    while any(child.poll() is None for child in (preparing, building)) and study.left > closing:
        time.sleep(TICK)
    if building.poll() != 0:
        building.kill()
        say(study, f"no native parts: {tail(study, 'native')}")
    if preparing.poll() is None:
        preparing.kill()
        return "time is up"
    if preparing.returncode:
        return f"failed: the text was not prepared ({tail(study, 'prepare')})"
    scoring = Scoring(study, training)
    status = attempt(study, training, scoring, closing)
    if status.startswith("failed") and gpu_share.on(study.environment) and study.left > 2 * closing:
        gpu_share.stop(study.environment)
        say(study, f"training: {status}; again, without sharing")
        status = attempt(study, training, scoring, closing)
    graphs = study.args.device == "cuda" and study.environment.get("CPU1_GRAPHS") != "0"
    if status.startswith("failed") and graphs and study.left > 2 * closing:
        study.environment["CPU1_GRAPHS"] = "0"  # what a crash most likely came from
        say(study, f"training: {status}; again, without graphs")
        status = attempt(study, training, scoring, closing)
    scoring.finish()
    return status


def attempt(study: Study, training: list[str], scoring: "Scoring", closing: float) -> str:
    """Trains what is missing, and returns the status."""
    child = launch(study, "training", training)
    collected = time.monotonic()
    while child.poll() is None and study.left > closing:
        time.sleep(TICK)
        scoring.go_on()
        if time.monotonic() - collected > COLLECT:
            study.output.collect()
            study.report()
            collected = time.monotonic()
    in_time = child.poll() is not None
    if not in_time:
        child.send_signal(signal.SIGINT)  # the runs save
        wait(child, closing * 0.7)
    failed = [run["name"] for run in study.output.runs() if run["state"] == "failed"]
    if failed:
        return f"failed: {', '.join(failed)}"
    if not in_time:
        return "time is up"
    return "done" if child.returncode == 0 else f"failed: {tail(study, 'training')}"


class Scoring:
    """Scores finished runs on the held-out sets, one process at a time, while others train."""

    def __init__(self, study: Study, training: list[str]) -> None:
        self.study, self.texts = study, held_out(study.args)
        self.command = [*training, *(f"--score={name}={path}" for name, path in self.texts.items())]
        self.child: subprocess.Popen[bytes] | None = None
        self.tried: set[str] = set()

    def go_on(self) -> None:
        """Starts a process if none is at work and there is something new to do."""
        if self.child is not None and self.child.poll() is None:
            return
        wanted = {run["name"] for run in self.study.output.runs() if run["state"] == "done"
                  and not set(self.texts) <= set(run.get("held_out", ()))}  # fmt: skip
        if wanted - self.tried:
            self.tried |= wanted
            self.child = launch(self.study, "scoring", self.command)

    def finish(self) -> None:
        """Scores what was finished last, as far as time allows."""
        for _ in range(2):
            if self.child is not None:
                wait(self.child, self.study.left - 5)
            self.go_on()
        if self.child is not None:
            wait(self.child, self.study.left - 5)


# ------------------------------------------------------------------------------------- processes


def launch(study: Study, name: str, args: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Python with these args, in the study's environment, its output in log-NAME.txt; ends when this process does."""
    options.setdefault("stdout", subprocess.DEVNULL)
    with (study.work / f"log-{name}.txt").open("ab") as log:
        if options["stdout"] == subprocess.DEVNULL:
            options["stdout"] = log
        return subprocess.Popen(
            [sys.executable, *args],
            cwd=here.ROOT,
            env=study.environment,
            stdin=subprocess.DEVNULL,
            stderr=log,
            preexec_fn=here.end_with_parent,
            **options,
        )


def measured(
    study: Study, name: str, args: Sequence[str], limit: float | None = None
) -> tuple[str, list[dict[str, Any]]]:
    """Runs a script that prints lines of JSON, each kept as it comes; its status, and the lines."""
    child = launch(study, name, args, stdout=subprocess.PIPE)
    timer = threading.Timer(limit or study.limit(), child.kill)
    timer.start()
    lines = []
    assert child.stdout is not None
    for raw in child.stdout:
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        line["device"] = study.args.device
        study.output.add(line)
        lines.append(line)
    status, out_of_time = child.wait(), not timer.is_alive()
    timer.cancel()
    if out_of_time:
        return "time is up", lines
    return "done" if status == 0 else f"failed with status {status}: {tail(study, name)}", lines


def wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        child.wait(max(0.1, seconds))
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def tail(study: Study, name: str) -> str:
    """The last line of a step's log."""
    lines = (study.work / f"log-{name}.txt").read_text(errors="replace").strip().splitlines()
    return lines[-1][-300:] if lines else "no word of why"


def known(study: Study, kind: str) -> bool:
    """Whether an earlier call has measured this, on this kind of device, and it went well."""
    lines = [line for line in study.output.lines() if line["kind"] == kind and line["device"] == study.args.device]
    return not study.args.again and any("failed" not in line and line.get("right", True) for line in lines)


# -------------------------------------------------------------------------------- text, and args


def data_of(args: argparse.Namespace) -> str:
    """The text to train on: as asked for, what was packed, or what comes with Python."""
    if args.data:
        return str(Path(args.data).resolve()) if Path(args.data).exists() else args.data
    return str(here.TEXT) if here.TEXT.exists() else "python-stdlib"


def held_out(args: argparse.Namespace) -> dict[str, Path]:
    return {path.name.partition(".")[0]: path for path in sorted(args.valid.resolve().glob("*.txt*"))}


def stages(args: argparse.Namespace) -> list[str]:
    """What to train, where it is not the plan of gpu_train.py."""
    if args.stages:
        return list(args.stages)
    return [f"{args.scale}-r1:04,18,03,07,02,17,05,06,08,09,10,05b"] if args.scale else []


def training_command(study: Study, text: str) -> list[str]:
    args = study.args
    command = [str(BENCH / "gpu_train.py"), str(study.output.study), "--data", text, "--device", args.device]
    command += ["--stages", *stages(args)] if stages(args) else []
    command += [
        "--at-once",
        str(args.at_once or AT_ONCE[gpu_share.on(study.environment)]),
        "--threads",
        str(args.threads),
    ]
    command += ["--eval-bytes", str(args.eval_bytes), "--held-out-bytes", str(args.held_out_bytes)]
    command += ["--checkpoint-seconds", str(args.checkpoint_seconds)]
    return command + [word for setting in args.set for word in ("--set", setting)]


def say(study: Study, text: str) -> None:
    print(f"[{study.seconds:6.1f} s] {text}", flush=True)


def print_summary(study: Study) -> None:
    for line in study.output.lines():
        if line["kind"] == "speed" and "bytes_per_s" in line:
            print(f"run_{line['run']} at {line['scale']}, {line['mode']}, {line['batch_bytes'] // 1024} KB a step: "
                  f"{line['bytes_per_s'] / 1e6:.2f} MB/s, {line['fraction_of_bf16']:.1%} of bf16")  # fmt: skip
    for run in study.output.runs():
        if run["state"] == "done":
            others = "".join(f", {name} {bpb:.4f}" for name, bpb in run.get("held_out", {}).items())
            print(f"{run['name']}: {run['bpb']:.4f} bits per byte{others}, {run['bytes_per_s'] / 1e6:.2f} MB/s")
        else:
            print(f"{run['name']}: {run['state']} at step {run['step']} of {run['steps']} {run.get('error', '')}")
    size = sum(path.stat().st_size for path in study.args.out.iterdir())
    print(f"{study.args.out}: {len(list(study.args.out.iterdir()))} files, {size:,} bytes")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="until all is over (default: 9)")
    parser.add_argument("--from", type=Path, dest="before", metavar="FOLDER", help="what an earlier call brought back")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "runs/gpu"))
    parser.add_argument("--work", type=Path, default=Path("runs/gpu-work"), help="large files that stay there")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--scale", choices=("demo", "nano", "small", "base"), help="round r1 of it alone")
    parser.add_argument("--stages", nargs="+", metavar="SCALE-ROUND:RUNS", help="in this order, like base-r1:04,07 "
                        "small-r2:18:batch=32 (default: base r1, then small r2, then base r2)")  # fmt: skip
    parser.add_argument(
        "--data", help=f"text to train on (default: {here.TEXT.relative_to(here.ROOT)}, if it is there)"
    )
    parser.add_argument("--valid", type=Path, default=here.HELD_OUT, help="folder of held-out sets")
    parser.add_argument("--at-once", type=int, help="runs trained at once (default: 4 with --share, else 3)")
    parser.add_argument("--share", action="store_true", help="let kernels of several runs run side by side, by MPS")
    parser.add_argument("--threads", type=int, default=2, help="of each of them (default: 2)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of training")
    parser.add_argument("--eval-bytes", type=int, default=256 * 1024)
    parser.add_argument("--held-out-bytes", type=int, default=2**20, help="of each third of a held-out set")
    parser.add_argument("--checkpoint-seconds", type=int, default=45)
    parser.add_argument("--again", action="store_true", help="measure what an earlier call has measured")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
