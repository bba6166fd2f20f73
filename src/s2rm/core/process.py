"""Memory that a training frees is kept for its next step, not given back to the system.

glibc maps a large block anew each time and unmaps it when it is freed: each step of a training on a CPU
would have the kernel clear gigabytes of pages (mallopt(3): M_MMAP_THRESHOLD, M_TRIM_THRESHOLD).
"""

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of malloc.h
KEPT = 2**31 - 1  # bytes that may lie free at the heap's end
TOP_PAD = 64 * 2**20  # bytes that the heap grows by


def keep_freed_memory() -> None:
    """For this process from now on; does nothing where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, KEPT)
    mallopt(M_TOP_PAD, TOP_PAD)
