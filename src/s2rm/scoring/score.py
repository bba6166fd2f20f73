"""Score predicted masks against the prepared data: intersections, unions, metrics.

Shapes: N expressions of one split.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from s2rm.core.errors import UserError
from s2rm.data.resize import resize_mask
from s2rm.data.rle import encode_runs, read_runs
from s2rm.scoring import runs
from s2rm.scoring.masks import read_mask
from s2rm.scoring.matching import Matches
from s2rm.scoring.predictions import Prediction

TOGETHER = 500  # expressions that a process scores at once
FEW = 2000  # expressions for which no further processes are started
COLUMNS = ("sent_id", "ref_id", "image_id", "image_path", "height", "width", "mask_rle")


@dataclass(frozen=True)
class Share:
    """Some expressions of a split, and their predictions."""

    rows: pd.DataFrame
    """`COLUMNS` of the prepared table."""
    predictions: list[Prediction | None]
    folder: Path
    """That the paths of masks start from."""
    side: int
    threshold: float


def score(rows: pd.DataFrame, matches: Matches, folder: Path, *, side: int, threshold: float) -> pd.DataFrame:
    """Score the expressions of a split.

    Args:
        rows: of the prepared table, numbered as in `matches`.
        matches: their predictions; a missing one counts as an empty mask.
        folder: that the paths of masks start from.
        side: of the model's square, pixels.
        threshold: on probabilities.

    Returns:
        One row per expression, with the `SCORE_COLUMNS` of an evaluation.

    Raises:
        UserError: a mask cannot be read; the message names the prediction.
    """
    predictions = [matches.of_row.get(row) for row in range(len(rows))]
    shares = [
        Share(
            rows[list(COLUMNS)].iloc[i : i + TOGETHER], predictions[i : i + TOGETHER], folder, side, threshold
        )
        for i in range(0, len(rows), TOGETHER)
    ]
    workers = min(os.cpu_count() or 1, len(shares))
    if len(rows) <= FEW or workers < 2:
        parts = [score_share(share) for share in shares]
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(score_share, shares))
    return pd.concat(parts, ignore_index=True)


def score_share(share: Share) -> pd.DataFrame:
    """Score some expressions; arguments, result and errors are those of `score`."""
    found = []
    for row, prediction in zip(share.rows.itertuples(index=False), share.predictions, strict=True):
        try:
            found.append(_score_one(row, prediction, share))
        except UserError as error:
            place = prediction.place if prediction else ""
            raise UserError(f"{place} (sent_id {row.sent_id}): {error}") from None
    return pd.DataFrame(found)


def _score_one(row: Any, prediction: Prediction | None, share: Share) -> dict[str, Any]:
    image = (int(row.height), int(row.width))
    truth = read_runs(row.mask_rle)
    about = {"sent_id": row.sent_id, "ref_id": row.ref_id, "image_id": row.image_id}
    truth_model = resize_mask(runs.to_mask(truth, *image), share.side)
    if prediction is None:
        predicted, at_model = np.array([image[0] * image[1]]), np.zeros_like(truth_model)
    else:
        mask = read_mask(prediction.mask, share.folder, image, side=share.side, threshold=share.threshold)
        predicted, at_model = mask.at_image(), mask.at_model()
    shared = runs.intersect(predicted, truth)
    return about | {
        "intersection_model": int((at_model & truth_model).sum()),
        "union_model": int((at_model | truth_model).sum()),
        "intersection_original": shared,
        "union_original": runs.count(predicted) + runs.count(truth) - shared,
        "score": np.nan if prediction is None or prediction.score is None else prediction.score,
        "predicted_rle": encode_runs(predicted),
    }
