"""Hold all access to MLflow.

Each trained model is one MLflow run: logged live during training, completed by the report stage. Without
`MLFLOW_TRACKING_URI` the store is `mlflow.db` (SQLite) under the project's root, with its artifacts in
`mlartifacts/`; both paths are absolute, so that stages use the same store wherever they are started.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from s2rm.core.errors import StoppedError

EVALUATION = "evaluation"  # tag: a digest of the published evaluation
EXPERIMENTS = "dvc.experiments"  # tag: the DVC experiments whose result this run is
STOPS = (KeyboardInterrupt, StoppedError)
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


def tracking_uri(root: Path) -> str:
    """Return where runs are recorded: `MLFLOW_TRACKING_URI`, otherwise the project's own SQLite file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / 'mlflow.db'}"


def has_store(root: Path) -> bool:
    """Return whether a store exists; to open one that does not would create an empty SQLite file."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (root / "mlflow.db").exists()


class MlflowStore:
    """One MLflow experiment in one store.

    Args:
        root: folder of the project.
        experiment: name of the MLflow experiment; it is created where it is missing.
    """

    def __init__(self, root: Path, experiment: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        from mlflow import MlflowClient

        logging.getLogger("alembic").setLevel(logging.WARNING)
        uri = tracking_uri(root)
        local = uri.startswith("sqlite:")
        lock = root / ".scratch" / "mlflow.lock"
        lock.parent.mkdir(exist_ok=True)
        # Processes that use a new SQLite file for the first time together corrupt its schema: one at a time.
        with FileLock(lock) if local else nullcontext():
            self.client: MlflowClient = MlflowClient(uri)
            artifacts = (root.resolve() / "mlartifacts").as_uri() if local else None
            self.experiment_id = self._experiment(experiment, artifacts)

    def _experiment(self, name: str, artifacts: str | None) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self.client.create_experiment(name, artifacts))
            except MlflowException as error:  # another process was faster
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id)

    def find(self, run_id: str) -> Any | None:
        """Return MLflow's run with this id; None if this store does not have it."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def search(self, tags: Mapping[str, str]) -> list[Any]:
        """Return MLflow's runs that have all of these tags."""
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        return list(self.client.search_runs([self.experiment_id], query))

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

    def fetch(self, run_id: str, folder: str, target: Path) -> Path | None:
        """Copy an artifact folder of a run into `target`; return the copy, or None if there is none."""
        if not self.client.list_artifacts(run_id, folder):
            return None
        return Path(self.client.download_artifacts(run_id, folder, str(target)))

    def create(self, name: str, tags: Mapping[str, str]) -> str:
        """Create a run and return its id."""
        run = self.client.create_run(self.experiment_id, run_name=name, tags=dict(tags))
        return str(run.info.run_id)

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Log parameters as text; a value that is too long for MLflow is cut."""
        from mlflow.entities import Param

        entries = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in params.items()]
        self.client.log_batch(run_id, params=entries)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Log one value per metric at this optimiser step."""
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        entries = [Metric(name, float(value), now, step) for name, value in metrics.items()]
        self.client.log_batch(run_id, metrics=entries)

    def log_json(self, run_id: str, content: Mapping[str, Any], name: str) -> None:
        """Log `content` as the JSON artifact `name`."""
        self.client.log_dict(run_id, dict(content), name)

    def last_steps(self, run_id: str) -> dict[str, int]:
        """Return the last logged step of each metric of the run."""
        names = self.client.get_run(run_id).data.metrics
        histories = {name: self.client.get_metric_history(run_id, name) for name in names}
        return {name: max(entry.step for entry in history) for name, history in histories.items()}

    @contextmanager
    def training(
        self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], run_file: Path
    ) -> Iterator[str]:
        """Open the run of a training, and set its status when the context ends.

        Args:
            name: name of a new run.
            params: parameters to log in a new run.
            tags: tags of a new run.
            run_file: JSON file that keeps the id of the run; if an interrupted training left one, its run is
                opened again, so that a training has one run however often it is resumed.

        Yields:
            The id of the run.
        """
        run_id = json.loads(run_file.read_text())["run_id"] if run_file.exists() else None
        if run_id is None or self.find(run_id) is None:
            run_id = self.create(name, tags)
            self.log_params(run_id, params)
            run_file.parent.mkdir(parents=True, exist_ok=True)
            run_file.write_text(json.dumps({"run_id": run_id}) + "\n")
        else:
            self.client.update_run(run_id, status="RUNNING")
        try:
            yield run_id
        except BaseException as error:
            self.client.set_terminated(run_id, "KILLED" if isinstance(error, STOPS) else "FAILED")
            raise
        self.client.set_terminated(run_id, "FINISHED")

    def publish(
        self,
        trained_run: str | None,
        name: str,
        metrics: Mapping[str, float],
        files: Mapping[str, list[Path]],
        tags: Mapping[str, str],
    ) -> str:
        """Record an evaluation, once, on the run of the training that it evaluates.

        Args:
            trained_run: id of the run that `training` yielded; None if the training was not tracked.
            name: name of the trained model, for a new run.
            metrics: percentages by benchmark/split/protocol/metric.
            files: files to log, by artifact folder.
            tags: tags of a new run; `dvc.experiment` is also added to the list of experiments of a known one.

        Returns:
            The id of the run that holds the evaluation: the training's own; a child of it, if that one holds
            another evaluation already (with another threshold, for example); or a run of its own, if this
            store does not know the training.
        """
        digest = hashlib.sha256(json.dumps(metrics, sort_keys=True).encode()).hexdigest()[:16]
        run = self.find(trained_run) if trained_run else None
        if run is None:
            own = {"trained_run": trained_run or "untracked", EVALUATION: digest}
            known = self.search(own)
            run_id = known[0].info.run_id if known else self.create(name, {**tags, **own})
        elif run.data.tags.get(EVALUATION, digest) == digest:
            run_id = run.info.run_id
        else:
            own = {"mlflow.parentRunId": run.info.run_id, EVALUATION: digest}
            known = self.search(own)
            run_id = known[0].info.run_id if known else self.create(f"{name}-evaluation", {**tags, **own})
        found = self.client.get_run(run_id)
        if found.data.tags.get("published") != "true":
            self.log_metrics(run_id, metrics, step=0)
            self.client.set_tag(run_id, EVALUATION, digest)
            self.client.set_tag(run_id, "published", "true")
        for folder, paths in files.items():
            for path in paths:
                self.client.log_artifact(run_id, str(path), folder)
        experiments = set(filter(None, found.data.tags.get(EXPERIMENTS, "").split(",")))
        experiments |= {tags["dvc.experiment"]} if tags.get("dvc.experiment") else set()
        if experiments:
            self.client.set_tag(run_id, EXPERIMENTS, ",".join(sorted(experiments)))
        if found.info.status == "RUNNING":
            self.client.set_terminated(run_id, "FINISHED")
        return str(run_id)
