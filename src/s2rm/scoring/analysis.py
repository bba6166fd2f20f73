"""The error analysis of one split: kinds of errors, slices, consistency, calibration, confident errors."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s2rm.core.files import replace_text
from s2rm.data.rle import read_runs
from s2rm.scoring.calibration import calibrate, expected_error
from s2rm.scoring.error_kinds import KINDS, Surroundings, classify, lost_points
from s2rm.scoring.metrics import compute_iou
from s2rm.scoring.slices import find_confident_errors, measure_consistency, measure_slices


@dataclass(frozen=True)
class Analysis:
    """What is said of the errors on a split, by masks at the image's own size."""

    kinds: pd.Series
    """The kind of error of each expression."""
    lost: pd.Series
    """Kind → points of mIoU."""
    counts: pd.Series
    """Kind → number of expressions."""
    slices: pd.DataFrame
    """As `measure_slices` returns them."""
    consistency: dict[str, float]
    """As `measure_consistency` returns it."""
    calibration: pd.DataFrame
    """Bins of the score, as `calibrate` returns them."""
    confident_errors: pd.DataFrame
    """As `find_confident_errors` returns them."""
    has_objects: bool
    """Whether other annotated objects were known."""

    def to_json(self) -> dict[str, Any]:
        """Return all of it but the kind of each expression."""
        return {
            "errors": {
                kind: {"points": round(float(self.lost[kind]), 4), "expressions": int(self.counts[kind])}
                for kind in KINDS
            },
            "slices": self.slices.round(4).to_dict("records"),
            "consistency": {name: round(value, 4) for name, value in self.consistency.items()},
            "calibration": {
                "ece": round(expected_error(self.calibration), 4),
                "bins": self.calibration.round(4).to_dict("records"),
            },
            "confident_errors": self.confident_errors.round(4).to_dict("records"),
        }

    def save(self, path: Path, **more: Any) -> Path:
        """Write it as JSON, with what else is given; return `path`."""
        return replace_text(path, json.dumps(without_nan({**self.to_json(), **more}), indent=2) + "\n")


def without_nan(content: Any) -> Any:
    """Return a tree of dicts and lists with None for NaN and infinities, which JSON does not have."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def analyse(rows: pd.DataFrame, scores: pd.DataFrame, objects: pd.DataFrame | None) -> Analysis:
    """Analyse the errors on a split.

    Args:
        rows: its expressions, of the prepared table.
        scores: their scores with the predicted masks, in the same order.
        objects: the annotated objects of the benchmark; None if they are not known.
    """
    masks: dict[str, list[str]] = {}
    if objects is not None:
        wanted = objects[objects["image_path"].isin(rows["image_path"].unique())]
        for path, mask in zip(wanted["image_path"], wanted["mask_rle"], strict=True):
            masks.setdefault(path, []).append(mask)
    kinds: list[str] = []
    scene_of, scene = "", Surroundings(0, [])
    pixels = (rows["height"] * rows["width"]).tolist()
    columns = rows["image_path"], rows["mask_rle"], pixels, scores["predicted_rle"]
    for path, truth, size, predicted in zip(*columns, strict=True):
        if path != scene_of:
            scene_of, scene = path, Surroundings(size, [read_runs(each) for each in masks.get(path, [])])
        kinds.append(classify(read_runs(predicted), read_runs(truth), scene))
    found = pd.Series(kinds)
    shared, union = scores["intersection_original"], scores["union_original"]
    return Analysis(
        kinds=found,
        lost=lost_points(found, shared, union),
        counts=found.value_counts().reindex(list(KINDS), fill_value=0),
        slices=measure_slices(rows, scores, objects),
        consistency=measure_consistency(rows, scores),
        calibration=calibrate(scores["score"], compute_iou(shared, union)),
        confident_errors=find_confident_errors(rows, scores),
        has_objects=objects is not None,
    )
