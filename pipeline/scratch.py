"""Where the state of a training lies until DVC has its results: not where DVC deletes before a stage runs.

A finished state is kept too. Were the machine to stop before DVC has taken the model into its cache, the next
`dvc repro` would delete the model and run the stage again, which then ends at once. Evaluation, which DVC
starts only after that, discards it.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from context import ROOT
from filelock import FileLock, Timeout

from s2rm.config.params import Params, Run
from s2rm.training.fingerprint import fingerprint

logger = logging.getLogger(__name__)

SCRATCH = ROOT / ".scratch"
FINISHED = "finished"  # holds the digest of what the training left


def scratch_of(params: Params, run: Run, prepared: Path, weights: Path) -> Path:
    return SCRATCH / fingerprint(params, run, prepared, weights)


@contextmanager
def hold(scratch: Path) -> Iterator[None]:
    """For one process: another one with the same training waits, and then finds it finished."""
    lock = FileLock(SCRATCH / f"{scratch.name}.lock")
    SCRATCH.mkdir(exist_ok=True)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        logger.info("the same training runs in another process: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def mark_finished(scratch: Path, model: Path) -> None:
    (scratch / FINISHED).write_text(_digest(model), encoding="utf-8")


def discard_finished(model: Path) -> None:
    """The states that have led to this model."""
    digest = _digest(model)
    for mark in SCRATCH.glob(f"*/{FINISHED}"):
        if mark.read_text(encoding="utf-8") == digest:
            shutil.rmtree(mark.parent, ignore_errors=True)  # an evaluation beside this one may do it too


def _digest(model: Path) -> str:
    return hashlib.sha256((model / "history.jsonl").read_bytes()).hexdigest()
