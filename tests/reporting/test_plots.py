"""The curves as tables of numbers."""

import json

import numpy as np
import pandas as pd
import pytest

from s2rm.core.errors import UserError
from s2rm.reporting.plots import precision_table, share_above, training_table
from s2rm.reporting.scores_io import compute_ious, load_history, load_scores


def test_share_above_counts_the_threshold_itself():
    iou = np.array([0.0, 3 / 5, 1.0, 1.0])
    assert share_above(iou, np.array([0, 0.5, 0.6, 0.61, 1])).tolist() == [100, 75, 75, 50, 50]


def test_precision_is_that_of_the_first_val_split_at_the_models_size(inputs):
    names = [("refcoco_unc", "testA"), ("refcoco_plus_unc", "val"), ("refcocog_umd", "val")]
    table = precision_table({name: compute_ious(load_scores(inputs.scores(*name))) for name in names})
    assert table["threshold"].is_unique
    metrics = json.loads(inputs.metrics.read_text())["refcoco_plus_unc"]["val"]["model"]
    shares = table.set_index("threshold")["precision"]
    assert len(shares) == 21
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9):
        assert shares[threshold] == pytest.approx(metrics[f"P_{threshold}"], abs=1e-3)


def test_precision_of_a_run_without_a_val_split(inputs):
    scores = compute_ious(load_scores(inputs.scores("referit_berkeley", "test")))
    assert len(precision_table({("referit_berkeley", "test"): scores})) == 21


def test_training_table_has_separate_columns_for_each_metric(inputs):
    table = training_table(load_history(inputs.history))
    assert list(table)[:6] == ["step", "epoch", "train/loss", "train/mask", "val/mean/oIoU", "val/mean/mIoU"]
    assert table["val/refcoco_unc/oIoU"].tolist() == [24, 48, 72]
    assert table["val/refcoco_unc/mIoU"].tolist() == [20, 40, 60]


def test_an_empty_union_is_iou_0(tmp_path):
    path = tmp_path / "scores.parquet"
    columns = [f"{part}_{size}" for part in ("intersection", "union") for size in ("model", "original")]
    pd.DataFrame({name: [0] for name in ["image_id", *columns]}).to_parquet(path)
    assert compute_ious(load_scores(path))["model"].tolist() == [0]


@pytest.mark.parametrize("text", ["not json\n", "[1, 2]\n", "", '{"epoch": 1}\n', "3\n"])
def test_a_broken_history_is_refused(tmp_path, text):
    path = tmp_path / "history.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=r"history\.jsonl"):
        load_history(path)


def test_broken_scores_are_refused(tmp_path):
    path = tmp_path / "scores.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="cannot be read as a table of scores"):
        load_scores(path)
    pd.DataFrame({"sent_id": [1]}).to_parquet(path)
    with pytest.raises(UserError, match="cannot be read as a table of scores"):
        load_scores(path)
