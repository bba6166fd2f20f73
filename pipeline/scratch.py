"""Folders for the states of trainings, where DVC does not delete them before it runs a stage again.

A finished state is kept too. If the machine stops before DVC has put the model into its cache, the next
`dvc repro` deletes the model and runs the stage again, which then ends at once. Evaluation, which DVC
starts only after that, discards the state.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from paths import SCRATCH

logger = logging.getLogger(__name__)

FINISHED = "finished"  # contains the digest of the training's results


@contextmanager
def locked(scratch: Path) -> Iterator[None]:
    """Hold the state in `scratch` for one process.

    A second process with the same training waits, and then finds it finished.
    """
    lock = _lock_of(scratch)
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


def is_locked(scratch: Path) -> bool:
    """Return whether another process holds the state in `scratch`."""
    lock = _lock_of(scratch)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False


def find_unfinished() -> list[Path]:
    """Return the folders with the state of a training that did not end and does not run, the latest first."""
    folders = {state.parent for state in SCRATCH.glob("*/state*.pt")}
    unfinished = [folder for folder in folders if not (folder / FINISHED).exists() and not is_locked(folder)]
    return sorted(unfinished, key=_get_time, reverse=True)


def mark_finished(scratch: Path, model: Path) -> None:
    """Note that the state in `scratch` has led to `model`."""
    (scratch / FINISHED).write_text(_digest(model), encoding="utf-8")


def discard_finished(model: Path) -> None:
    """Delete the states that have led to `model`."""
    digest = _digest(model)
    for mark in SCRATCH.glob(f"*/{FINISHED}"):
        if mark.read_text(encoding="utf-8") == digest:
            shutil.rmtree(mark.parent, ignore_errors=True)  # another evaluation may do it at the same time


def _lock_of(scratch: Path) -> FileLock:
    return FileLock(SCRATCH / f"{scratch.name}.lock")


def _get_time(folder: Path) -> float:
    try:
        return folder.stat().st_mtime  # a file was written in it
    except FileNotFoundError:  # discarded meanwhile
        return 0.0


def _digest(model: Path) -> str:
    return hashlib.sha256((model / "history.jsonl").read_bytes()).hexdigest()
