"""Runs every fuzzer for a while and prints a line for each: python fuzz/run.py SECONDS [ROUNDS]

Fuzzers of the engine need Clang, those of the readers in Python need atheris; what is missing is named and left out.
New inputs that reach new code are kept in build/fuzz/, from where the next run starts. What a fuzzer finds is there
too, as TARGET/crash-*. ROUNDS repeats the whole (default: once). docs/fuzzing.md has more.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORPUS, WORK = ROOT / "fuzz" / "corpus", ROOT / "build" / "fuzz"
NATIVE = {"fuzz_packed": "packed", "fuzz_state": "state", "fuzz_archive": "archive", "fuzz_program": "program"}
READERS = ("archive", "adapter", "packed", "tokenizer", "recipe", "settings")
LIMITS = ["-timeout=30", "-rss_limit_mb=3000", "-malloc_limit_mb=512", "-max_len=65536"]
# a model may ask for more memory than there is: that is an error with words, not a crash
ASAN = "allocator_may_return_null=1:detect_leaks=1"


def built() -> Path | None:
    """The folder of the engine's fuzzers, or None without Clang or CMake."""
    clang = next((name for name in ("clang++", "clang++-19", "clang++-16") if shutil.which(name)), None)
    if not clang or not shutil.which("cmake"):
        print("no clang++ or no cmake: the engine is not fuzzed (Debian: apt-get install clang cmake)")
        return None
    folder = ROOT / "build" / "fuzzers"
    options = [f"-DCMAKE_CXX_COMPILER={clang}", "-DCPU1_FUZZ=ON", "-DCPU1_SETS=portable", "-DCPU1_OPTIMISE=-O2"]
    for command in (
        ["cmake", "-S", str(ROOT / "native"), "-B", str(folder), *options],
        ["cmake", "--build", str(folder), "--parallel", str(os.cpu_count() or 1), "--target", "fuzzers"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stdout[-2000:] + done.stderr[-4000:])
    return folder / "engine"


def commands() -> dict[str, tuple[list[str], str]]:
    """How each fuzzer is called, and the corpus that it starts from."""
    out: dict[str, tuple[list[str], str]] = {}
    folder = built()
    if folder:
        out |= {f"engine: {corpus}": ([str(folder / name)], corpus) for name, corpus in NATIVE.items()}
    if importlib.util.find_spec("atheris"):
        script = [sys.executable, str(ROOT / "fuzz" / "readers.py")]
        out |= {f"python: {name}": ([*script, name], name) for name in READERS}
        if importlib.util.find_spec("uvicorn"):
            out["python: server"] = ([sys.executable, str(ROOT / "fuzz" / "connections.py")], "server")
    else:
        print("no atheris: the readers in Python are not fuzzed (pip install atheris)")
    return out


def run(name: str, command: list[str], corpus: str, seconds: int) -> bool:
    """One fuzzer for so long; whether it counted code and found nothing."""
    folder = WORK / name.replace(": ", "-")
    (kept := folder / "corpus").mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", "-print_final_stats=1", *LIMITS]
    begin = time.monotonic()
    done = subprocess.run(
        [*command, str(kept), str(CORPUS / corpus), *options],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "ASAN_OPTIONS": ASAN, "OMP_NUM_THREADS": "1"},
    )
    log = done.stdout + done.stderr
    (folder / "log.txt").write_text(log, encoding="utf-8")
    tried = re.findall(r"number_of_executed_units:\s*(\d+)", log) or re.findall(r"^#(\d+)\s", log, re.MULTILINE)
    reached = re.findall(r"cov: (\d+) ft: (\d+)", log)
    where = "{} places, {} of their counts".format(*reached[-1]) if reached else "NO COVERAGE"
    said = "nothing found" if done.returncode == 0 else f"FOUND SOMETHING: see {folder}"
    print(
        f"{name}: {int(tried[-1] if tried else 0):,} inputs in {time.monotonic() - begin:.0f} s, {where}: {said}",
        flush=True,
    )
    if done.returncode:
        print(done.stdout[-2000:] + done.stderr[-3000:], flush=True)  # Python's tracebacks are in the first
    return done.returncode == 0 and bool(reached)  # a fuzzer that does not see what it reaches only guesses


def main() -> None:
    """Exits with 1 where a fuzzer found something, or counted no code that it reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=int, help="for each fuzzer")
    parser.add_argument("rounds", type=int, nargs="?", default=1, help="how often (default: once)")
    parser.add_argument("--only", default="", help="fuzzers whose names have this in them")
    parser.add_argument("--jobs", type=int, default=1, help="fuzzers at a time (default: 1)")
    arguments = parser.parse_args()
    chosen = {name: how for name, how in commands().items() if arguments.only in name}
    fine: list[bool] = []
    for _ in range(arguments.rounds):
        with ThreadPoolExecutor(arguments.jobs) as pool:
            waiting = [pool.submit(run, name, *how, arguments.seconds) for name, how in chosen.items()]
        fine += [each.result() for each in waiting]
    print(f"{len(fine)} runs of fuzzers, {fine.count(False)} found something or saw no code")
    sys.exit(not all(fine))


if __name__ == "__main__":
    main()
