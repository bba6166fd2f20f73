"""A clone of this checkout in a folder of its own, where stages run as users run them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient

ROOT = Path(__file__).parents[2]
LEFT = (
    ".digests/",
    "reports/summary",
    "dvc.lock",
    "archives.lock",
)  # what a run of the pipeline leaves in git


def make_model_small(params: dict[str, Any]) -> None:
    """Seconds of training instead of minutes or days."""
    params["vision"] |= {
        "backbone": "resnet10t",
        "pretrained": False,
        "image_size": 64,  # at 32 a batch of one image is one value at stride 32: no BatchNorm
        "options": {"channels": [8, 8, 8, 8]},
    }
    small = {"pretrained": None, "hidden": 16, "layers": 1, "heads": 2, "vocabulary": 100}
    params["language"] |= small
    params["fusion"]["widths"], params["decoder"]["width"] = [8, 8, 8, 8], 8
    small = {"epochs": 2, "expressions_per_batch": 16, "log_every": 1, "workers": 0}
    params["train"] |= {"device": "cpu", "precision": "float32", **small}
    params["evaluate"] |= {"precision": "float32", "workers": 0}


class Clone:
    """A clone of this checkout's files with parameters as `change` makes them, committed."""

    def __init__(
        self, folder: Path, change: Callable[[dict[str, Any]], None], params: str = "params.yaml"
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "PYTHONPATH": str(self.folder / "src"),
        }
        for name in ("MLFLOW_TRACKING_URI", "S2RM_ARCHIVES", "S2RM_MIRROR", "S2RM_OFFLINE", "S2RM_REAL_DATA"):
            self.environment.pop(name, None)
        files = self.git("-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard")
        for name in files.splitlines():
            if (ROOT / name).is_file() and not name.startswith(LEFT):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        tree = yaml.safe_load((folder / params).read_text())
        change(tree)
        (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        self.git("init", "-q")
        self.git("config", "user.email", "tests@example.org")
        self.git("config", "user.name", "tests")
        self.commit()

    def dvc(self, *arguments: str, ok: bool = True) -> str:
        done = self.start(*arguments)
        output, _ = done.communicate()
        assert (done.returncode == 0) is ok, f"dvc {' '.join(arguments)}\n{output}"
        return output

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """In a process group of its own, so that all of it can be killed."""
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def ran(self, output: str) -> list[str]:
        """The stages that were executed, in order, without `digests`, which always is."""
        stages = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]
        return [stage for stage in stages if stage != "digests"]

    def runs(self) -> list[Any]:
        client = MlflowClient(f"sqlite:///{self.folder}/mlflow.db")
        experiment = client.get_experiment_by_name("s2rm")
        return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"]))

    def artifacts(self, run_id: str, folder: str) -> set[str]:
        client = MlflowClient(f"sqlite:///{self.folder}/mlflow.db")
        return {Path(file.path).name for file in client.list_artifacts(run_id, folder)}

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", "as it is now")

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.folder, capture_output=True, text=True, check=True
        ).stdout
