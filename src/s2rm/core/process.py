"""Change settings of the whole process: memory and determinism.

Only entry points (the scripts of pipeline/ and benchmarks/) call these functions. A library call must not
change the process that it runs in.
"""

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # from malloc.h
KEPT = 2**31 - 1  # bytes that may stay free at the end of the heap
TOP_PAD = 64 * 2**20  # bytes that the heap grows by


def keep_freed_memory() -> None:
    """Keep freed memory in the process instead of returning it to the system after every step.

    By default glibc maps each large block when it is allocated and unmaps it when it is freed, so that the
    kernel clears gigabytes of pages at every step of a training on a CPU (mallopt(3): M_MMAP_THRESHOLD,
    M_TRIM_THRESHOLD). Where the C library is not glibc, nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, KEPT)
    mallopt(M_TOP_PAD, TOP_PAD)


def make_deterministic(deterministic: bool) -> None:
    """Choose whether torch uses deterministic kernels; it warns of a kernel that has no deterministic form.

    Args:
        deterministic: the parameter `train.deterministic`.
    """
    import torch

    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # By default determinism also fills uninitialised memory, which costs one pass over every new tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
