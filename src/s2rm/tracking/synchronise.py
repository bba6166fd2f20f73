"""Send to MLflow what it lacks: of trainings and evaluations of any time, also to a store that was lost."""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from s2rm.core.errors import UserError
from s2rm.tracking.evaluations import find_evaluations, read_evaluation, send_evaluation
from s2rm.tracking.journal import FILE, FOLDER, find_journals, held, journal_of, read_head, read_status
from s2rm.tracking.mlflow_store import MlflowStore
from s2rm.tracking.store_errors import DELETED, StoreError
from s2rm.tracking.upload import Upload
from s2rm.tracking.views import write_view


@dataclass
class Sent:
    """What a synchronisation has done.

    Attributes:
        trainings: how many trainings are complete in the store now.
        evaluations: how many evaluations.
        points: how many points of metrics were sent.
        left_out: one line for each training that was left out, with the reason.
    """

    trainings: int = 0
    evaluations: int = 0
    points: int = 0
    left_out: list[str] = field(default_factory=list)


def synchronise(root: Path, only: Collection[str] | None = None) -> Sent:
    """Send all that is recorded in the project and missing in the store; twice is the same as once.

    Args:
        root: folder of the project.
        only: names of the records to send, folders of .tracking/; by default all.

    Raises:
        StoreError: the store cannot be used.
    """
    sent = Sent()
    stores: dict[str, MlflowStore] = {}

    def store_of(experiment: str) -> MlflowStore:
        if experiment not in stores:
            stores[experiment] = MlflowStore(root, experiment)
            mark_killed(root, stores[experiment])
        return stores[experiment]

    for record in _find_records(root):
        if only is not None and record.name not in only:
            continue
        try:
            with held(record) as free:
                if free:
                    _send_record(record, store_of, sent)
                else:
                    sent.left_out.append(f"{record.name}: another process trains or sends it now")
        except UserError as error:
            if isinstance(error, StoreError) and (error.code != DELETED or not stores):
                raise
            sent.left_out.append(f"{record.name}: {error}")
    for store in stores.values():
        with suppress(StoreError):  # no run depends on the view
            write_view(store)
    return sent


def mark_killed(root: Path, store: MlflowStore) -> None:
    """Let MLflow know of the trainings of this project whose process ended without a word."""
    for identity, run_id in store.list_running().items():
        journal = journal_of(root, identity)
        if not journal.exists():
            continue
        with held(journal.parent) as free:
            status, time = read_status(journal, running=not free)
            if status == "KILLED":
                store.set_status(run_id, status, time)


def advise_recording(root: Path) -> str:
    """Return which commands record what this project has computed, or compute it."""
    texts = []
    if _find_records(root):
        texts.append("`s2rm track sync` records what was trained and evaluated here")
    if any(root.glob("results/*/mlflow.json")):
        texts.append("`dvc repro --single-item --force report` records the evaluations in results/")
    return ", ".join([*texts, "`dvc repro` trains and records what is new"])


def _find_records(root: Path) -> list[Path]:
    """Return the folders of .tracking/: trainings in the order in which they were begun, then the others."""
    trained = [journal.parent for journal in find_journals(root)]
    others = {path.parents[2] for path in (root / FOLDER).glob("*/evaluations/*/evaluation.json")}
    return [*trained, *sorted(others.difference(trained))]


def _send_record(record: Path, store_of: Callable[[str], MlflowStore], sent: Sent) -> None:
    journal = record / FILE
    if journal.exists():
        head = read_head(journal)
        if not head:
            raise UserError(f"{journal} is damaged")
        sent.points += Upload(journal, running=False).send(store_of(head["experiment"]))
        sent.trainings += 1
    for folder in find_evaluations(record):
        send_evaluation(folder, store_of(read_evaluation(folder).experiment))
        sent.evaluations += 1
