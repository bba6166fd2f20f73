"""Made-up trainings, recorded as pipeline/train.py records them but without a sender."""

from pathlib import Path
from typing import Any

from s2rm.tracking import MlflowStore
from s2rm.tracking.journal import Journal
from s2rm.tracking.upload import Upload


def make_journal(root: Path, steps: int = 2, name: str = "joint", **head: Any) -> Journal:
    """The journal of a finished training with a loss for each step."""
    head = {"name": name, "experiment": "s2rm", "params": {"train.seed": 1}, "tags": {"run": name}, **head}
    journal = Journal(root, None, head)
    with journal:
        for step in range(1, steps + 1):
            journal.log({"train/loss": 1 / step}, step)
    journal.close()
    return journal


def send(journal: Journal, store: MlflowStore) -> int:
    return Upload(journal.path, running=False).send(store)


def run_of(store: MlflowStore, identity: str) -> Any:
    """MLflow's run of a training."""
    run = store.find(identity)
    assert run is not None
    return run


def points(store: MlflowStore, run_id: str, metric: str = "train/loss") -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.client.get_metric_history(run_id, metric)]
