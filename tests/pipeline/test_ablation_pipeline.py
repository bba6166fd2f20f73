"""An ablation as users run it: experiments in DVC's queue, each in its own copy, and then the table."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from clone import Clone, make_model_small

pytestmark = [pytest.mark.timeout(3600), pytest.mark.slow, pytest.mark.long]
GRID = ["-S", "fusion.balancing=true,false", "-S", "fusion.coparsing=both,none"]
VARIANTS = {
    "full": "2",
    "fusion.coparsing=none": "1",
    "fusion.balancing=false": "1",
    "fusion.coparsing=none, fusion.balancing=false": "1",
}


def make_tiny(params: dict[str, Any]) -> None:
    params["data"]["benchmarks"] = ["refcocog_umd"]
    params["data"]["refshapes"] |= {"train_images": 8, "eval_images": 3}
    params["runs"] = {"tiny": {"train_on": ["refcocog_umd"], "evaluate_on": ["refcocog_umd"]}}
    make_model_small(params)
    params["train"]["epochs"] = 1
    params["evaluate"]["threshold"] = 0.1  # hardly trained: its masks would be empty at 0.5


def work_off(clone: Clone, jobs: int, done: int) -> None:
    """The workers have the pipe of `dvc queue start`, which therefore ends with them."""
    clone.dvc("queue", "start", "--jobs", str(jobs))
    status = clone.dvc("queue", "status")
    assert status.count("Success") == done, status


def test_a_grid_and_seeds_from_a_fresh_clone(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone", make_tiny)
    clone.dvc("exp", "run", "--queue", *GRID)
    # What is queued runs with the code that it was queued with, also while its author goes on.
    (clone.folder / "src/s2rm/training/loop.py").write_text("raise RuntimeError('half edited')\n")
    work_off(clone, jobs=2, done=4)
    clone.git("checkout", "-q", ".")
    assert len(clone.runs()) == 4
    clone.dvc("exp", "run", "--queue", "-S", "train.seed=1,2")
    work_off(clone, jobs=1, done=6)
    recorded = clone.runs()
    assert len(recorded) == 5, "seed 1 comes from DVC's cache"

    command = [sys.executable, "-m", "s2rm.cli", "ablation"]
    out = subprocess.run(command, cwd=clone.folder, env=clone.environment, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert "left out" not in out.stdout
    rows = list(csv.DictReader((clone.folder / "reports/ablations/ablation.csv").read_text().splitlines()))
    places = [("refcocog_umd", "val"), ("refcocog_umd", "test"), ("mean", "val")]
    assert [(row["variant"], row["benchmark"], row["split"]) for row in rows] == [
        (variant, *place) for variant in VARIANTS for place in places
    ]
    assert {row["variant"]: row["seeds"] for row in rows} == VARIANTS
    for run in recorded:
        if run.data.params["fusion.balancing"] == "False" and run.data.params["fusion.coparsing"] == "both":
            wanted = run.data.metrics["mIoU/refcocog_umd_test"]
    (found,) = (row for row in rows if (row["variant"], row["split"]) == ("fusion.balancing=false", "test"))
    assert float(found["mIoU_mean"]) == pytest.approx(wanted, abs=1e-3)
    assert wanted > 0
    assert float(found["low"]) <= float(found["difference"]) <= float(found["high"])
