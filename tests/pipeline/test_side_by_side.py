"""Several trainings at the same time in one workspace, as on a machine with several GPUs."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from clone import Clone, make_model_small

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
NAMES = ("refcoco_unc", "refcocog_umd")


def make_two(params: dict[str, Any]) -> None:
    params["data"]["benchmarks"] = list(NAMES)
    params["data"]["refshapes"] |= {"train_images": 60, "eval_images": 4}
    params["runs"] = {name: {"train_on": [name], "evaluate_on": [name]} for name in NAMES}
    make_model_small(params)


def test_two_trainings_side_by_side(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone", make_two)
    clone.dvc("repro", "preprocess", "weights")
    trainings = [clone.start("repro", "--single-item", f"train@{name}") for name in NAMES]
    outputs = [training.communicate(timeout=600)[0] for training in trainings]
    assert [training.returncode for training in trainings] == [0, 0], outputs
    stages = yaml.safe_load((clone.folder / "dvc.lock").read_text())["stages"]
    assert {f"train@{name}" for name in NAMES} <= set(stages)
    assert clone.ran(clone.dvc("repro")) == [*(f"evaluate@{name}" for name in NAMES), "report"]
    assert [run.info.status for run in clone.runs()] == ["FINISHED"] * 2
