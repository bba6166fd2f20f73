"""Record a training while it runs: its journal, and a thread that sends the journal to MLflow.

The thread has a client, a connection and a pace of its own: a store that is slow, dead or wrong costs the
training nothing.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

from s2rm.core.errors import UserError
from s2rm.core.files import replace_text
from s2rm.tracking.client import load_mlflow
from s2rm.tracking.journal import Journal
from s2rm.tracking.machine_load import MachineMonitor
from s2rm.tracking.mlflow_store import MlflowStore
from s2rm.tracking.store_errors import DELETED, StoreError
from s2rm.tracking.synchronise import mark_killed
from s2rm.tracking.upload import Upload

logger = logging.getLogger(__name__)

PACE = 5.0  # seconds between two requests with what was logged meanwhile
LONGEST_PAUSE = 60.0  # seconds after a request that failed
PATIENCE = 10.0  # seconds that the end of a training waits for the store
STOPPED_PATIENCE = 5.0  # the same where it was stopped and is expected to end soon


@contextmanager
def record_training(
    root: Path,
    experiment: str,
    run_file: Path,
    *,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    datasets: Mapping[str, str],
) -> Iterator[Journal]:
    """Record a training until the context ends; how it ends becomes its status.

    Args:
        root: folder of the project.
        experiment: name of the MLflow experiment.
        run_file: JSON file that keeps the id of the training; if an interrupted one left it, its record is
            continued, so that a training has one run however often it is resumed.
        name: name of a new run.
        params: parameters of a new run.
        tags: tags of a new run.
        datasets: what is trained on: name → digest.

    Yields:
        The journal, which has the id and takes metrics.

    Raises:
        UserError: the record cannot be written on this machine. What the store does raises nothing.
    """
    known = _read_id(run_file)
    head = {"name": name, "experiment": experiment, "params": dict(params), "tags": dict(tags)}
    head["datasets"] = dict(datasets)
    journal = Journal(root, known, head)
    try:
        replace_text(run_file, json.dumps({"run_id": journal.identity}) + "\n")
        sender = Sender(root, experiment, journal)
        try:
            with journal:
                yield journal
        except BaseException:
            sender.close(STOPPED_PATIENCE)
            raise
        sender.close(PATIENCE)
    finally:
        journal.close()


def _read_id(run_file: Path) -> str | None:
    try:
        return str(json.loads(run_file.read_text(encoding="utf-8"))["run_id"])
    except (OSError, ValueError, LookupError, TypeError):  # none, or left empty by a power failure
        return None


class Sender:
    """A thread that sends a journal to MLflow as it grows, and reports once what hinders it.

    Args:
        root: folder of the project.
        experiment: name of the MLflow experiment.
        journal: of the training in this process.
    """

    def __init__(self, root: Path, experiment: str, journal: Journal) -> None:
        self._root, self._experiment = root, experiment
        self._journal, self._upload = journal, Upload(journal.path, running=True)
        self._machine: MachineMonitor | None = None
        self._store: MlflowStore | None = None
        self._error: Exception | None = None  # of the last request
        self._closing = Event()
        # Here and not in the thread: the processes of the data loader are forked, and one that is forked
        # during an import of another thread may wait for it for ever.
        with suppress(Exception):  # the thread reports what MLflow lacks; a monitor may be missing
            load_mlflow()
            self._machine = MachineMonitor()
        self._thread = Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def close(self, patience: float) -> None:
        """Send the rest, and say what could not be sent within so many seconds."""
        self._closing.set()
        self._thread.join(patience)
        if not self._thread.is_alive() and self._error is None:
            return
        if isinstance(self._error, StoreError) and self._error.code == DELETED:
            return  # nothing would send it
        count = self._upload.count_unsent()
        what = f"{count} points of the training" if count else "the end of the training"
        logger.warning("%s not sent to MLflow: `s2rm track sync` sends what is missing", what)

    def _work(self) -> None:
        pause = 0.0
        while True:
            last = self._closing.wait(pause)
            started = monotonic()
            try:
                if self._machine and not last:
                    self._journal.log_next(self._machine.sample())
                self._send()
                if self._error:
                    logger.info("the MLflow store works again")
                self._error, pause = None, PACE
            except Exception as error:
                # Whatever it is, it must not end the training; the journal keeps everything.
                if not self._error:
                    reason = str(error) if isinstance(error, UserError) else repr(error)
                    logger.warning(
                        "%s; the training goes on, its record is kept in %s",
                        reason,
                        self._upload.journal.parent,
                    )
                self._error = error
                pause = min(max(2 * pause, PACE), LONGEST_PAUSE)
            if last:
                return
            pause = max(pause, monotonic() - started)

    def _send(self) -> None:
        if self._store is None:
            self._store = MlflowStore(self._root, self._experiment)
            mark_killed(self._root, self._store)
        self._upload.send(self._store)
