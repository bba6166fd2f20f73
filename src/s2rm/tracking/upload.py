"""Send the journal of a training to a store, from the point that the store says it has."""

from itertools import islice
from pathlib import Path
from typing import Any

from s2rm.tracking.journal import read_events, read_head, read_status
from s2rm.tracking.mlflow_store import OWN_ID, MlflowStore

SENT = "s2rm.sent"  # tag: how many bytes of the journal the run holds
MOST_EVENTS = 100  # that are sent together
MOST_POINTS = 900  # of one request


class Upload:
    """The way of one journal to one store.

    What is sent twice, because the answer to a request was lost, is there once: MLflow compares name, step,
    value and time of a point.

    Args:
        journal: the file.
        running: whether the training runs in this process.

    Attributes:
        offset: how many bytes of the journal the store has confirmed.
    """

    def __init__(self, journal: Path, running: bool) -> None:
        self.journal, self.running, self.offset = journal, running, 0
        self._run_id: str | None = None
        self._status = ""

    def send(self, store: MlflowStore) -> int:
        """Send what the store lacks; return how many points that were.

        Raises:
            StoreError: the store does not take them; a later call asks it again what it has.
        """
        try:
            if self._run_id is None:
                self._open(store)
            assert self._run_id is not None
            points = 0
            while events := list(islice(read_events(self.journal, self.offset), MOST_EVENTS)):
                points += self._send(store, self._run_id, [event for event, _ in events], events[-1][1])
            status, time = read_status(self.journal, self.running)
            if status != self._status:
                store.set_status(self._run_id, status, time)
                self._status = status
            return points
        except Exception:
            self._run_id = None
            raise

    def count_unsent(self) -> int:
        """Return how many points the store has not confirmed."""
        return sum(len(event.get("values", ())) for event, _ in read_events(self.journal, self.offset))

    def _open(self, store: MlflowStore) -> None:
        head = read_head(self.journal)
        identity = self.journal.parent.name
        run = store.find(identity)
        if run is None:
            tags = {**head.get("tags", {}), OWN_ID: identity}
            self._run_id = store.create(head.get("name", identity), tags, head.get("time"))
            self.offset, self._status = 0, "RUNNING"
            return
        self._run_id, self._status = run.info.run_id, run.info.status
        sent = run.data.tags.get(SENT, "")  # anybody can edit a tag
        known = sent.isdecimal() and int(sent) <= self.journal.stat().st_size
        self.offset = int(sent) if known else 0

    def _send(self, store: MlflowStore, run_id: str, events: list[dict[str, Any]], end: int) -> int:
        for event in events:
            if event["event"] == "json":
                store.log_json(run_id, event["content"], event["name"])
        points = [
            (name, value, event["time"], event["step"])
            for event in events
            if event["event"] == "metrics"
            for name, value in event["values"].items()
        ]
        head: dict[str, Any] = next((event for event in events if event["event"] == "open"), {})
        params = head.get("params")
        if datasets := head.get("datasets"):
            store.log_datasets(run_id, datasets, "training")
        mark = {SENT: str(end)}
        if params or len(points) > MOST_POINTS:  # several requests: the mark comes after all of them
            store.log(run_id, points, params)
            store.log(run_id, tags=mark)
        else:
            store.log(run_id, points, tags=mark)
        self.offset = end
        return len(points)
