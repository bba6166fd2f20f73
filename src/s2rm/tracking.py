"""The one door to MLflow: a run a trained model, live during training, completed by the report.

Without `MLFLOW_TRACKING_URI` the store is `mlflow.db` (SQLite) under the project's root, with its
artifacts in `mlartifacts/`, both absolute, so that stages run from anywhere meet in one place.
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
EXPERIMENTS = "dvc.experiments"  # tag: the DVC experiments that this run answers
STOPS = (KeyboardInterrupt, StoppedError)
PARAM_BATCH, METRIC_BATCH = 100, 1000  # the most that one MLflow request may hold
MOST_RUNS = 50_000  # that one search may give


@dataclass(frozen=True)
class Recorded:
    """A run of the store: a training, or an evaluation that has a run of its own."""

    run_id: str
    title: str  # its name in MLflow
    run: str  # the trained model's name in params.yaml
    status: str
    published: bool  # whether it holds an evaluation


def tracking_uri(root: Path) -> str:
    """Where runs are recorded: `MLFLOW_TRACKING_URI`, else the project's own SQLite file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / 'mlflow.db'}"


def has_store(root: Path) -> bool:
    """Whether anything can have been recorded yet; False spares the making of an empty SQLite file."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (root / "mlflow.db").exists()


class MlflowStore:
    """One MLflow experiment in one store."""

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
        # Processes that first use a fresh SQLite file together corrupt its schema: one at a time.
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
        """The run, or None where this store has none of that id (another machine's, say)."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def search(self, tags: Mapping[str, str]) -> list[Any]:
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        return list(self.client.search_runs([self.experiment_id], query))

    def recorded(self) -> list[Recorded]:
        """All of its runs, the latest first."""
        runs = self.client.search_runs(
            [self.experiment_id], max_results=MOST_RUNS, order_by=["attributes.start_time DESC"]
        )
        return [
            Recorded(
                run_id=run.info.run_id,
                title=run.info.run_name,
                run=run.data.tags.get("run", ""),
                status=run.info.status,
                published=run.data.tags.get("published") == "true",
            )
            for run in runs
        ]

    def fetch(self, run_id: str, folder: str, target: Path) -> Path | None:
        """Copies an artifact folder of a run into `target`; None where the run has no such folder."""
        if not self.client.list_artifacts(run_id, folder):
            return None
        return Path(self.client.download_artifacts(run_id, folder, str(target)))

    def create(self, name: str, tags: Mapping[str, str]) -> str:
        run = self.client.create_run(self.experiment_id, run_name=name, tags=dict(tags))
        return str(run.info.run_id)

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        entries = [Param(name, str(value)[:6000]) for name, value in params.items()]
        for i in range(0, len(entries), PARAM_BATCH):
            self.client.log_batch(run_id, params=entries[i : i + PARAM_BATCH])

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        entries = [Metric(name, float(value), now, step) for name, value in metrics.items()]
        for i in range(0, len(entries), METRIC_BATCH):
            self.client.log_batch(run_id, metrics=entries[i : i + METRIC_BATCH])

    def log_json(self, run_id: str, content: Mapping[str, Any], name: str) -> None:
        self.client.log_dict(run_id, dict(content), name)

    def last_steps(self, run_id: str) -> dict[str, int]:
        """Metric → the last step that the run has of it."""
        names = self.client.get_run(run_id).data.metrics
        histories = {name: self.client.get_metric_history(run_id, name) for name in names}
        return {name: max(entry.step for entry in history) for name, history in histories.items()}

    @contextmanager
    def training(
        self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], run_file: Path
    ) -> Iterator[str]:
        """Opens the run of a training, or the one of `run_file` again, which an interrupted one left.

        Yields its id, which is also written to `run_file`.
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
        """Records an evaluation, once, on the run of the training that it is of.

        Args:
            trained_run: the id that `training` gave, None where the training was not tracked.
            metrics: benchmark/split/protocol/metric → percent.
            files: artifact folder → files.
            tags: of this report; `dvc.experiment` is added to the run's list of experiments.

        Returns: the id of the run that holds it now: the training's own; a child of it, where that
        one holds another evaluation already (another threshold, say); or a run of its own, where
        this store does not know the training.
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
