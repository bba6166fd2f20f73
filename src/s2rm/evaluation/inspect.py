"""Inspect an evaluated model and write what the report draws; the report reads these files only.

    <output>/examples.parquet       one row per example: EXAMPLE_COLUMNS
    <output>/images/…               the examples' image files, as they are in the data
    <output>/calibration.parquet    one row per split and bin of probability
    <output>/balancing.parquet      one row per parsed semantic of a benchmark and stage: BALANCING_COLUMNS
    <output>/gates.npz, gates.json  the gates, weights and shares of one stage for one expression
    <output>/words.npz, words.json  where the same stage distributes the words of this expression

`Fusion.why_no_weights`, `why_no_gates` and `why_no_words` say which models lack some of them.

Shapes: N expressions, T tokens, C channels, H×W positions, K parsed semantics.
"""

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from s2rm.core.files import replace, replace_text
from s2rm.data.dataset import ExpressionDataset
from s2rm.data.image_zip import ImageFiles
from s2rm.data.images import decode_image
from s2rm.data.rows import Rows
from s2rm.data.samplers import ImageBatchSampler
from s2rm.evaluation.scores import LEVELS, Scores
from s2rm.model.hooks import (
    attentive_stages,
    balanced_stages,
    places_of,
    watch_stage,
    watch_weights,
    watch_words,
)
from s2rm.predictor import Predictor
from s2rm.scoring.metrics import compute_iou
from s2rm.scoring.slices import CONFIDENT_IOU

BINS = 20  # of the probability, in the calibration
# Shown where a run is evaluated on it: its expressions need positions and their order.
SHOWN_FIRST = "refshapes_structured"
BALANCING_IMAGES = 200  # the first ones of a split: all of a large split would take as long as its evaluation
IMAGES_PER_BATCH = 8
FAILURES = 3  # of each kind in a split

EXAMPLE_COLUMNS = (
    "benchmark",
    "split",
    "sent_id",
    "expression",
    "iou",  # at the image's size, 0…1
    "score",  # as in SCORE_COLUMNS
    "kind",  # of the error, one of `s2rm.scoring.error_kinds.KINDS`
    "image",  # the file under images/
    "height",
    "width",
    "mask_rle",
    "predicted_rle",
    "in_sheet",  # of the pictures at even quantiles; the others are failures, and what the views show
)
PICKED = (*(column for column in EXAMPLE_COLUMNS if column != "image"), "image_path")
BALANCING_COLUMNS = ("benchmark", "stage", "images", "expressions", "role", "rotation", "weight")


@dataclass(frozen=True)
class SplitScores:
    """The rows and the scores of one evaluated split."""

    benchmark: str
    split: str
    rows: pd.DataFrame
    """The rows of the prepared table, indexed 0..n−1."""
    scores: Scores
    """The scores of these rows, in the same order."""
    kinds: pd.Series
    """The kind of error of each row."""


def inspect_model(
    predictor: Predictor, splits: list[SplitScores], images: ImageFiles, output: Path, *, examples: int
) -> None:
    """Write all files that the module's docstring lists.

    Args:
        predictor: the evaluated model.
        splits: the evaluated splits, in the order of the benchmarks.
        images: the files that `image_path` names.
        output: results/<run>/inspect; replaced.
        examples: number of examples per split.
    """
    shutil.rmtree(output, ignore_errors=True)
    shown = [pick_examples(split, examples) for split in splits]
    shown += [pick_failures(split) for split in splits]
    fusion = predictor.model.config.fusion
    if fusion.why_no_gates is None or fusion.why_no_words is None:
        first = next((split for split in splits if split.benchmark == SHOWN_FIRST), splits[0])
        example = pick_examples(first, 1)
        _write_views(predictor, example.iloc[0], images, output)
        shown.append(example.assign(in_sheet=False))
    _write_examples(pd.concat(shown), images, output)
    _write_table(output / "calibration.parquet", pd.concat([_calibrate(split) for split in splits]))
    if fusion.why_no_weights is None:
        _write_table(output / "balancing.parquet", collect_weights(predictor, splits, images))


def pick_examples(split: SplitScores, count: int) -> pd.DataFrame:
    """Pick expressions at evenly spaced quantiles of their IoU at the image's size, not the best ones.

    Args:
        split: the evaluated split.
        count: number of expressions.

    Returns:
        One row per example, from the worst to the best: PICKED.
    """
    ordered = _describe(split).assign(in_sheet=True)
    positions = (np.arange(count) + 0.5) / max(count, 1) * len(ordered)
    return ordered.iloc[np.unique(positions.astype(int))][list(PICKED)]


def pick_failures(split: SplitScores) -> pd.DataFrame:
    """Pick failures: of each kind of error those of the lowest IoU, and the confident ones; one per referent.

    Args:
        split: the evaluated split.

    Returns:
        One row per example, as `pick_examples` returns them; at most FAILURES of each kind.
    """
    ordered = _describe(split).assign(in_sheet=False).drop_duplicates("ref_id")
    confident = ordered[ordered["iou"] < CONFIDENT_IOU].sort_values("score", ascending=False, kind="stable")
    failures = ordered[ordered["kind"] != "good"].groupby("kind", sort=False).head(FAILURES)
    return pd.concat([confident.head(FAILURES), failures])[list(PICKED)]


def _describe(split: SplitScores) -> pd.DataFrame:
    """Join the rows with their scores, from the worst to the best."""
    table = split.scores.table
    scored = split.rows.assign(
        benchmark=split.benchmark,
        iou=compute_iou(table["intersection_original"], table["union_original"]),
        score=table["score"],
        kind=split.kinds.to_numpy(),
        predicted_rle=table["predicted_rle"],
    )
    return scored.sort_values(["iou", "sent_id"], ignore_index=True)


@torch.inference_mode()
def collect_weights(predictor: Predictor, splits: list[SplitScores], images: ImageFiles) -> pd.DataFrame:
    """Average the balancing weights over val expressions.

    Each benchmark contributes the expressions of the first BALANCING_IMAGES images of its val split.

    Args:
        predictor: the evaluated model.
        splits: the evaluated splits; those that are not `val` are skipped.
        images: the files that `image_path` names.

    Returns:
        One row per benchmark, stage and parsed semantic: BALANCING_COLUMNS. The weight, 0…1, is the mean
        over channels and expressions.
    """
    model = predictor.model
    rows = []
    for split in splits:
        if split.split != "val":
            continue
        paths = split.rows["image_path"]
        table = split.rows[paths.isin(paths.unique()[:BALANCING_IMAGES])].reset_index(drop=True)
        means = _mean_weights(predictor, table, images)
        counts = {"images": table["image_path"].nunique(), "expressions": len(table)}
        for stage, fusion in balanced_stages(model).items():
            for (role, rotation), weight in zip(places_of(fusion), means[stage], strict=True):
                semantic = {"stage": stage, **counts, "role": role, "rotation": rotation}
                rows.append({"benchmark": split.benchmark, **semantic, "weight": weight})
    return pd.DataFrame(rows, columns=list(BALANCING_COLUMNS))


def _mean_weights(
    predictor: Predictor, table: pd.DataFrame, images: ImageFiles
) -> dict[int, NDArray[np.float64]]:
    """Return stage → the weight of each parsed semantic (K,), the mean over channels and expressions."""
    model = predictor.model
    device = next(model.parameters()).device
    dataset = ExpressionDataset(Rows.from_frame(table), images, predictor.processor)
    batches = ImageBatchSampler(dataset.rows.group_by_image(), IMAGES_PER_BATCH)
    sums: dict[int, NDArray[np.float64]] = {}
    with watch_weights(model) as weights:
        for batch in DataLoader(dataset, batch_sampler=batches, collate_fn=dataset.collate):
            here = batch.to(device)
            pixels = predictor.processor.normalise(here.pixels)
            model(pixels, here.token_ids, here.attention_mask, here.expression_to_image)
            for stage, weight in weights.items():
                sums[stage] = sums.get(stage, 0) + weight.double().mean(2).sum(0).cpu().numpy()
    return {stage: total / len(table) for stage, total in sums.items()}


def _write_views(predictor: Predictor, example: pd.Series, images: ImageFiles, output: Path) -> None:
    """Write what the finest fused stage computes for one expression, as far as the model has it."""
    model, text = predictor.model, example["expression"]
    stage = min(model.config.fusion.stages)
    about = {
        "benchmark": example["benchmark"],
        "split": example["split"],
        "sent_id": int(example["sent_id"]),
        "stage": stage,
    }
    has_gates = model.config.fusion.why_no_gates is None
    image = decode_image(images.read(example["image_path"]), example["image_path"])
    with ExitStack() as watched:
        affinities = watched.enter_context(watch_words(model))
        seen = watched.enter_context(watch_stage(model, stage)) if has_gates else None
        predictor.predict(image, [text])
    if seen is not None:
        _write_view(
            output / "gates.json",
            about | {"places": seen.places},
            gates=np.stack([seen.gates[place][0].mean(0).cpu().numpy() for place in seen.places]),
            weights=seen.weights[0].mean(1).cpu().numpy(),
            shares=seen.shares[0].cpu().numpy(),
        )
    if stage in affinities:
        tokenizer = predictor.processor.tokenizer
        (token_ids,) = predictor.processor.tokenize([text])
        words = {
            "tokens": tokenizer.convert_ids_to_tokens(token_ids),
            "special": [0, len(token_ids) - 1],  # every tokenizer marks both ends
            "kind": "softmax" if attentive_stages(model)[stage].bias is None else "sigmoid",
        }
        _write_view(output / "words.json", about | words, affinity=affinities[stage][0].cpu().numpy())


def _write_view(path: Path, about: dict[str, Any], **arrays: NDArray[np.float32]) -> None:
    """Write a JSON file, and the arrays beside it."""

    def save(partial: Path) -> None:
        with partial.open("wb") as file:  # to a path numpy would append .npz
            np.savez(file, allow_pickle=False, **arrays)

    replace(path.with_suffix(".npz"), save)
    replace_text(path, json.dumps(about, indent=2) + "\n")


def _write_examples(examples: pd.DataFrame, images: ImageFiles, output: Path) -> None:
    key = ["benchmark", "split", "sent_id"]
    examples["in_sheet"] = examples.groupby(key)["in_sheet"].transform("any")
    examples = examples.drop_duplicates(key, ignore_index=True)
    paths = examples.pop("image_path")
    examples["image"] = [path.replace("/", "-") for path in paths]
    for path, name in dict(zip(paths, examples["image"], strict=True)).items():
        replace(output / "images" / name, partial(Path.write_bytes, data=images.read(path)))
    _write_table(output / "examples.parquet", examples[list(EXAMPLE_COLUMNS)])


def _calibrate(split: SplitScores) -> pd.DataFrame:
    """Count the pixels at the model's size by predicted probability: how often are they foreground?

    Returns:
        One row per bin: benchmark, split, low and high (bounds of the bin), pixels, foreground (those of the
        pixels that belong to the true mask), probability (the mean over the pixels; NaN in an empty bin).
    """
    histogram = split.scores.histogram.reshape(2, BINS, LEVELS // BINS)
    pixels = histogram.sum((0, 2))
    centres = (np.arange(LEVELS).reshape(BINS, -1) + 0.5) / LEVELS
    total = (histogram.sum(0) * centres).sum(1)
    return pd.DataFrame(
        {
            "benchmark": split.benchmark,
            "split": split.split,
            "low": np.arange(BINS) / BINS,
            "high": np.arange(1, BINS + 1) / BINS,
            "pixels": pixels,
            "foreground": histogram[1].sum(1),
            "probability": np.divide(total, pixels, out=np.full(BINS, np.nan), where=pixels > 0),
        }
    )


def _write_table(path: Path, table: pd.DataFrame) -> None:
    replace(path, partial(table.to_parquet, index=False))
