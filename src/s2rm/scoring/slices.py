"""mIoU by slices: what kind of expression, of what kind of referent. Each with its number and interval."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from s2rm.scoring.intervals import Ratio, bootstrap_all
from s2rm.scoring.lexicon import KINDS, POSITION, count_words, find_kinds
from s2rm.scoring.metrics import compute_iou

FEWEST = 30  # expressions; a slice with fewer says little and is shown in grey
LENGTHS = ((1, 1), (2, 3), (4, 6), (7, 10), (11, 10**6))  # words
SMALL, MEDIUM = 32**2, 96**2  # pixels, COCO's limits of small and medium objects
MOST_CATEGORIES = 12  # the most frequent ones are slices
RESAMPLES = 2000
CONFIDENT_SCORE, CONFIDENT_IOU = 0.95, 0.1  # above and below them a prediction is confident and wrong
COLUMNS = ("group", "slice", "expressions", "share", "mIoU", "low", "high")


def measure_slices(rows: pd.DataFrame, scores: pd.DataFrame, objects: pd.DataFrame | None) -> pd.DataFrame:
    """Measure mIoU at the image's size on each slice.

    Args:
        rows: the expressions of a split, of the prepared table.
        scores: their scores, in the same order.
        objects: the annotated objects of the benchmark; None leaves out the number of similar objects.

    Returns:
        `COLUMNS`: n expressions, their share of all, mIoU and its 95 % interval over images, in percent.
    """
    iou = 100 * compute_iou(scores["intersection_original"], scores["union_original"])
    image = rows["image_path"].to_numpy()
    slices = [(group, name, chosen) for group, name, chosen in _slices(rows, objects) if chosen.any()]
    ratios = [[Ratio(iou[chosen], np.ones(chosen.sum()), image[chosen].tolist())] for _, _, chosen in slices]
    intervals = bootstrap_all(ratios, resamples=RESAMPLES)
    found = [
        (group, name, int(chosen.sum()), 100 * chosen.mean(), each.value, each.low, each.high)
        for (group, name, chosen), each in zip(slices, intervals, strict=True)
    ]
    return pd.DataFrame(found, columns=list(COLUMNS))


def _slices(rows: pd.DataFrame, objects: pd.DataFrame | None) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Yield group, name and which rows belong to it."""
    words = rows["expression"].map(count_words).to_numpy()
    for low, high in LENGTHS:
        name = f"{low}" if low == high else f"{low} to {high}" if high < 10**6 else f"{low} and more"
        yield "words", name, (words >= low) & (words <= high)

    kinds = [find_kinds(text) for text in rows["expression"]]
    for kind in KINDS:
        yield "kind of words", kind, np.array([kind in each for each in kinds])
    yield "kind of words", "none of these", np.array([not each for each in kinds])
    place = np.array([not each.isdisjoint(POSITION) for each in kinds])
    yield "position", "with a word of position", place
    yield "position", "without", ~place

    area = rows["mask_area"].to_numpy()
    yield "referent", "small (below 32² pixels)", area < SMALL
    yield "referent", "medium", (area >= SMALL) & (area < MEDIUM)
    yield "referent", "large (96² pixels and more)", area >= MEDIUM

    if objects is not None and (rows["category"] != "").any():
        similar = count_similar(rows, objects)
        for count in (1, 2, 3):
            yield "objects of its category", str(count), similar == count
        yield "objects of its category", "4 and more", similar >= 4
        for category in rows["category"].value_counts().index[:MOST_CATEGORIES]:
            yield "category", str(category), (rows["category"] == category).to_numpy()


def count_similar(rows: pd.DataFrame, objects: pd.DataFrame) -> NDArray[np.int64]:
    """Return, for each row, how many annotated objects of its image have its category, itself among them."""
    counts = objects.groupby(["image_path", "category"]).size()
    keys = pd.MultiIndex.from_frame(rows[["image_path", "category"]])
    return counts.reindex(keys, fill_value=1).to_numpy().clip(min=1)


def measure_consistency(rows: pd.DataFrame, scores: pd.DataFrame) -> dict[str, float]:
    """Measure whether the expressions of one referent are answered alike, over referents with several.

    Returns:
        referents: their number; spread: the mean over referents of the range of their IoUs; split: the share
        of referents of which some expressions have an IoU of 0.5 or more and others not; percent.
    """
    iou = 100 * compute_iou(scores["intersection_original"], scores["union_original"])
    groups = pd.DataFrame({"ref": rows["ref_id"].to_numpy(), "iou": iou}).groupby("ref")["iou"]
    ranges = pd.DataFrame({"size": groups.size(), "min": groups.min(), "max": groups.max()})
    several = ranges[ranges["size"] > 1]
    if several.empty:
        return {"referents": 0, "spread": float("nan"), "split": float("nan")}
    mixed = (several["max"] >= 50) & (several["min"] < 50)
    return {
        "referents": len(several),
        "spread": float((several["max"] - several["min"]).mean()),
        "split": float(100 * mixed.mean()),
    }


def is_confident_error(score: float, iou: float) -> bool:
    """Return whether a prediction is confident and wrong; both numbers in 0…1."""
    return score > CONFIDENT_SCORE and iou < CONFIDENT_IOU


def find_confident_errors(
    rows: pd.DataFrame, scores: pd.DataFrame, *, score: float = CONFIDENT_SCORE, iou: float = CONFIDENT_IOU
) -> pd.DataFrame:
    """Return the expressions with a high score and hardly any overlap: label errors, or real failures.

    Returns:
        sent_id, image_path, expression, score and IoU (percent), the most confident first.
    """
    found = compute_iou(scores["intersection_original"], scores["union_original"])
    wrong = (scores["score"].to_numpy() > score) & (found < iou)
    table = rows[["sent_id", "image_path", "expression"]].assign(
        score=scores["score"].to_numpy(), IoU=100 * found
    )
    return table[wrong].sort_values("score", ascending=False, kind="stable").reset_index(drop=True)
