"""A small project that is sound: a git repository with parameters, prepared data and what DVC needs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from s2rm.config.params import Params

ROOT = Path(__file__).parents[2]
BENCHMARKS = ["refcoco_unc", "referit_berkeley"]
VARIABLES = ("MLFLOW_TRACKING_URI", "TMPDIR", "CC", "HF_TOKEN", "HOME", "XDG_CONFIG_HOME")


@pytest.fixture
def project(
    tmp_path: Path, tiny_data, tiny_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The project's folder, which is the current one; nothing of this machine's settings is left."""
    for name in [*VARIABLES, *(name for name in os.environ if name.startswith(("S2RM_", "GIT_")))]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    root = tmp_path / "project"
    shutil.copytree(tiny_data.raw, root / "data" / "raw")
    shutil.copytree(tiny_data.prepared, root / "data" / "prepared")
    (root / ".dvc").mkdir()
    for name in (".dvc/config", "dvc.yaml", "archives.yaml"):
        shutil.copy(ROOT / name, root / name)
    params = tiny_params(
        f"data.benchmarks={BENCHMARKS}",
        f"runs.joint.train_on={BENCHMARKS}",
        f"runs.joint.evaluate_on={BENCHMARKS}",
        "~vision.options",
        "+vision.options={}",
    )
    (root / "params.yaml").write_text(yaml.safe_dump(params.model_dump()))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text("[user]\n\tname = tests\n\temail = tests@example.org\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    monkeypatch.chdir(root)
    return root
