"""The few numbers that git keeps of each run."""

import json
from pathlib import Path
from statistics import mean

import pytest

from s2rm.reporting.run_metrics import Measured, load_metrics
from s2rm.reporting.summary import write_summary

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


def test_a_run_without_a_val_split_has_no_mean(tmp_path: Path) -> None:
    run = measured("a")
    scores = run.scores[run.scores["split"] == "testA"]
    path = write_summary(tmp_path / "s.json", [Measured("a", "refshapes", "resnet10t", 80, scores)])
    assert list(json.loads(path.read_text())["a"]) == ["refcoco_testA", "refcoco_plus_testA"]
