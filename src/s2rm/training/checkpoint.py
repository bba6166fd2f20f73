"""Save the state of an unfinished training, from which the same command resumes it bit-exactly.

A state is written beside the previous one, with its checksum, and then moved into place; the previous one is
kept. Whatever happens while it is written, or to the disk afterwards, one intact state remains.
"""

import errno
import hashlib
import io
import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from s2rm.core.errors import UserError
from s2rm.core.files import partial_of

logger = logging.getLogger(__name__)

MAGIC = b"s2rm state 1\n"  # followed by 32 bytes, the SHA-256 of the rest
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class Progress:
    """The progress of a training."""

    epoch: int = 0
    """Finished epochs."""
    batch: int = 0
    """Finished batches of the current epoch, in each process."""
    step: int = 0
    """Finished optimiser steps."""
    best: float = -1.0
    """The best value of `train.select_by` so far, percent."""
    seen: int = 0
    """Expressions of the current epoch so far, counted by the main process for all."""
    sums: dict[str, float] = field(default_factory=dict)
    """The parts of the loss, summed over these expressions."""
    skips: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Optimiser steps that were skipped, since their gradient was not finite: all, and the last in a row."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One record per validation."""

    def finish_epoch(self) -> None:
        """Count the current epoch as finished."""
        self.epoch, self.batch, self.seen, self.sums = self.epoch + 1, 0, 0, {}


@dataclass
class RngState:
    """The states of torch's random number generators in one process."""

    cpu: torch.Tensor
    cuda: torch.Tensor | None

    @classmethod
    def now(cls) -> Self:
        """Copy the states that the generators have now."""
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None)

    def restore(self) -> None:
        """Set the generators to these states."""
        torch.set_rng_state(self.cpu)
        if self.cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.cuda)


def previous_of(path: Path) -> Path:
    """Return the path under which the state before the last one is kept."""
    return path.with_name(f"{path.stem}-previous{path.suffix}")


class StateWriter:
    """Writes states to a file on another thread, while the training goes on.

    A context manager; at its end the last state is on disk.
    """

    def __init__(self, path: Path) -> None:
        """Write to the file `path`."""
        self.path = path
        self.thread = ThreadPoolExecutor(1)
        self.writing: Future[None] | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the last state; where something else went wrong, that is what is raised."""
        self.thread.shutdown()
        if kind is None:
            self.wait()

    def save(self, progress: Progress, rng_states: list[RngState], **states: Any) -> None:
        """Copy a state into memory and begin to write it; on an error the last state is left as it was.

        Args:
            progress: how far the training is.
            rng_states: one per process.
            states: name → an object with a `state_dict`.

        Raises:
            UserError: the state before this one could not be written.
        """
        self.wait()
        payload = io.BytesIO()
        content = {name: value.state_dict() for name, value in states.items()}
        generators = [(rng_state.cpu, rng_state.cuda) for rng_state in rng_states]
        torch.save({"progress": asdict(progress), "random": generators, **content}, payload)
        self.writing = self.thread.submit(_write, self.path, payload, progress.step)

    def wait(self) -> None:
        """Wait until the state is on disk.

        Raises:
            UserError: the disk is full or cannot be written to.
        """
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()


def _write(path: Path, payload: io.BytesIO, step: int) -> None:
    part = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(MAGIC + hashlib.sha256(payload.getbuffer()).digest())
            file.write(payload.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            path.replace(previous_of(path))
        part.replace(path)
    except OSError as error:
        if error.errno in DISK_FULL:
            part.unlink(missing_ok=True)
        raise UserError(
            f"the state after step {step} cannot be written to {path.parent}: "
            f"{error.strerror}; make room or repair the disk, and run the same command: it continues from "
            "the last state that was written"
        ) from error


def load_state(path: Path, process: int = 0, **states: Any) -> tuple[Progress, RngState | None]:
    """Load the state that was written last into the given objects.

    A damaged state is skipped with a warning, and the one before it is used.

    Args:
        path: the file.
        process: index of this process.
        states: name → an object with `load_state_dict`, named as for `StateWriter.save`.

    Returns:
        The progress, a fresh one where there is no state; and the state of the random number generators,
        None where there is none for this process, since another number of processes wrote the state. The
        caller restores it once nothing else draws random numbers.
    """
    for candidate in (path, previous_of(path)):
        saved = _read(candidate)
        if saved is None:
            continue
        for name, value in states.items():
            value.load_state_dict(saved[name])
        generators = saved["random"]
        rng_state = RngState(*generators[process]) if process < len(generators) else None
        return Progress(**saved["progress"]), rng_state
    return Progress(), None


def _read(path: Path) -> dict[str, Any] | None:
    """Read a state file; None where it is missing or damaged."""
    if not path.exists():
        return None
    content = path.read_bytes()
    head = len(MAGIC) + hashlib.sha256().digest_size
    payload = memoryview(content)[head:]
    if content[:head] != MAGIC + hashlib.sha256(payload).digest():
        logger.warning(
            "%s is damaged: it is skipped, and the training since the state before it is lost", path
        )
        return None
    saved: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return saved
