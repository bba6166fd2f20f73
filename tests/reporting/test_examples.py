"""Which expressions the qualitative sheet shows, and under which name."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2rm.config.params import Evaluate
from s2rm.evaluation.evaluate import evaluate_benchmarks
from s2rm.reporting.examples import collect_examples, pick_examples


def test_examples_are_at_even_quantiles_of_iou() -> None:
    ious = np.random.default_rng(0).permutation(100)
    scores = pd.DataFrame({"sent_id": range(100), "intersection_original": ious, "union_original": 100})
    assert pick_examples(scores, 1)["iou"].tolist() == [0.5]
    assert pick_examples(scores, 4)["iou"].tolist() == [0.12, 0.37, 0.62, 0.87]
    assert len(pick_examples(scores.head(2), 5)) == 2
    assert pick_examples(scores, 0).empty


@pytest.mark.parametrize(("source", "title"), [("refshapes", "RefShapes refcoco_unc"), ("folder", "RefCOCO")])
def test_examples_are_predicted_anew_and_named_by_their_data(
    build_tiny, tiny_tokenizer, tiny_data, tmp_path: Path, source: str, title: str
) -> None:
    build_tiny().float().save_pretrained(tmp_path / "model", tiny_tokenizer)
    folders = {"prepared": tiny_data.prepared, "raw": tiny_data.raw}
    params = Evaluate(images_per_batch=4, threshold=0.5, precision="float32", workers=0)
    evaluate_benchmarks(
        tmp_path / "model", ["refcoco_unc"], output=tmp_path / "results", params=params, **folders
    )
    examples = collect_examples(
        tmp_path / "model", tmp_path / "results", source=source, count=2, threshold=0.5, **folders
    )
    assert {example.title for example in examples} == {
        f"{title} {split}" for split in ("testA", "testB", "val")
    }
    for example in examples:
        assert example.truth.shape == example.predicted.shape == example.image.size[::-1]
        overlap = (example.truth & example.predicted).sum() / (example.truth | example.predicted).sum()
        assert example.iou == pytest.approx(overlap, abs=0.02)
