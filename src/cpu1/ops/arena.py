"""Memory that a training step gets back as it left it."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def retain_memory() -> bool:
    """Makes the C library keep what is freed until the process ends; False where it cannot (not glibc).

    By default glibc gives large blocks back to the system, and each step asks for the same ones again: each
    page then costs a fault and zeroing, often more than the arithmetic on it. Call it before training.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(M_TRIM_THRESHOLD, 2**31 - 1) == 1 and mallopt(M_MMAP_MAX, 0) == 1
