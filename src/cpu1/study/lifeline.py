"""Runs a command for as long as its owner lives: `python -m cpu1.study.lifeline COMMAND...`.

The owner is a worker of a cluster, which may be killed at any time and must not leave a training process behind. It
holds the other end of standard input. A byte from there is passed on as SIGINT; the end of it asks the command to save
and leave, and then ends it by force. The exit status is the command's, modulo 256; `status_of` reads it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

SAVING = 30.0  # seconds that a command gets to save when its owner is gone
STATUSES = 256
SIGNALS = 64  # an exit status cannot be negative, so the last ones are those of signals: 256 - 9 is SIGKILL
DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


def main(words: list[str]) -> int:
    """Runs the command; returns its exit status from 0 to 255."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # Ray's workers block SIGINT, and children inherit that
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_prepare)
    threading.Thread(target=_obey, args=(process,), daemon=True).start()
    return process.wait() % STATUSES


def _prepare() -> None:
    """In the child: the usual handling of signals, and on Linux SIGTERM when this process is killed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)


def _obey(process: subprocess.Popen[bytes]) -> None:
    """Passes the owner's wishes on until it is gone, and then ends the command."""
    with contextlib.suppress(ProcessLookupError):
        while os.read(0, 1):
            process.send_signal(signal.SIGINT)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SAVING)
            return
        os.killpg(process.pid, signal.SIGKILL)


def status_of(code: int) -> int:
    """The command's exit status by that of this module; negative for a signal, as in `subprocess`."""
    return code - STATUSES if code >= STATUSES - SIGNALS else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
