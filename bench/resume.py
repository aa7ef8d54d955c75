"""Kills a training run without warning, over and over: does it end as if nothing had happened?

    python bench/resume.py
    python bench/resume.py --kills 5 --steps 60 --json

A first run, with a checkpoint after every step, is left alone, and what it does when is noted. Its time – preparation,
steps, evaluation – is cut into as many pieces as there are kills, and a moment drawn in each. A second run is killed
(SIGKILL) at each moment, every other time only once it is writing a file, and started again. Its weights must be those
of the first, byte for byte.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect
from pathlib import Path
from typing import Any

LOOK = 0.002  # seconds between two looks at a run folder


def main() -> int:
    args = _args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), args.kills, args.steps, args.data, args.seed)
    if args.json:
        print(json.dumps(results))
    else:
        killed_at = ", ".join(map(str, results["killed_at"]))
        print(
            f"run_07 at demo, {results['steps']} steps: killed {results['kills']} times, "
            f"{results['inside_a_write']} of them inside a write, at steps {killed_at}\n"
            f"resumed {results['resumes']} times; weights {'identical' if results['identical'] else 'DIFFER'}; "
            f"{results['seconds']:.0f} s"
        )
    if results["kills"] < args.kills:
        print(f"the run ended after {results['kills']} of {args.kills} kills; give it more --steps", file=sys.stderr)
    return int(not results["identical"] or results["kills"] < args.kills)


def measure(folder: Path, kills: int, steps: int, data: str, seed: int) -> dict[str, Any]:
    """Trains the two runs in `folder`. Raises RuntimeError when a run, resumed, ends with an error."""
    begun = time.monotonic()
    alone, killed = (Run(folder / name, steps, data) for name in ("alone", "killed"))
    times = alone.finish()
    draws, reached, inside = random.Random(seed), [], 0
    for number in range(kills):
        moment = (number + draws.random()) / kills * times[-1]
        step = bisect(times, moment) - 1
        before, writing = killed.unfinished(), (kills - number) % 2 == 0  # not the last, behind which none may come
        if not killed.kill_at(step, moment - times[step], preparation=times[1], writing=writing):
            break
        reached.append(killed.newest())
        inside += bool(killed.unfinished() - before)
    killed.finish()
    weights = [(run.folder / "model.safetensors").read_bytes() for run in (alone, killed)]
    return {
        "kills": len(reached),
        "resumes": killed.starts - 1,
        "identical": weights[0] == weights[1],
        "seconds": time.monotonic() - begun,
        "steps": steps,
        "killed_at": reached,
        "inside_a_write": inside,
    }


class Run:
    """A run of `steps` steps, in whatever process is at work on it."""

    def __init__(self, folder: Path, steps: int, data: str) -> None:
        self.folder, self.starts = folder, 0
        self.command = [sys.executable, "-m", "cpu1", "train", "07", "--scale", "demo", "--data", data]
        self.command += ["--set", f"steps={steps}", "--checkpoint-seconds", "0", "--threads", "1", "--quiet"]
        self.command += ["--eval-bytes", "64k", "--out", str(folder)]
        folder.mkdir()

    def start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(self.command, stdout=log, stderr=log)

    def newest(self) -> int:
        """The step of the newest checkpoint, or 0."""
        return max((int(path.name[:9]) for path in self.folder.glob("checkpoints/[0-9]*")), default=0)

    def unfinished(self) -> set[Path]:
        """Files that are being written, or were when a process died."""
        return set(self.folder.rglob(".*"))

    def finish(self) -> list[float]:
        """Lets it run to its end: when, in seconds, it started (0), wrote each checkpoint, and was done."""
        begun, times, seen, process = time.monotonic(), [0.0], 0, self.start()
        while process.poll() is None and not (self.folder / "result.json").exists():
            if (now := self.newest()) > seen:
                times += [time.monotonic() - begun] * (now - seen)
                seen = now
            time.sleep(LOOK)
        times.append(time.monotonic() - begun)
        self.check(process)
        return times

    def kill_at(self, step: int, after: float, preparation: float, writing: bool) -> bool:
        """Starts it, and kills it `after` seconds behind checkpoint `step` (0: behind the start).

        A run that starts there already first gets the time of its preparation. `writing`: from that moment on it waits
        for a file being written. False when the run came to its end before.
        """
        here, before, process = self.newest(), self.unfinished(), self.start()
        while self.newest() < step and process.poll() is None:
            time.sleep(LOOK)
        time.sleep(after + (preparation if 0 < step <= here else 0.0))
        while writing and self.unfinished() <= before and process.poll() is None:
            pass
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            return True
        self.check(process)
        return False

    def check(self, process: subprocess.Popen[bytes]) -> None:
        """Waits for its end. Raises RuntimeError when that is an error."""
        if process.wait():
            log = (self.folder / "log.txt").read_text(errors="replace")
            raise RuntimeError(f"start {self.starts} ended with status {process.returncode}:\n{log}")


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="default: 20")
    parser.add_argument("--steps", type=int, default=300, help="default: 300")
    parser.add_argument("--data", default="python-stdlib", help="text (default: python-stdlib)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
