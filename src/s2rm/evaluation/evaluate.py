"""Scores a model on a split: for each expression the intersection and the union, at both sizes.

`model` size: the model's square input, the truth resized to it by the nearest pixel (LAVT, ReLA,
DMMI). `original` size: the image's own, the logits resized to it bilinearly, the truth untouched.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from s2rm.data.grouping import OrderedBatches, group_by_image
from s2rm.data.masks import decode
from s2rm.data.samples import ExpressionDataset
from s2rm.model.ris import S2RM

SCORE_COLUMNS = (
    "sent_id",
    "ref_id",
    "image_id",
    "intersection_model",
    "union_model",
    "intersection_original",
    "union_original",
    "score",
)


@torch.inference_mode()
def score_expressions(
    model: S2RM,
    tokenizer: PreTrainedTokenizerBase,
    table: pd.DataFrame,
    raw: Path,
    *,
    images_per_batch: int,
    threshold: float,
    device: torch.device,
    workers: int = 0,
    original: bool = True,
    title: str | None = None,
) -> pd.DataFrame:
    """One row an expression of `table`, in its order, with SCORE_COLUMNS.

    Args:
        threshold: on the probability; a pixel above it is foreground.
        original: False leaves the original size out, as validation during training does.
        title: shows a progress bar of that name.

    `score` is the mean probability inside the predicted mask, 0 where it is empty.
    """
    table = table.reset_index(drop=True)
    dataset = dataset_for(model, tokenizer, table, raw)
    loader = DataLoader(
        dataset,
        batch_sampler=OrderedBatches(group_by_image(dataset.image_path), images_per_batch),
        collate_fn=dataset.collate,
        num_workers=workers,
    )
    cut = float(np.log(threshold / (1 - threshold)))  # on the logits
    scores = {name: np.zeros(len(table)) for name in SCORE_COLUMNS[3:]}
    model.eval()
    for batch in tqdm(loader, desc=title, disable=title is None, unit="batch"):
        on_device = batch.to(device)
        logits = model(
            on_device.images, on_device.token_ids, on_device.attention_mask, on_device.expression_to_image
        ).logits.float()
        rows = batch.rows.numpy()
        predicted = logits > cut
        intersection, union = overlap(predicted, on_device.masks)
        scores["intersection_model"][rows], scores["union_model"][rows] = intersection, union
        scores["score"][rows] = _confidence(logits, predicted)
        if original:
            for row, logit in zip(rows, logits.cpu(), strict=True):
                height, width = dataset.sizes[row]
                truth = torch.from_numpy(decode(dataset.mask_rle[row], height, width))
                own_size = F.interpolate(logit[None], (height, width), mode="bilinear") > cut
                intersection, union = overlap(own_size, truth[None, None])
                scores["intersection_original"][row] = intersection[0]
                scores["union_original"][row] = union[0]
    result = table[["sent_id", "ref_id", "image_id"]].copy()
    for name, values in scores.items():
        if original or not name.endswith("_original"):
            result[name] = values if name == "score" else values.astype(np.int64)
    return result


def dataset_for(
    model: S2RM, tokenizer: PreTrainedTokenizerBase, table: pd.DataFrame, raw: Path
) -> ExpressionDataset:
    """The samples of a table as the model wants them; `raw`: the folder that image_path starts from."""
    return ExpressionDataset(
        table,
        raw,
        tokenizer,
        image_size=model.config.vision.image_size,
        tokens=model.config.language.tokens,
        mean=model.vision.mean,
        std=model.vision.std,
    )


def overlap(predicted: Tensor, truth: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Intersection and union in pixels, (N,) each, of boolean masks (N, 1, H, W)."""
    intersection = (predicted & truth).sum((1, 2, 3))
    union = (predicted | truth).sum((1, 2, 3))
    return intersection.cpu().numpy(), union.cpu().numpy()


def _confidence(logits: Tensor, predicted: Tensor) -> np.ndarray:
    area = predicted.sum((1, 2, 3))
    return ((logits.sigmoid() * predicted).sum((1, 2, 3)) / area.clamp_min(1)).cpu().numpy()
