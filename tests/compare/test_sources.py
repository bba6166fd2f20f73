"""Models by what people call them, in a real git and DVC repository with a real MLflow store."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2rm.compare.sources import load_group, load_source
from s2rm.core.errors import UserError
from s2rm.tracking import MlflowStore
from s2rm.tracking.publish import publish

RUNS = "runs:\n  joint:\n    train_on: [refcoco_unc]\nvision:\n  backbone: resnet10t\n"
SPLIT = "refcoco_unc-val.parquet"


def write_scores(folder: Path, intersection: int) -> None:
    """Write the scores of a split on which every expression has this intersection."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 5
    pixels = {
        f"{part}_{size}": np.full(count, value)
        for size in ("model", "original")
        for part, value in (("intersection", intersection), ("union", 100))
    }
    ids = {name: range(count) for name in ("sent_id", "ref_id", "image_id")}
    pd.DataFrame({**ids, **pixels, "score": 0.9, "predicted_rle": ""}).to_parquet(folder / SPLIT)


def run(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with results of 40 % in the first commit, 60 % in the second, 80 % in an experiment."""
    root = tmp_path_factory.mktemp("repository")
    dvc = str(Path(sys.executable).with_name("dvc"))
    run(root, "git", "init", "-q")
    for name, value in (("user.name", "a"), ("user.email", "a@example.org")):
        run(root, "git", "config", name, value)
    run(root, dvc, "init", "-q")
    (root / "params.yaml").write_text(RUNS)
    commits = []
    for number in (40, 60, 80):
        write_scores(root / "results" / "joint", number)
        run(root, dvc, "add", "-q", "results/joint")
        run(root, "git", "add", "-A")
        run(root, "git", "commit", "-qm", f"results of {number}")
        commits.append(run(root, "git", "rev-parse", "HEAD"))
    run(root, "git", "update-ref", f"refs/exps/{commits[1][:2]}/{commits[1][2:]}/calm-name", commits[2])
    run(root, "git", "reset", "-q", "--hard", commits[1])
    run(root, "git", "tag", "v1", commits[0])
    shutil.rmtree(root / "results" / "joint")
    return root


def intersection_of(name: str, root: Path, folder: Path) -> int:
    (table,) = load_source(name, root, folder, "s2rm").scores.values()
    return int(table["intersection_model"].iloc[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("v1", 40), ("HEAD", 60), ("HEAD~1", 40), ("calm-name", 80), ("calm-name:joint", 80)],
)
def test_git_revisions_and_experiments(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: int
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(project)
    assert intersection_of(name, project, tmp_path) == expected


def test_a_group_of_revisions(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    found = load_group("v1, calm-name", project, tmp_path, "s2rm")
    assert [source.name for source in found] == ["v1", "calm-name"]


@pytest.mark.parametrize("name", ["v1:other", "calm-name:other"])
def test_a_run_that_a_revision_lacks(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(UserError, match=f"the results of {name} cannot be fetched") as caught:
        load_source(name, project, tmp_path, "s2rm")
    assert "\n" not in str(caught.value)


def test_a_revision_with_several_runs(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "several"
    run(tmp_path, "git", "clone", "-q", str(project), str(root))
    (root / "params.yaml").write_text(RUNS.replace("  joint:", "  one:\n    train_on: []\n  two:"))
    run(root, "git", "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qam", "two runs")
    monkeypatch.chdir(root)
    with pytest.raises(UserError, match="HEAD has the runs one, two: name one, as HEAD:one"):
        load_source("HEAD", root, tmp_path / "fetched", "s2rm")


@pytest.mark.slow
def test_mlflow_runs_by_id_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    store = MlflowStore(tmp_path, "s2rm")
    ids = []
    for number in (30, 70):
        write_scores(tmp_path / str(number), number)
        files = {"results": [tmp_path / str(number) / SPLIT]}
        metrics = {"mIoU/refcoco_val": float(number)}
        ids.append(publish(store, None, f"model {number}", metrics, files, {"run": "joint"}))
    fetched = tmp_path / "fetched"
    assert intersection_of("model 70", tmp_path, fetched) == 70
    assert intersection_of(ids[0][:10], tmp_path, fetched) == 30
    with pytest.raises(UserError, match="model 5 is not a file, a folder, an MLflow run of s2rm"):
        load_source("model 5", tmp_path, fetched, "s2rm")
