"""The scores of expressions against an independent recomputation from the model's own logits."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from tiny_model import processor_of
from transformers import PreTrainedTokenizerBase

from s2rm.data.image_zip import ImageFiles
from s2rm.data.rle import decode
from s2rm.data.table import load_table
from s2rm.evaluation import scores as scoring
from s2rm.evaluation.scores import LEVELS, SCORE_COLUMNS, score_expressions
from s2rm.model.s2rm import S2RM

CPU = torch.device("cpu")
THRESHOLD = 0.4
Mask = NDArray[np.bool_]


@pytest.fixture(scope="module")
def table(tiny_data: Any) -> pd.DataFrame:
    """The rows of two splits, shuffled, so that the expressions of an image are not adjacent."""
    rows = load_table(tiny_data.prepared / "refcoco_unc.parquet")
    rows = rows[rows["split"].isin(["val", "testA"])]
    assert (rows["height"] != rows["width"]).any()
    return rows.sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def model(
    build_tiny: Callable[..., S2RM],
    table: pd.DataFrame,
    tiny_data: Any,
    tiny_tokenizer: PreTrainedTokenizerBase,
) -> S2RM:
    """A model whose masks cover about half of the image at the threshold."""
    model = build_tiny().float()
    with torch.no_grad():
        model.decoder.mask[0].weight.mul_(20)
        logits = own_logits(model, tiny_tokenizer, table.iloc[0], tiny_data.raw)
        model.decoder.mask[0].bias.sub_(float(np.median(logits) - np.log(THRESHOLD / (1 - THRESHOLD))))
    return model


def own_logits(
    model: S2RM, tokenizer: PreTrainedTokenizerBase, row: pd.Series, raw: Path
) -> NDArray[np.float64]:
    """Compute the logits (64, 64) of one expression alone, from its image file."""
    image = Image.open(io.BytesIO(ImageFiles(raw).read(row["image_path"])))
    image = image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    pixels = (np.asarray(image) / 255 - np.array(model.vision.mean)) / np.array(model.vision.std)
    ids = tokenizer(row["expression"], truncation=True, max_length=12)["input_ids"]
    with torch.no_grad():
        masks = model(
            torch.from_numpy(pixels.transpose(2, 0, 1)).float()[None],
            torch.tensor([ids]),
            torch.ones(1, len(ids), dtype=torch.long),
            torch.tensor([0]),
        )
    assert masks.logits.std() > 0.5  # so that hardly any pixel is near the threshold
    return masks.logits[0, 0].double().numpy()


def resize_bilinearly(x: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Resize with half-pixel centres, without antialiasing, one axis after the other."""

    def along(x: NDArray[np.float64], size: int) -> NDArray[np.float64]:
        position = np.clip((np.arange(size) + 0.5) * x.shape[0] / size - 0.5, 0, x.shape[0] - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, x.shape[0] - 1)
        share = (position - low)[:, None]
        return x[low] * (1 - share) + x[high] * share

    return along(along(x, height).T, width).T


def count(predicted: Mask, truth: Mask) -> tuple[int, int]:
    return int((predicted & truth).sum()), int((predicted | truth).sum())


ORIGINAL = ["intersection_original", "union_original", "predicted_rle"]


def score_table(
    model: S2RM, tokenizer: PreTrainedTokenizerBase, table: pd.DataFrame, data: Any, **options: Any
) -> pd.DataFrame:
    return score_expressions(
        model, processor_of(model, tokenizer), table, ImageFiles(data.raw), device=CPU, **options
    ).table


@pytest.mark.parametrize(("images_per_batch", "at_once"), [(1, 32), (4, 32), (4, 3)])
def test_scores_equal_an_independent_recomputation(
    model: S2RM,
    tiny_tokenizer: PreTrainedTokenizerBase,
    table: pd.DataFrame,
    tiny_data: Any,
    monkeypatch: pytest.MonkeyPatch,
    images_per_batch: int,
    at_once: int,
) -> None:
    monkeypatch.setattr(scoring, "EXPRESSIONS_AT_ONCE", at_once)
    scores = score_table(
        model,
        tiny_tokenizer,
        table,
        tiny_data,
        images_per_batch=images_per_batch,
        threshold=THRESHOLD,
    )
    assert tuple(scores.columns) == SCORE_COLUMNS
    assert scores["sent_id"].tolist() == table["sent_id"].tolist()
    assert scores["ref_id"].tolist() == table["ref_id"].tolist()
    assert scores["image_id"].tolist() == table["image_id"].tolist()
    partly = 0
    for (_, row), (_, found) in zip(table.iterrows(), scores.iterrows(), strict=True):
        logits = own_logits(model, tiny_tokenizer, row, tiny_data.raw)
        height, width = row["height"], row["width"]
        rle = {"size": [height, width], "counts": row["mask_rle"].encode()}
        truth = coco.decode(rle).astype(bool)
        nearest = (2 * np.arange(64) + 1) * np.array([[height], [width]]) // 128
        small = truth[np.ix_(*nearest)]
        probability = 1 / (1 + np.exp(-logits))
        predicted = probability > THRESHOLD
        # Float32 and float64 may differ at a pixel near the threshold: one pixel is allowed.
        own = resize_bilinearly(logits, height, width) > np.log(THRESHOLD / (1 - THRESHOLD))
        wanted = [*count(predicted, small), *count(own, truth)]
        assert found[list(SCORE_COLUMNS[3:7])].tolist() == pytest.approx(wanted, abs=1)
        score = probability[predicted].mean() if predicted.any() else 0
        assert found["score"] == pytest.approx(score, abs=1e-3)
        drawn = decode(found["predicted_rle"], height, width)
        assert (drawn != own).sum() <= 1
        assert (drawn & truth).sum() == found["intersection_original"]
        partly += 0 < own.mean() < 1
    assert partly > len(table) / 2
    assert scores["intersection_original"].max() > 20


def test_the_original_size_may_be_left_out(
    model: S2RM, tiny_tokenizer: PreTrainedTokenizerBase, table: pd.DataFrame, tiny_data: Any
) -> None:
    arguments = {"images_per_batch": 4, "threshold": THRESHOLD}
    whole = score_table(model, tiny_tokenizer, table, tiny_data, **arguments)
    small = score_table(
        model,
        tiny_tokenizer,
        table,
        tiny_data,
        original=False,
        **arguments,
    )
    pd.testing.assert_frame_equal(small, whole.drop(columns=ORIGINAL))


def test_bf16_scores_nearly_the_same(
    model: S2RM, tiny_tokenizer: PreTrainedTokenizerBase, table: pd.DataFrame, tiny_data: Any
) -> None:
    arguments = {"images_per_batch": 4, "threshold": THRESHOLD}
    exact = score_table(model, tiny_tokenizer, table, tiny_data, **arguments)
    rough = score_table(
        model,
        tiny_tokenizer,
        table,
        tiny_data,
        precision="bf16",
        **arguments,
    )
    assert not np.array_equal(rough["score"], exact["score"])
    union = "union_original"
    assert (rough[union] - exact[union]).abs().mean() < 0.05 * exact[union].mean()


@pytest.mark.parametrize(("threshold", "empty"), [(1 - 1e-16, True), (1e-300, False)])
def test_empty_and_full_masks(
    model: S2RM,
    tiny_tokenizer: PreTrainedTokenizerBase,
    table: pd.DataFrame,
    tiny_data: Any,
    threshold: float,
    empty: bool,
) -> None:
    scores = score_table(
        model,
        tiny_tokenizer,
        table,
        tiny_data,
        images_per_batch=4,
        threshold=threshold,
    )
    area = table["mask_area"].to_numpy()
    if empty:
        assert not scores[["intersection_model", "intersection_original", "score"]].any(axis=None)
        assert (scores["union_original"] == area).all()
    else:
        assert (scores["union_model"] == 64 * 64).all()
        assert (scores["union_original"] == (table["height"] * table["width"]).to_numpy()).all()
        assert (scores["intersection_original"] == area).all()


def test_the_histogram_counts_every_pixel_by_truth_and_probability(
    model: S2RM, tiny_tokenizer: PreTrainedTokenizerBase, table: pd.DataFrame, tiny_data: Any
) -> None:
    found = score_expressions(
        model,
        processor_of(model, tiny_tokenizer),
        table,
        ImageFiles(tiny_data.raw),
        images_per_batch=4,
        threshold=0.5,
        device=CPU,
    )
    assert found.histogram.sum() == len(table) * 64 * 64
    above = found.histogram[:, LEVELS // 2 :]  # a probability of just 0.5 may be on either side
    intersection, union = found.table["intersection_model"].sum(), found.table["union_model"].sum()
    assert above[1].sum() == pytest.approx(intersection, abs=2)
    assert above[0].sum() + found.histogram[1].sum() == pytest.approx(union, abs=2)
