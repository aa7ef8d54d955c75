"""Runs a command for as long as its owner lives: `python -m cpu1.study.lifeline COMMAND...`.

The owner is a worker of a cluster, which may be killed at any time and must not leave a training process behind. It
holds the other end of standard input. A byte from there is passed on as SIGINT; the end of it asks the command to save
and leave, and then ends it by force. The exit status is the command's, modulo 256; `status_of` reads it.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys

SAVING = 30.0  # seconds that a command gets to save when its owner is gone
TICK = 0.1  # seconds between two looks at the command
STATUSES = 256
SIGNALS = 64  # an exit status cannot be negative, so the last ones are those of signals: 256 - 9 is SIGKILL
DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


def main(words: list[str]) -> int:
    """Runs the command; returns its exit status from 0 to 255.

    It has one thread: Linux signals a child at the death of each of its parent's threads, and a second signal kills.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # Ray's workers block SIGINT, and children inherit that
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_prepare)
    while process.poll() is None:
        if select.select([0], [], [], TICK)[0]:
            if not os.read(0, 1):
                return _end(process) % STATUSES
            process.send_signal(signal.SIGINT)
    return process.returncode % STATUSES


def _prepare() -> None:
    """In the child: the usual handling of signals, and on Linux SIGHUP when this process is killed.

    Not SIGTERM: a cluster that loses the owner closes its pipe and kills this process within moments. The command may
    then have had its SIGTERM, and takes a second one as impatience.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGHUP, 0, 0, 0)


def _end(process: subprocess.Popen[bytes]) -> int:
    """The owner is gone: asks the command to save and leave, then ends it by force."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(SAVING)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def status_of(code: int) -> int:
    """The command's exit status by that of this module; negative for a signal, as in `subprocess`."""
    return code - STATUSES if code >= STATUSES - SIGNALS else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
