"""Change settings of the whole process: threads, memory and determinism.

Only entry points (the scripts of pipeline/ and benchmarks/, and the command line) call these functions. A
library call must not change the process that it runs in.
"""

import ctypes
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from s2rm.core.signals import ignore_stop_signals

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # from malloc.h
KEPT = 2**31 - 1  # bytes that may stay free at the end of the heap
TOP_PAD = 64 * 2**20  # bytes that the heap grows by


# With one of these the user, a launcher or a scheduler has arranged the threads already.
ARRANGED = (
    *("OMP_PROC_BIND", "OMP_PLACES", "OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OMP_WAIT_POLICY"),
    *("GOMP_SPINCOUNT", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "S2RM_LAUNCH", "RANK", "WORLD_SIZE"),
)
NVIDIA = Path("/dev/nvidiactl")  # exists where an NVIDIA driver is loaded

_cores: set[int] = set()  # those that the process might use before its threads were bound


def bind_threads() -> None:
    """Keep each OpenMP thread on a core of its own; to be called before torch is imported.

    OpenMP's threads wait for each other several thousand times in a training step, by spinning. On a machine
    with another busy process a waiting thread takes the core that the thread it waits for needs, and a step
    becomes 3 to 20 times slower; with a thread per core, twice. An idle machine is as fast as before, and no
    result changes (benchmarks/busy.py). Nothing is done where the threads are arranged already, on a machine
    with a GPU, whose training waits for loader processes rather than threads, and outside of Linux.
    """
    if hasattr(os, "sched_getaffinity"):
        _cores.update(os.sched_getaffinity(0))
        os.environ.update(choose_binding(os.environ, gpu=NVIDIA.exists()))


def choose_binding(environment: Mapping[str, str], *, gpu: bool) -> dict[str, str]:
    """Return the variables that `bind_threads` adds to the environment."""
    if gpu or any(environment.get(name) for name in ARRANGED):
        return {}
    return {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"}


def get_cores() -> frozenset[int]:
    """Return the cores that threads and processes of this process may use; empty where nothing was bound."""
    return frozenset(_cores)


def use_cores(cores: frozenset[int]) -> None:
    """Let the calling thread or process use these cores, although the thread that started it is bound to one.

    Args:
        cores: what `get_cores` returned in the main process; empty changes nothing.
    """
    if cores:
        os.sched_setaffinity(0, cores)


def prepare_workers() -> Callable[[int], None]:
    """Return the `worker_init_fn` of loaders: their processes use all cores and leave signals to this one."""
    return partial(_start_worker, get_cores())


def _start_worker(cores: frozenset[int], worker: int) -> None:
    use_cores(cores)
    ignore_stop_signals(worker)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else tokenizers warns of the fork


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
