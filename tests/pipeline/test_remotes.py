"""What DVC carries between machines: results by a folder and by S3, experiments by git, a shared cache."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from clone import Clone, make_model_small
from servers import s3_store

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}


def make_tiny(params: dict[str, Any]) -> None:
    params["data"]["benchmarks"] = ["refcocog_umd"]
    params["data"]["refshapes"] |= {"train_images": 8, "eval_images": 2}
    params["runs"] = {"tiny": {"train_on": ["refcocog_umd"], "evaluate_on": ["refcocog_umd"]}}
    make_model_small(params)
    params["train"]["epochs"] = 1


class Machine:
    """Another machine's clone of the git repository."""

    def __init__(self, origin: Path, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = {**environment, "PYTHONPATH": str(folder / "src")}
        subprocess.run(["git", "clone", "-q", origin, folder], check=True)
        for name, value in (("user.email", "tests@example.org"), ("user.name", "tests")):
            subprocess.run(["git", "config", name, value], cwd=folder, check=True)

    def dvc(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments], cwd=self.folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The git repository that all machines know."""
    folder = tmp_path_factory.mktemp("origin") / "s2rm.git"
    subprocess.run(["git", "init", "-q", "--bare", "--initial-branch=main", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, origin: Path) -> Clone:
    """The machine that has trained, with a remote in a folder; its dvc.lock is in git."""
    clone = Clone(tmp_path_factory.mktemp("clone"), make_tiny)
    clone.dvc("repro")
    clone.dvc("remote", "add", "--default", "store", str(tmp_path_factory.mktemp("store")))
    clone.commit()
    clone.git("branch", "-M", "main")
    clone.git("remote", "add", "origin", str(origin))
    clone.git("push", "-q", "-u", "origin", "main")
    return clone


def has_everything(clone: Clone, machine: Machine) -> None:
    """Nothing is left to run, and the model is the same."""
    assert clone.ran(machine.dvc("repro")) == []
    for name in ("models/tiny/model.safetensors", "results/tiny/metrics.json"):
        assert (machine.folder / name).read_bytes() == (clone.folder / name).read_bytes()


def test_a_folder_as_remote(clone: Clone, origin: Path, tmp_path: Path) -> None:
    clone.dvc("push")
    machine = Machine(origin, tmp_path / "other", clone.environment)
    machine.dvc("pull")
    has_everything(clone, machine)


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    with s3_store(tmp_path) as address:
        boto3.client(
            "s3", endpoint_url=address, region_name=KEYS["AWS_DEFAULT_REGION"],
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        ).create_bucket(Bucket="s2rm")  # fmt: skip
        yield address


@pytest.mark.server
def test_s3_as_remote(clone: Clone, origin: Path, bucket: str, tmp_path: Path) -> None:
    environment = {**clone.environment, **KEYS}
    clone.environment |= KEYS
    machine = Machine(origin, tmp_path / "other", environment)
    for each in (clone, machine):
        each.dvc("remote", "add", "--local", "bucket", "s3://s2rm/dvc")
        each.dvc("remote", "modify", "--local", "bucket", "endpointurl", bucket)
    clone.dvc("push", "--remote", "bucket")
    machine.dvc("pull", "--remote", "bucket")
    has_everything(clone, machine)


def test_an_experiment_goes_to_another_machine(clone: Clone, origin: Path, tmp_path: Path) -> None:
    clone.dvc("exp", "run", "--name", "threshold", "--set-param", "evaluate.threshold=0.3")
    metrics = json.loads((clone.folder / "results/tiny/metrics.json").read_text())
    clone.git("checkout", "-q", ".")
    clone.dvc("checkout")
    clone.dvc("push")
    clone.dvc("exp", "push", "origin", "threshold")
    machine = Machine(origin, tmp_path / "other", clone.environment)
    machine.dvc("pull")
    machine.dvc("exp", "pull", "origin", "threshold")
    machine.dvc("exp", "apply", "threshold")
    params = yaml.safe_load((machine.folder / "params.yaml").read_text())
    assert params["evaluate"]["threshold"] == 0.3
    assert json.loads((machine.folder / "results/tiny/metrics.json").read_text()) == metrics
    assert clone.ran(machine.dvc("repro")) == []


def test_a_cache_that_a_team_shares(clone: Clone, origin: Path, tmp_path: Path) -> None:
    """What one member has made the other one links to, without a remote."""
    machine = Machine(origin, tmp_path / "other", clone.environment)
    machine.dvc("config", "--local", "cache.dir", str(clone.folder / ".dvc/cache"))
    machine.dvc("config", "--local", "cache.type", "hardlink,symlink,copy")
    machine.dvc("checkout")
    has_everything(clone, machine)
    model = machine.folder / "models/tiny/model.safetensors"
    assert model.stat().st_nlink > 1


@pytest.mark.long
def test_the_queue_with_two_workers(clone: Clone) -> None:
    for seed in (2, 3):
        clone.dvc("exp", "run", "--queue", "--name", f"seed{seed}", "--set-param", f"train.seed={seed}")
    clone.dvc("queue", "start", "--jobs", "2")
    clone.dvc("queue", "logs", "seed2", "--follow")
    clone.dvc("queue", "logs", "seed3", "--follow")
    status = clone.dvc("queue", "status")
    assert status.count("Success") == 2, status
