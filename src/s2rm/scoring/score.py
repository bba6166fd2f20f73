"""Score predicted masks against the prepared data: intersections, unions, metrics.

Shapes: N expressions of one split.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from s2rm.core.errors import UserError
from s2rm.data.resize import resize_mask
from s2rm.data.rle import count_pixels, count_shared, encode_runs, read_runs, to_mask
from s2rm.scoring.matching import Matches
from s2rm.scoring.predicted_masks import read_mask
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
    recorded: bool


def score(
    rows: pd.DataFrame,
    matches: Matches,
    folder: Path,
    *,
    side: int,
    threshold: float,
    recorded: bool = False,
) -> pd.DataFrame:
    """Score the expressions of a split.

    Args:
        rows: of the prepared table, numbered as in `matches`.
        matches: their predictions; a missing one counts as an empty mask.
        folder: that the paths of masks start from.
        side: of the model's square, pixels.
        threshold: on probabilities.
        recorded: whether the numbers at the model's size are those that an evaluation recorded for each
            prediction, see `are_recorded`.

    Returns:
        One row per expression, with the `SCORE_COLUMNS` of an evaluation.

    Raises:
        UserError: a mask cannot be read, or its recorded numbers are not those of the mask; the message names
            the prediction.
    """
    predictions = [matches.of_row.get(row) for row in range(len(rows))]
    shares = [
        Share(
            rows=rows[list(COLUMNS)].iloc[i : i + TOGETHER],
            predictions=predictions[i : i + TOGETHER],
            folder=folder,
            side=side,
            threshold=threshold,
            recorded=recorded,
        )
        for i in range(0, len(rows), TOGETHER)
    ]
    workers = min(_count_cores(), len(shares))
    if len(rows) <= FEW or workers < 2:
        parts = [score_share(share) for share in shares]
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(score_share, shares))
    return pd.concat(parts, ignore_index=True)


def are_recorded(matches: Matches) -> bool:
    """Return whether an evaluation recorded its numbers for every expression.

    Where only some have them, all are computed: numbers at two sizes do not add up.
    """
    return not matches.missing and all(each.recorded for each in matches.of_row.values())


def _count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    mask = None
    if prediction is not None:
        mask = read_mask(prediction.mask, share.folder, image, side=share.side, threshold=share.threshold)
    predicted = np.array([image[0] * image[1]]) if mask is None else mask.at_image()
    shared = count_shared(predicted, truth)
    original = shared, count_pixels(predicted) + count_pixels(truth) - shared
    if share.recorded and prediction is not None and prediction.recorded:
        model = _read_recorded(prediction.recorded, original)
    else:
        truth_model = resize_mask(to_mask(truth, *image), share.side)
        at_model = np.zeros_like(truth_model) if mask is None else mask.at_model()
        model = int((at_model & truth_model).sum()), int((at_model | truth_model).sum())
    return {
        "sent_id": row.sent_id,
        "ref_id": row.ref_id,
        "image_id": row.image_id,
        "intersection_model": model[0],
        "union_model": model[1],
        "intersection_original": original[0],
        "union_original": original[1],
        "score": np.nan if prediction is None or prediction.score is None else prediction.score,
        "predicted_rle": encode_runs(predicted),
    }


def _read_recorded(recorded: Mapping[str, int], original: tuple[int, int]) -> tuple[int, int]:
    """Return the recorded numbers at the model's size; those at the image's size show whether they fit."""
    found = recorded["intersection_original"], recorded["union_original"]
    if found != original:
        raise UserError(
            f"its intersection and union are recorded as {found[0]} and {found[1]} pixels, but those of its "
            f"mask are {original[0]} and {original[1]}: evaluate the run again on these data, or leave out "
            "the columns intersection_… and union_…"
        )
    return recorded["intersection_model"], recorded["union_model"]
