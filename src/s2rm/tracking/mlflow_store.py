"""Hold all access to MLflow: one experiment in one store.

Our own ids, the tag OWN_ID, link a training with its run: MLflow chooses its ids itself, and another one each
time that a lost store is filled again.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2rm.tracking.address import VARIABLE, find_store
from s2rm.tracking.client import OneLineClient
from s2rm.tracking.database import local_path, opened_database
from s2rm.tracking.store_errors import DELETED, NO_MLFLOW, UNREACHABLE, StoreError

OWN_ID = "s2rm.id"  # tag: our own id of the training
NOTE = "mlflow.note.content"  # tag: the description, in Markdown
ABOUT = """Trainings of S²RM + CASG and their evaluations.

- **Names**: the preset, or what differs from the committed params.yaml (complete in the tag `variant`), and
  the seed. Other tags say commit, machine and DVC experiment.
- **Metrics**: `oIoU/…`, `mIoU/…`, `P_0.5/…` by split, in percent, masks at the model's input size; `val/…`
  while training; `train/…` the losses.
- **Artifacts**: `page` (the report), `results` (scores of every expression), `tables`, `figures`.

The view *Comparison* has the metrics and the parameters that differ.
"""
LONGEST_PARAM = 6000  # characters of a value that MLflow accepts
MOST_RUNS = 50_000  # most runs that MLflow returns from one search


@dataclass(frozen=True)
class RecordedRun:
    """A run in the store: a training, or an evaluation that has its own run.

    Attributes:
        run_id: id in MLflow.
        title: name in MLflow.
        run: name of the trained model in params.yaml.
        status: status in MLflow, as "FINISHED".
        published: whether it holds an evaluation.
    """

    run_id: str
    title: str
    run: str
    status: str
    published: bool


class MlflowStore:
    """One MLflow experiment in one store.

    Every method raises a `StoreError`, one line, where the store cannot do what is asked.

    Args:
        root: folder of the project.
        experiment: name of the MLflow experiment; it is created where it is missing.

    Attributes:
        address: where the store is.
        client: MLflow's client, whose exceptions are `StoreError`s.
        experiment_id: id of the experiment in MLflow.
    """

    def __init__(self, root: Path, experiment: str) -> None:
        self.address = find_store(root)
        with opened_database(self.address):
            self.client = OneLineClient(self.address)
            found = self._open(experiment)
        self.experiment_id = str(found.experiment_id)
        self._artifacts = self._find_artifacts(experiment, found.artifact_location)

    def _open(self, name: str) -> Any:
        """Return MLflow's experiment with this name."""
        from mlflow.utils.validation import _validate_experiment_name

        try:
            _validate_experiment_name(name)
        except Exception as error:
            raise StoreError(f"tracking.experiment is {name!r}: {error}") from None
        found = self.client.get_experiment_by_name(name)
        if found is None:
            self._create_experiment(name)
            found = self.client.get_experiment_by_name(name)
        if not found.experiment_id:  # made by MLflow's client of an empty answer
            raise StoreError(f"the MLflow store {self.address.shown} {NO_MLFLOW}", UNREACHABLE)
        if found.lifecycle_stage == "deleted":
            where = f"{VARIABLE}='{self.address.shown}'"
            raise StoreError(
                f"the MLflow experiment {name!r} was deleted: name another one by tracking.experiment, "
                f"or restore it: {where} mlflow experiments restore --experiment-id {found.experiment_id}",
                DELETED,
            )
        return found

    def _create_experiment(self, name: str) -> None:
        folder, server = self.address.artifacts, self.address.uri.startswith(("http", "databricks"))
        if folder is None and not server:
            raise StoreError(
                f"the MLflow store {self.address.shown} has no experiment {name!r}, and a database alone "
                "does not say where its files belong: start `mlflow server` on it and name its address, or "
                f"`mlflow experiments create -n {name} --artifact-location …`"
            )
        try:
            made = self.client.create_experiment(name, folder.as_uri() if folder else None)
            self.client.set_experiment_tag(made, NOTE, ABOUT)
        except StoreError as error:  # another process was faster
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _find_artifacts(self, experiment: str, location: str) -> Path | None:
        """Return the local folder of the experiment's files; None if MLflow transfers them.

        Raises:
            StoreError: they are at a place that this machine cannot reach.
        """
        folder = local_path(location)
        if folder is not None:
            if folder == self.address.artifacts or (folder.is_absolute() and folder.is_dir()):
                return folder
            raise StoreError(
                f"the MLflow experiment {experiment!r} in {self.address.shown} has its files in {location}, "
                "a folder that this machine lacks: name another experiment by tracking.experiment"
            )
        if self.address.database and location.startswith("mlflow-artifacts:"):
            raise StoreError(
                f"the MLflow experiment {experiment!r} in {self.address.shown} was made by a server, which "
                f"keeps its files: set {VARIABLE} to the server's address, or name another experiment"
            )
        return None

    def find(self, identity: str) -> Any | None:
        """Return MLflow's run of the training with this id of ours; None if this store does not have it.

        Raises:
            StoreError: with the code DELETED: the run was deleted in MLflow.
        """
        from mlflow.entities import ViewType

        query = f"tags.`{OWN_ID}` = '{identity}'"
        runs = self.client.search_runs([self.experiment_id], query, ViewType.ALL)
        return self._get_active(runs) if runs else None

    def find_unnamed(self, run_id: str) -> Any | None:
        """Return MLflow's run with this id of MLflow's, as runs had before they had an id of ours.

        Raises:
            StoreError: with the code DELETED: the run was deleted in MLflow.
        """
        try:
            return self._get_active([self.client.get_run(run_id)])
        except StoreError as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _get_active(self, runs: list[Any]) -> Any:
        active = [run for run in runs if run.info.lifecycle_stage != "deleted"]
        if not active:
            run = runs[0].info
            raise StoreError(
                f"the run {run.run_name} was deleted in MLflow, and is left out; {VARIABLE}="
                f"'{self.address.shown}' mlflow runs restore --run-id {run.run_id} restores it",
                DELETED,
            )
        return active[0]

    def search(self, tags: Mapping[str, str]) -> list[Any]:
        """Return MLflow's runs that have all of these tags."""
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        return list(self.client.search_runs([self.experiment_id], query))

    def list_running(self) -> dict[str, str]:
        """Return the trainings that MLflow takes for running: our own id → MLflow's."""
        runs = self.client.search_runs([self.experiment_id], "attributes.status = 'RUNNING'")
        return {run.data.tags[OWN_ID]: run.info.run_id for run in runs if OWN_ID in run.data.tags}

    def list_runs(self) -> list[RecordedRun]:
        """Return all runs of the experiment, the latest first."""
        runs = self.client.search_runs(
            [self.experiment_id], max_results=MOST_RUNS, order_by=["attributes.start_time DESC"]
        )
        return [
            RecordedRun(
                run_id=run.info.run_id,
                title=run.info.run_name,
                run=run.data.tags.get("run", ""),
                status=run.info.status,
                published=run.data.tags.get("published") == "true",
            )
            for run in runs
        ]

    def list_data(self) -> list[tuple[dict[str, float], dict[str, str]]]:
        """Return metrics and parameters of each run of the experiment, the latest first."""
        runs = self.client.search_runs(
            [self.experiment_id], max_results=MOST_RUNS, order_by=["attributes.start_time DESC"]
        )
        return [(dict(run.data.metrics), dict(run.data.params)) for run in runs]

    def read_experiment_tag(self, name: str) -> str | None:
        """Return a tag of the experiment; None where it is not set."""
        return self.client.get_experiment(self.experiment_id).tags.get(name)

    def set_experiment_tag(self, name: str, value: str) -> None:
        """Set a tag of the experiment."""
        self.client.set_experiment_tag(self.experiment_id, name, value)

    def log_datasets(self, run_id: str, datasets: Mapping[str, str], context: str) -> None:
        """Log which data a run has used.

        Args:
            run_id: id in MLflow.
            datasets: name → digest.
            context: what for: "training" or "evaluation".
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        tags = [InputTag("mlflow.data.context", context)]
        inputs = [
            DatasetInput(
                Dataset(name, digest, "local", json.dumps({"uri": f"data/prepared/{name}.parquet"})), tags
            )
            for name, digest in datasets.items()
        ]
        self.client.log_inputs(run_id, inputs)

    def create_model(self, run_id: str, name: str, params: Mapping[str, str], tags: Mapping[str, str]) -> str:
        """Create a row in MLflow's list of models for what a run has trained; the weights stay with DVC.

        A run has one row: that of an earlier attempt is used, even if its answer was lost.

        Returns:
            The id of the model in MLflow.
        """
        from mlflow.entities import LoggedModelStatus

        known = self.client.search_logged_models([self.experiment_id], f"source_run_id = '{run_id}'")
        model = (
            known[0]
            if known
            else self.client.create_logged_model(
                self.experiment_id,
                name=name,
                source_run_id=run_id,
                tags=dict(tags),
                params={key: str(value)[:LONGEST_PARAM] for key, value in params.items()},
                model_type="s2rm",
            )
        )
        self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        return str(model.model_id)

    def fetch(self, run_id: str, folder: str, target: Path) -> Path | None:
        """Return an artifact folder of a run, copied to `target` unless it is local; None if none."""
        if self._artifacts:
            found = self._artifacts / run_id / "artifacts" / folder
            return found if found.is_dir() else None
        if not self.client.list_artifacts(run_id, folder):
            return None
        return Path(self.client.download_artifacts(run_id, folder, str(target)))

    def create(self, name: str, tags: Mapping[str, str], start: int | None = None) -> str:
        """Create a run and return its id; `start` in milliseconds since 1970, by default now."""
        run = self.client.create_run(self.experiment_id, start, dict(tags), name)
        return str(run.info.run_id)

    def log(
        self,
        run_id: str,
        points: Iterable[tuple[str, float, int, int]] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        model_id: str | None = None,
        measured_on: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        """Log to a run; what it has already is not there twice.

        Args:
            run_id: id in MLflow.
            points: name, value, time in milliseconds since 1970, optimiser step.
            params: logged as text; a value that is too long for MLflow is cut.
            tags: they replace those of the same name.
            model_id: the model that the points belong to, of `create_model`.
            measured_on: name of a metric → name and digest of the dataset; MLflow shows it with the model.
        """
        from mlflow.entities import Metric, Param, RunTag

        self.client.log_batch(
            run_id,
            [Metric(*point, model_id, *(measured_on or {}).get(point[0], (None, None))) for point in points],
            [Param(name, str(value)[:LONGEST_PARAM]) for name, value in (params or {}).items()],
            [RunTag(name, value) for name, value in (tags or {}).items()],
        )

    def log_json(self, run_id: str, content: Mapping[str, Any], name: str) -> None:
        """Log `content` as the JSON artifact `name`."""
        if self._artifacts:
            with self._writing(run_id, name) as target:
                target.write_text(json.dumps(content, indent=2), encoding="utf-8")
        else:
            self.client.log_dict(run_id, dict(content), name)

    def log_files(self, run_id: str, files: Mapping[str, list[Path]]) -> None:
        """Log files as artifacts; `files` by artifact folder."""
        for folder, paths in files.items():
            for path in paths:
                if self._artifacts:
                    with self._writing(run_id, f"{folder}/{path.name}") as target:
                        shutil.copyfile(path, target)
                else:
                    self.client.log_artifact(run_id, str(path), folder)

    @contextmanager
    def _writing(self, run_id: str, name: str) -> Iterator[Path]:
        """Yield the path of a local artifact, which does not exist, in a folder that does."""
        target = Path(str(self._artifacts)) / run_id / "artifacts" / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            yield target
        except OSError as error:
            raise StoreError(f"cannot write {target}: {error.strerror}", UNREACHABLE) from None

    def set_status(self, run_id: str, status: str, time: int | None = None) -> None:
        """Set the status of a run, as "FINISHED"; `time` in milliseconds since 1970, by default now."""
        if status == "RUNNING":
            self.client.update_run(run_id, status=status)
        else:
            self.client.set_terminated(run_id, status, time)
