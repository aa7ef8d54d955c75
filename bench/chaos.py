"""Does a study end the same whatever befalls it? Killed, stopped, out of disk or memory at random moments, and resumed.

    python bench/chaos.py --data books.txt --trials 20 --seed 1 --json chaos.json
    python bench/chaos.py --data books.txt --trials 3 --runs 03,04 --bytes 30k --set window=256 --set batch=4

One study is left in peace. Each trial trains the same study in a folder of its own, is struck some times, and is
started again until it is done. Then the models have to be the same, and the report to the byte; in the reports, what a
clock measured is replaced by what it measured in peace. Strikes, each at a random moment:

    kill        SIGKILL for the study, whose workers live on, or for a worker
    crash       SIGKILL for all of them, as when a machine fails
    interrupt   SIGINT, SIGTERM or SIGHUP for the study
    pause       SIGSTOP for a worker or the study, and SIGCONT after some seconds
    memory      a worker may not have more memory than it has
    disk        the file system is full for some seconds; needs Linux and root, for a small one in memory
    slow        each write takes 50 ms longer for some seconds; needs a C compiler, as the next one does
    clock       the clock is set back by up to a day, for good

Needs /proc. Exit status 0: nothing differed.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cpu1.errors import UserError
from cpu1.files import digest, read_json, write_json
from cpu1.report.write import FILES, write_report

STUDY = (sys.executable, "-m", "cpu1", "study")
MODELS = ("model.safetensors", "model.cpu1")
TICK = 0.05  # seconds
MOST_STARTS = 30  # of one trial
DISK = 256 << 20  # bytes of the file system of a trial
SLOW = 50_000  # microseconds
ODD = Path(__file__).with_name("odd_machine.c")


@dataclass
class Trial:
    """What befell a study, and what became of it."""

    seed: int
    strikes: list[str] = field(default_factory=list)
    starts: int = 0
    ended: list[int] = field(default_factory=list)  # exit status of each start, negative for a signal
    differs: list[str] = field(default_factory=list)  # files


def main() -> int:
    args = _args()
    try:
        with tempfile.TemporaryDirectory(prefix="chaos.", dir=args.folder) as folder:
            trials = run(Path(folder), args)
    except UserError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    if args.json:
        write_json(args.json, {"arguments": _words(args), "trials": [asdict(trial) for trial in trials]})
    wrong = sum(bool(trial.differs) for trial in trials)
    print(f"{len(trials)} trials, {sum(len(trial.strikes) for trial in trials)} strikes: {wrong} ended otherwise")
    return int(wrong > 0)


def run(folder: Path, args: argparse.Namespace) -> list[Trial]:
    """The study in peace, then all trials; UserError where it fails in peace."""
    os.environ["CPU1_CACHE"] = str(folder / "cache")
    odd_machine(folder)
    calm = folder / "calm"
    begun = time.monotonic()
    status = start(calm, args).wait()
    if status:
        raise UserError(f"the study fails in peace, with status {status}")
    seconds = time.monotonic() - begun
    trials = []
    for number in range(args.trials):
        trial = Trial(args.seed + number)
        place = folder / f"trial-{number}"
        ask_of_machine(slow=0, clock=0)
        with file_system(place):
            endure(place / "study", trial, seconds, args)
            trial.differs = trial.differs or differences(calm, place / "study")
        print(f"trial {number}: {', '.join(trial.strikes) or 'no strike'}; {trial.starts} starts; "
              f"differs: {', '.join(trial.differs) or 'nothing'}", flush=True)  # fmt: skip
        trials.append(trial)
    return trials


def start(study: Path, args: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Starts the study, in a session of its own; what it prints goes to a file beside it."""
    words = [*STUDY, "--runs", args.runs, "--scale", "demo", "--bytes", args.bytes, "--data", str(args.data.resolve())]
    words += ["--jobs", str(args.jobs), "--threads", "1", "--eval-bytes", args.eval_bytes, "--out", str(study)]
    words += [word for setting in args.set for word in ("--set", setting)]
    study.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{os.environ['CPU1_CACHE']}.log", "ab") as log:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def endure(study: Path, trial: Trial, seconds: float, args: argparse.Namespace) -> None:
    """Starts a study until it is done, and strikes it; `seconds` is how long it takes in peace."""
    chance = random.Random(trial.seed)
    moments = sorted(chance.uniform(0, seconds) for _ in range(args.strikes))
    worked = 0.0
    while trial.starts < MOST_STARTS:
        process = start(study, args)
        trial.starts += 1
        begun = time.monotonic()
        while process.poll() is None:
            time.sleep(TICK)
            if moments and worked + time.monotonic() - begun >= moments[0]:
                moments.pop(0)
                trial.strikes.append(strike(study, process.pid, chance, args))
        worked += time.monotonic() - begun
        trial.ended.append(process.returncode)
        if process.returncode == 0:
            return
        moments = moments[1:] if worked > 10 * seconds else moments  # what never comes is not waited for
    trial.differs = ["never done"]
    for pid in workers(study):
        send(pid, signal.SIGKILL)


# ----------------------------------------------------------------------------------------- strikes


def strike(study: Path, pid: int, chance: random.Random, args: argparse.Namespace) -> str:
    """Strikes a study at work; returns what with."""
    kinds: dict[str, Callable[..., None]] = {
        "kill": kill,
        "crash": crash,
        "interrupt": interrupt,
        "pause": pause,
        "memory": memory,
        "disk": disk,
        "slow": slow,
        "clock": clock,
    }
    out = {kind for kind in kinds if kind == "disk" and not os.path.ismount(study.parent)}
    out |= {"slow", "clock"} if "ODD_MACHINE" not in os.environ else set()
    known = [kind for kind in kinds if kind not in out]
    kind = chance.choice(known)
    kinds[kind](study, pid, chance, args.pause)
    return kind


def kill(study: Path, pid: int, chance: random.Random, _: float) -> None:
    send(chance.choice([pid, *workers(study)]), signal.SIGKILL)


def crash(study: Path, pid: int, *_: object) -> None:
    for each in (pid, *workers(study)):
        send(each, signal.SIGKILL)


def interrupt(study: Path, pid: int, chance: random.Random, _: float) -> None:
    send(pid, chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))


def pause(study: Path, pid: int, chance: random.Random, seconds: float) -> None:
    victim = chance.choice([pid, *workers(study)])
    send(victim, signal.SIGSTOP)
    time.sleep(seconds)
    send(victim, signal.SIGCONT)


def memory(study: Path, pid: int, chance: random.Random, _: float) -> None:
    if found := workers(study):
        victim = chance.choice(found)
        with suppress(OSError, ValueError, IndexError):
            pages = int(Path(f"/proc/{victim}/statm").read_text().split()[0])
            hard = resource.prlimit(victim, resource.RLIMIT_AS)[1]
            resource.prlimit(victim, resource.RLIMIT_AS, (pages * resource.getpagesize(), hard))


def disk(study: Path, pid: int, chance: random.Random, seconds: float) -> None:
    ballast = study.parent / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    time.sleep(seconds)
    ballast.unlink(missing_ok=True)


def slow(study: Path, pid: int, chance: random.Random, seconds: float) -> None:
    ask_of_machine(slow=SLOW)
    time.sleep(seconds)
    ask_of_machine(slow=0)


def clock(study: Path, pid: int, chance: random.Random, _: float) -> None:
    ask_of_machine(clock=-chance.randint(1, 86_400))


def odd_machine(folder: Path) -> None:
    """Lets what is started from now on have a slow disk and a wrong clock, where there is a C compiler."""
    library, asked = folder / "odd_machine.so", folder / "odd_machine"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, ODD, "-ldl"], check=True)
    except (OSError, subprocess.CalledProcessError):
        print("chaos: no C compiler, so neither slow disks nor wrong clocks", file=sys.stderr)
        return
    asked.write_bytes(bytes(16))
    os.environ |= {"LD_PRELOAD": str(library), "ODD_MACHINE": str(asked)}


def ask_of_machine(**values: int) -> None:
    """Sets `slow` (microseconds a write) or `clock` (seconds that it is ahead)."""
    if path := os.environ.get("ODD_MACHINE"):
        with open(path, "r+b", buffering=0) as file:  # in place: processes have it mapped
            for name, value in values.items():
                file.seek(8 * ["slow", "clock"].index(name))
                file.write(value.to_bytes(8, sys.byteorder, signed=True))


def workers(study: Path) -> list[int]:
    """The processes that train for a study, whoever started them."""
    inside = f"{study}/".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if any(word.startswith(inside) for word in path.read_bytes().split(b"\0")):
                found.append(int(path.parent.name))
    return sorted(found)


def send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@contextmanager
def file_system(place: Path) -> Iterator[None]:
    """A small file system in memory at `place` where that is allowed; else a folder."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=False)
        shutil.rmtree(place, ignore_errors=True)


# -------------------------------------------------------------------------------------- comparison


def differences(calm: Path, study: Path) -> list[str]:
    """The files of a study that should be those of the calm one, and are not."""
    wrong = []
    for folder in sorted(path.parent for path in calm.glob("*/result.json")):
        other = study / folder.name
        same_clock(folder, other)
        for name in (*MODELS, "result.json", "documents.json", "recipe.json", "settings.json"):
            if not (other / name).exists() or digest(folder / name) != digest(other / name):
                wrong.append(f"{folder.name}/{name}")
    if not wrong:
        write_report(calm)
        write_report(study)
        wrong = [name for name in FILES if (calm / name).read_bytes() != (study / name).read_bytes()]
    return wrong


def same_clock(calm: Path, run: Path) -> None:
    """Puts what a clock measured of the calm run in the place of what it measured of the other."""
    if not (run / "result.json").exists():
        return
    ours, theirs = (read_json(folder / "result.json") for folder in (calm, run))
    changed: dict[str, Any] = {**theirs, "train": ours["train"]}
    if "seconds" in ours["curve"] and "seconds" in theirs["curve"]:
        changed["curve"] = {**theirs["curve"], "seconds": ours["curve"]["seconds"]}
    for folder, result in ((calm, ours), (run, changed)):  # in one form
        write_json(folder / "result.json", result)
    for name in ("speed.json", "env.json"):
        if (calm / name).exists():
            shutil.copy(calm / name, run / name)


def _words(args: argparse.Namespace) -> dict[str, Any]:
    return {name: value if isinstance(value, int | float | list) else str(value) for name, value in vars(args).items()}


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="text to train on")
    parser.add_argument("--runs", default="all", help="runs of the study (default: all)")
    parser.add_argument("--bytes", default="100k", help="bytes that each run reads (default: %(default)s)")
    parser.add_argument("--eval-bytes", default="4k", help="bytes scored at the end of each (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of training")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=10, help="studies that are struck (default: %(default)s)")
    parser.add_argument("--strikes", type=int, default=4, help="strikes a trial (default: %(default)s)")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds that a pause lasts (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first trial; the next has the next")
    parser.add_argument("--folder", type=Path, help="where to work (default: the folder for temporary files)")
    parser.add_argument("--json", type=Path, help="file for the results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
