"""Sessions in threads, in forked and spawned processes, at the end of the interpreter, and under signals."""

import asyncio
import gc
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.native_build import ROOT, build

import cpu1
from cpu1.runtime import engine
from cpu1.runtime.engine import NativeFile
from cpu1.runtime.streams import NativeStream

MODEL = ROOT / "checkpoints" / "default.cpu1"  # large enough for threads to have work
TEXT = b"Signals, forks and threads: " * 20
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
native_only = pytest.mark.skipif(not engine.available(), reason="installed without the native engine")
START = f"""
import gc, os, signal, sys, threading, time
import numpy as np
from cpu1.runtime.engine import NativeFile
from cpu1.runtime.streams import NativeStream
TEXT = {TEXT!r}
model = NativeFile({str(MODEL)!r})
def cost(session):
    return float(session.score(TEXT).sum())
"""
FORK = """
def child(do):
    pid = os.fork()
    if not pid:
        try:
            code = do()
        except ValueError as error:
            print(error)
            code = 0
        sys.stdout.flush()
        os._exit(code or 0)
    deadline = time.monotonic() + 60
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            print("the child hangs")
            os.waitpid(pid, 0)
            return
        time.sleep(0.005)
    print("child ended with", ended[1])
"""


def script(text: str, start: str = START) -> str:
    """What a program says; it must end by itself, with exit code 0 and nothing on stderr."""
    words = [sys.executable, "-c", start + text]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


# ---------------------------------------------------------------------------------- forks


@forks
@native_only
@pytest.mark.parametrize("threads", [1, 3])
def test_a_session_goes_on_in_a_forked_child(threads):
    """Its threads are not there any more; new ones begin, and both processes compute the same."""
    said = script(
        FORK
        + f"""
session = NativeStream(model, threads={threads})
cost(session)
child(lambda: print("child", cost(session)))
print("parent", cost(session))
"""
    ).split("\n")
    assert said[1] == "child ended with 0"
    assert said[0].split()[1] == said[2].split()[1]


@forks
@native_only
def test_a_child_closes_sessions_and_ends():
    said = script(
        FORK
        + """
def close():
    global session
    session = None
    gc.collect()
session = NativeStream(model, threads=3)
cost(session)
child(close)
child(lambda: None)
print(cost(session) > 0)
"""
    )
    assert said.split("\n")[:3] == ["child ended with 0"] * 2 + ["True"]


@forks
@native_only
def test_a_session_that_was_busy_at_the_fork_is_refused_in_the_child():
    """It is half-way through a call that no thread will end. A new session of the same model works."""
    said = script(
        FORK
        + """
session = NativeStream(model, threads=2)
busy, stop = threading.Event(), False
def work():
    while not stop:
        busy.set()
        session.score(TEXT * 50)
thread = threading.Thread(target=work)
thread.start()
busy.wait()
time.sleep(0.02)
for _ in range(5):
    child(lambda: print("fresh", cost(NativeStream(model, threads=2))) or print("old", cost(session)))
stop = True
thread.join()
"""
    )
    assert said.count("fresh") == said.count("child ended with 0") == 5
    assert said.count("another thread was using this when the process forked") >= 1
    assert "hangs" not in said


def in_a_process(_: int) -> float:
    return float(np.sum(cpu1.load(MODEL).score(TEXT)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [m for m in ("fork", "spawn", "forkserver") if m in multiprocessing.get_all_start_methods()]
)
def test_pools_of_processes_compute_the_same(method):
    expected = in_a_process(0)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(in_a_process, range(3)) == [expected] * 3


# ---------------------------------------------------------------------------------- threads


@native_only
def test_sessions_of_one_model_in_many_threads():
    model = NativeFile(MODEL)
    expected = NativeStream(model).score(TEXT)
    with ThreadPoolExecutor(6) as pool:
        for nats in pool.map(lambda i: NativeStream(model, threads=1 + i % 3).score(TEXT), range(24)):
            np.testing.assert_array_equal(nats, expected)


@native_only
def test_threads_that_share_a_session_take_turns():
    """Each call is whole: the costs are those of some order of the calls."""
    session, part = NativeStream(NativeFile(MODEL)), TEXT[:64]
    expected = NativeStream(NativeFile(MODEL))
    whole = [expected.score(part) for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: session.score(part), range(8)))
    assert sorted(row.tobytes() for row in found) == sorted(row.tobytes() for row in whole)


@native_only
def test_a_code_is_finished_while_another_thread_still_codes():
    session = NativeStream(NativeFile(MODEL))
    encoder = session.encoder()
    thread = threading.Thread(target=lambda: [encoder.put(TEXT[:50]) for _ in range(20)])
    thread.start()
    while thread.is_alive():
        encoder.finish()
    thread.join()


@native_only
def test_sessions_are_collected_in_other_threads():
    model = NativeFile(MODEL)
    for threads in (1, 2):
        sessions = [NativeStream(model, threads=threads) for _ in range(8)]
        cycle: list = [sessions]
        cycle.append(cycle)
        del sessions, cycle
        thread = threading.Thread(target=gc.collect)
        thread.start()
        thread.join()


def test_asyncio_runs_a_model_in_threads_and_may_give_up():
    model = cpu1.load(MODEL)
    expected = model.score(TEXT)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        given_up = loop.run_in_executor(None, model.score, TEXT)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(given_up, 0)
        for nats in await asyncio.gather(*(asyncio.to_thread(model.score, TEXT) for _ in range(4))):
            np.testing.assert_array_equal(nats, expected)

    asyncio.run(main())


@native_only
@pytest.mark.slow
def test_sessions_under_the_thread_sanitizer(tmp_path):
    """Many sessions in many threads, as a program without Python."""
    options = {"CPU1_SANITIZE_THREADS": "ON", "CPU1_SETS": "portable", "CPU1_OPTIMISE": "-O1"}
    folder = build(ROOT / "native", tmp_path, ["sessions"], **options)
    # its memory must lie where it expects it
    fixed = ["setarch", "-R"] if shutil.which("setarch") else []
    words = [*fixed, folder / "engine" / "sessions", ROOT / "fuzz" / "corpus" / "packed" / "18.cpu1", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout == "24 sessions, 0 differ\n"


# ---------------------------------------------------------------------------------- the end, and signals


@native_only
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("daemon", [True, False])
def test_the_interpreter_ends_with_sessions_in_use(daemon, threads):
    """A thread that is in a call comes back to an interpreter that is no more."""
    said = script(
        f"""
session = NativeStream(model, threads={threads})
def work():
    for _ in range(1 << 20 if {daemon} else 3):
        session.score(TEXT)
for _ in range(3):
    threading.Thread(target=work, daemon={daemon}).start()
time.sleep(0.2)
print("end")
"""
    )
    assert said == "end\n"


@native_only
@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of Unix")
def test_a_signal_handler_may_use_a_model():
    """Also while the main thread is in a session: handlers run between its calls."""
    said = script(
        """
session, other = NativeStream(model, threads=2), NativeStream(model, threads=2)
seen = []
def handle(*_):
    seen.append((cost(other), session.next_logits().shape))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.01)
expected = [float(n) for n in NativeStream(model).score(TEXT * 2)]
until = time.monotonic() + 20
while len(seen) < 5 and time.monotonic() < until:
    session.score(TEXT)
signal.setitimer(signal.ITIMER_REAL, 0)
assert len(seen) >= 5
assert [float(n) for n in NativeStream(model).score(TEXT * 2)] == expected
print("fine")
"""
    )
    assert said == "fine\n"


@native_only
@pytest.mark.skipif(sys.platform != "linux", reason="/proc says which signals a thread takes")
def test_threads_of_a_session_take_no_signals():
    """Else a handler's signal could wake none of the program's own threads."""
    said = script(
        """
before = set(os.listdir("/proc/self/task"))
session = NativeStream(model, threads=3)
cost(session)
for task in set(os.listdir("/proc/self/task")) - before:
    status = open(f"/proc/self/task/{task}/status").read()
    blocked = int(status.split("SigBlk:")[1].split()[0], 16)
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV
    print([bool(blocked >> (number - 1) & 1) for number in numbers])
"""
    )
    assert said.splitlines() == ["[True, True, True, False]"] * 2


@native_only
def test_a_subinterpreter_is_refused_in_words():
    said = script(
        """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import cpu1._engine
code = '''
import importlib.util, sys
try:
    spec = importlib.util.spec_from_file_location("cpu1._engine", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    print("imported")
except ImportError as error:
    print("refused:", error)
sys.stdout.flush()
'''.replace("PATH", repr(cpu1._engine.__file__))
other = interpreters.create()
interpreters.run_string(other, code)
interpreters.destroy(other)
"""
    )
    assert said.startswith("refused: ")
    assert "subinterpreter" in said
