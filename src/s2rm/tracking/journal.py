"""Keep the record of a training on this machine: an append-only file, the truth about it.

    .tracking/<id>/run.jsonl     what a training has logged, one event per line
    .tracking/<id>/lock          held by the process that trains, or that sends the record to MLflow
    .tracking/<id>/evaluations/  what reports have published of it, see evaluations.py

The id is our own. A line that was cut, because the process was killed, is skipped.
"""

import errno
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, BinaryIO, Self

from filelock import FileLock, Timeout

from s2rm.core.errors import StoppedError, UserError

logger = logging.getLogger(__name__)

FOLDER, FILE = ".tracking", "run.jsonl"
STOPS = (KeyboardInterrupt, StoppedError)
# What a line must have to be an event.
EVENTS: dict[str, set[str]] = {
    "open": {"time", "name", "experiment"},
    "resume": {"time"},
    "metrics": {"time", "step", "values"},
    "json": {"name", "content"},
    "end": {"time", "status"},
}
TAIL = 1 << 16  # bytes, more than an end has


def find_journals(root: Path) -> list[Path]:
    """Return the journals of all trainings of the project, in the order in which they were begun."""
    return sorted((root / FOLDER).glob(f"*/{FILE}"), key=lambda path: read_head(path).get("time", 0))


def journal_of(root: Path, identity: str) -> Path:
    """Return where the journal of the training with this id is, or would be."""
    return root / FOLDER / identity / FILE


@contextmanager
def held(record: Path) -> Iterator[bool]:
    """Hold a record, a folder of .tracking/, if no other process does; yield whether it is held.

    Raises:
        UserError: its folder cannot be written.
    """
    lock = FileLock(record / "lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise UserError(f"cannot lock {record}: {error.strerror}") from None
    try:
        yield True
    finally:
        lock.release()


def read_events(journal: Path, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """Return the events from `offset` on, each with the offset behind it, in bytes.

    Raises:
        UserError: the file cannot be read.
    """
    with _opened(journal) as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):  # being written
                return
            offset += len(line)
            event = _parse(line)
            if event:
                yield event, offset


def read_head(journal: Path) -> dict[str, Any]:
    """Return the first event, which names the training; {} where it was cut."""
    return next((event for event, _ in read_events(journal) if event["event"] == "open"), {})


def read_status(journal: Path, running: bool) -> tuple[str, int | None]:
    """Return MLflow's status of a training, and the time of its last event in milliseconds since 1970.

    A training that has neither an end nor a process was killed.
    """
    with _opened(journal) as file:
        file.seek(max(0, journal.stat().st_size - TAIL))
        events = [event for event in map(_parse, file.readlines()) if event]
    last: dict[str, Any] = events[-1] if events else {"event": "", "time": None}
    if last["event"] == "end":
        return str(last["status"]), last["time"]
    return "RUNNING" if running else "KILLED", last["time"]


class Journal:
    """The journal of a training in this process; several threads may write to it.

    Args:
        root: folder of the project.
        identity: id of an interrupted training, which is continued; None begins a new one.
        head: of a new one: name, experiment, tags and params.

    Attributes:
        identity: our own id of the training.
        path: the file.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, root: Path, identity: str | None, head: Mapping[str, Any]) -> None:
        known = bool(identity) and journal_of(root, str(identity)).exists()
        self.identity = str(identity) if known else uuid.uuid4().hex
        self.path = journal_of(root, self.identity)
        self._last: dict[str, int] = {}
        self._failed = self._ended = False
        self._writing = RLock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path.parent / "lock")
            self._lock.acquire()
            self._file = self.path.open("ab", buffering=0)
            if known:
                for event, _ in read_events(self.path):
                    self._last |= dict.fromkeys(event.get("values", ()), event.get("step", 0))
                self._file.write(b"\n")  # ends a line that was cut
        except OSError as error:
            raise UserError(f"cannot write the training's record {self.path}: {error.strerror}") from None
        self._append("resume" if known else "open", **({} if known else head))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Note how the training ended; what is logged after that is ignored."""
        bad = "KILLED" if kind and issubclass(kind, STOPS) else "FAILED"
        with self._writing:
            self._append("end", status=bad if kind else "FINISHED")
            self._ended = True

    def close(self) -> None:
        """Let other processes have the record."""
        self._file.close()
        self._lock.release()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Note one value per metric at this optimiser step.

        Steps after the last saved state are computed again, to the same bits: each is noted once.
        """
        with self._writing:
            new = {name: float(value) for name, value in metrics.items() if step > self._last.get(name, -1)}
            if new:
                self._last |= dict.fromkeys(new, step)
                self._append("metrics", step=step, values=new)

    def log_next(self, metrics: Mapping[str, float]) -> None:
        """Note values whose steps are counted by themselves, such as those of the machine."""
        with self._writing:
            step = 1 + max((self._last.get(name, -1) for name in metrics), default=0)
            if metrics:
                self.log(metrics, step)

    def log_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Note a JSON file of this name."""
        with self._writing:
            self._append("json", name=name, content=dict(content))

    def _append(self, event: str, **content: Any) -> None:
        if self._ended:
            return
        line = json.dumps({"event": event, "time": time.time_ns() // 1_000_000, **content}, default=str)
        data = f"{line}\n".encode()
        if self._failed:
            data = b"\n" + data  # ends a line that was cut
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._failed = False
        except OSError as error:  # the training itself may go on
            if not self._failed:
                logger.warning("the record of the training %s is not complete: %s", self.path, error.strerror)
            self._failed = True


def _opened(journal: Path) -> BinaryIO:
    try:
        return journal.open("rb")
    except OSError as error:
        raise UserError(f"cannot read the training's record {journal}: {error.strerror}") from None


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    kind = event.get("event") if isinstance(event, dict) else None
    return event if isinstance(kind, str) and kind in EVENTS and event.keys() >= EVENTS[kind] else None
