"""Turn the failures of a model at work into messages for the user: memory, disk, and loader processes."""

import os
import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from safetensors import SafetensorError

from s2rm.core.errors import UserError

SHARED_MEMORY = "/dev/shm"
# What torch says where /dev/shm is full: the process that writes dies of it, or cannot write.
_SHARED = re.compile(r"Bus error|shared memory|\(shm\)|/torch_\d+_\d+")
_DIED = re.compile(r"DataLoader worker \(pid")
_NO_MEMORY = re.compile(r"not enough memory|can't allocate memory")  # torch's allocator on a CPU


@dataclass(frozen=True)
class Work:
    """What is at work, as the messages name it."""

    moment: Callable[[], str]
    """Says how far it is: "after step 7"."""
    workers: int
    """Loader processes."""
    workers_key: str
    """The parameter of them."""
    memory: str
    """What needs less memory: "lower evaluate.images_per_batch (16)"."""
    then: str
    """What the same command does afterwards."""


@contextmanager
def explained(work: Work) -> Iterator[None]:
    """Turn failures that the user can remove into a `UserError` of one line; others pass unchanged.

    Raises:
        UserError: the memory or the disk is full, the disk cannot be written to, or a loader process died
            or raised a `UserError` itself.
    """
    try:
        yield
    except UserError as error:
        line = re.sub(r"^s2rm[\w.]+: ", "", _last_line(error))  # a loader process adds the class
        raise UserError(line) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(_out_of_memory(work)) from error
    except (RuntimeError, OSError, EOFError, SafetensorError) as error:
        if message := _explain(error, work):
            _release(error)
            raise UserError(message) from error
        raise


def _release(error: BaseException) -> None:
    """Free what the frames of the error hold, a loader and its processes among it, without a word.

    While torch waits for a loader's processes to end, the signal that one of them died interrupts the wait
    with an error of its own, which Python prints with a traceback.
    """
    handler = signal.getsignal(signal.SIGCHLD)
    # No other thread may set a handler; torch does not either. None is one that Python cannot set again.
    quiet = threading.current_thread() is threading.main_thread() and handler is not None
    if quiet:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        cause: BaseException | None = error
        while cause is not None:
            traceback.clear_frames(cause.__traceback__)
            cause = cause.__cause__ or cause.__context__
    finally:
        if quiet:
            signal.signal(signal.SIGCHLD, handler)


def _explain(error: Exception, work: Work) -> str | None:
    text, when = str(error), work.moment()
    if work.workers and _SHARED.search(text):
        return (
            f"shared memory ran out {when}: {_describe_shared_memory()}; enlarge it (docs/cluster.md#shared-"
            f"memory), or lower {work.workers_key} ({work.workers}); {work.then}"
        )
    # The others: it died while it passed on a batch.
    if _DIED.search(text) or (work.workers and isinstance(error, ConnectionError | EOFError)):
        return (
            f"a loader process died {when}, possibly because memory ran out: lower {work.workers_key} "
            f"({work.workers}); {work.then}"
        )
    if _NO_MEMORY.search(text):
        return _out_of_memory(work)
    if isinstance(error, OSError | SafetensorError):  # the weights' writer has an exception of its own
        return f"{when}: {_last_line(error)}; make room or repair the disk, then {work.then}"
    return None


def _out_of_memory(work: Work) -> str:
    return f"out of memory {work.moment()}: {work.memory}"


def _last_line(error: Exception) -> str:
    """Return the message itself: from a loader process torch passes on the whole traceback."""
    return next(reversed(str(error).strip().splitlines()), type(error).__name__)


def _describe_shared_memory() -> str:
    try:
        size = os.statvfs(SHARED_MEMORY)
    except OSError:
        return f"{SHARED_MEMORY} cannot be read"
    return f"{SHARED_MEMORY} has {size.f_blocks * size.f_frsize / 2**30:.2g} GiB"
