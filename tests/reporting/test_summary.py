"""The few numbers that git keeps of each run."""

import json
from pathlib import Path
from statistics import mean

import pytest

from s2rm.reporting.run_metrics import Measured, load_metrics
from s2rm.reporting.summary import compared_metrics, write_summary

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/example/metrics.json"


def measured(run: str) -> Measured:
    return Measured(run, "refshapes", "resnet10t", 80, load_metrics(EXAMPLE))


def test_the_summary_has_the_columns_of_the_field_s_tables(tmp_path: Path) -> None:
    path = write_summary(tmp_path / "summary.json", [measured("a"), measured("b")])
    summary = json.loads(path.read_text())
    assert summary["a"] == summary["b"]
    assert list(summary["a"]) == [
        "val_mIoU", "val_oIoU", "refcoco_val", "refcoco_testA", "refcoco_testB", "refcoco_plus_val",
        "refcoco_plus_testA", "refcoco_plus_testB", "refcocog_umd_val", "refcocog_umd_test",
        "refcocog_google_val", "referit_test",
    ]  # fmt: skip
    metrics = json.loads(EXAMPLE.read_text())
    wanted = mean(splits["val"]["model"]["mIoU"] for splits in metrics.values())
    assert summary["a"]["val_mIoU"] == pytest.approx(wanted, abs=0.005)
    assert summary["a"]["referit_test"] == pytest.approx(
        metrics["referit_berkeley"]["test"]["model"]["oIoU"], abs=0.005
    )


def test_five_runs_of_one_benchmark_fit_a_screen(tmp_path: Path) -> None:
    """As presets/paper.yaml has them."""
    whole = measured("a").scores
    runs = [
        Measured(str(name), "folder", "swin", 480, part)
        for name, part in whole.groupby("benchmark", sort=False)
    ]
    summary = json.loads(write_summary(tmp_path / "summary.json", runs).read_text())
    official = {name: found for name, found in summary.items() if not name.startswith("refshapes")}
    assert len(official) == 5
    assert sum(map(len, official.values())) <= 15
    assert list(summary["refcoco_unc"]) == ["val_mIoU", "refcoco_val", "refcoco_testA", "refcoco_testB"]


def test_what_mlflow_compares() -> None:
    found = compared_metrics(measured("a").scores)
    metrics = json.loads(EXAMPLE.read_text())
    assert found["oIoU/refcoco_testA"] == metrics["refcoco_unc"]["testA"]["model"]["oIoU"]
    vals = [splits["val"]["model"]["mIoU"] for splits in metrics.values()]
    assert found["mIoU/val_mean"] == pytest.approx(mean(vals))
    curves = 3 + 2 * (1 + len(metrics)) + 8  # losses and rates, validations, the machine with a GPU
    assert len(found) + curves <= 100


def test_a_run_without_a_val_split_has_no_mean(tmp_path: Path) -> None:
    run = measured("a")
    scores = run.scores[run.scores["split"] == "testA"]
    path = write_summary(tmp_path / "s.json", [Measured("a", "refshapes", "resnet10t", 80, scores)])
    assert list(json.loads(path.read_text())["a"]) == ["refcoco_testA", "refcoco_plus_testA"]
