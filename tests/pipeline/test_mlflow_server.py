"""Two trainings at once, recorded by an MLflow server on PostgreSQL as docker/compose.yaml has it."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from clone import Clone, make_model_small
from mlflow import MlflowClient
from servers import mlflow_server, postgres

pytestmark = [pytest.mark.server, pytest.mark.timeout(900), pytest.mark.slow]
RUNS = ("refcoco_unc", "refcocog_umd")


def make_two(params: dict[str, Any]) -> None:
    params["data"]["benchmarks"] = list(RUNS)
    params["data"]["refshapes"] |= {"train_images": 12, "eval_images": 2}
    params["runs"] = {name: {"train_on": [name], "evaluate_on": [name]} for name in RUNS}
    make_model_small(params)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp
    with postgres(folder("postgres")) as port, mlflow_server(folder("mlflow"), port) as address:
        yield address


def test_a_foreign_host_name_is_refused(server: str) -> None:
    address = f"{server}/api/2.0/mlflow/experiments/search?max_results=1"
    assert urllib.request.urlopen(address, timeout=10).status == 200
    request = urllib.request.Request(address, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=10)


def test_two_trainings_at_once(server: str, tmp_path: Any) -> None:
    clone = Clone(tmp_path / "clone", make_two)
    clone.environment["MLFLOW_TRACKING_URI"] = server
    clone.dvc("repro", "weights", "preprocess")
    trainings = [
        subprocess.Popen(
            [sys.executable, "pipeline/train.py", name], cwd=clone.folder, env=clone.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for name in RUNS
    ]  # fmt: skip
    for training in trainings:
        output, _ = training.communicate(timeout=300)
        assert training.returncode == 0, output
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("s2rm")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.params["run"] for run in runs) == sorted(RUNS)
    for run in runs:
        assert run.info.status == "FINISHED"
        steps = [entry.step for entry in client.get_metric_history(run.info.run_id, "train/loss")]
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) >= 4
        assert run.data.params["fusion.kind"] == "s2rm"
        assert "environment.json" in {file.path for file in client.list_artifacts(run.info.run_id)}
    assert not (clone.folder / "mlflow.db").exists()
    clone.dvc("repro")  # the report brings the evaluations and their files
    for run in client.search_runs([experiment.experiment_id], filter_string="tags.published = 'true'"):
        assert client.list_artifacts(run.info.run_id, "results")
