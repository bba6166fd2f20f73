"""The state of a training that was stopped, so that the same command continues it, to the same bits.

A state is written beside the last one, with its checksum, and moved into its place; the one before it is
kept. So whatever happens while it is written or afterwards on the disk, a whole one is left.
"""

import errno
import hashlib
import io
import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from s2rm.core.errors import UserError
from s2rm.core.files import partial_of

logger = logging.getLogger(__name__)

MAGIC = b"s2rm state 1\n"  # then the SHA-256 of what follows it, 32 bytes
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class Progress:
    """How far a training is; `history` holds one record a validation."""

    epoch: int = 0  # epochs done
    batch: int = 0  # batches done of the next one, by each process
    step: int = 0  # optimiser steps done
    best: float = -1.0  # the best value of train.select_by
    seen: int = 0  # expressions of the epoch so far, by the main process
    sums: dict[str, float] = field(default_factory=dict)  # of the losses over them
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class RngState:
    """The states of torch's random generators of one process."""

    cpu: torch.Tensor
    cuda: torch.Tensor | None

    @classmethod
    def now(cls) -> "RngState":
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None)

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.cuda)


def previous_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}-previous{path.suffix}")


def save_state(path: Path, progress: Progress, randoms: list[RngState], **states: Any) -> None:
    """Writes the progress, each process's random state and the state_dicts, whole or not at all.

    `UserError` where the disk is full or must not be written to; the last state is left as it was.
    """
    # By way of memory: torch's own writer hides why a disk refuses.
    payload = io.BytesIO()
    content = {name: value.state_dict() for name, value in states.items()}
    randoms_saved = [(random.cpu, random.cuda) for random in randoms]
    torch.save({"progress": asdict(progress), "random": randoms_saved, **content}, payload)
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
        if error.errno in FULL:
            part.unlink(missing_ok=True)
        raise UserError(
            f"the state after step {progress.step} cannot be written to {path.parent}: "
            f"{error.strerror}; make room or mend it, and run the same command: it continues from the "
            "last state that was written"
        ) from error


def load_state(path: Path, process: int = 0, **states: Any) -> tuple[Progress, RngState | None]:
    """Puts what `save_state` wrote last back into the given objects.

    A damaged state is left out with a warning, and the one before it taken. Where there is none, a fresh
    Progress. The random state is for the caller to restore, when nothing else is drawn any more; None where
    another number of processes has left the state.
    """
    for candidate in (path, previous_of(path)):
        saved = _read(candidate)
        if saved is None:
            continue
        for name, value in states.items():
            value.load_state_dict(saved[name])
        randoms = saved["random"]
        random = RngState(*randoms[process]) if process < len(randoms) else None
        return Progress(**saved["progress"]), random
    return Progress(), None


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    content = path.read_bytes()
    head = len(MAGIC) + hashlib.sha256().digest_size
    payload = memoryview(content)[head:]
    if content[:head] != MAGIC + hashlib.sha256(payload).digest():
        logger.warning(
            "%s is damaged: it is left out, and what was trained since the one before is lost", path
        )
        return None
    saved: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return saved
