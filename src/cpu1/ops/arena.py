"""The C library's memory arena, kept from one training step to the next."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def retain_memory() -> bool:
    """Makes the C library keep freed memory until the process ends. Returns False where it cannot (not glibc).

    By default glibc returns large blocks to the system, and each step allocates the same ones again. Each page then
    costs a page fault and zeroing, often more than the arithmetic on it. Call this before training.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(M_TRIM_THRESHOLD, 2**31 - 1) == 1 and mallopt(M_MMAP_MAX, 0) == 1
