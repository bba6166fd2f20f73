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

from s2rm.data.dataset import ExpressionDataset
from s2rm.data.rle import decode
from s2rm.data.samplers import ImageBatchSampler, group_by_image
from s2rm.evaluation.expression_cache import EncodedExpressions
from s2rm.model.s2rm import S2RM

EXPRESSIONS_AT_ONCE = 32  # that are fused and decoded together: what bounds the memory

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
    precision: str = "float32",
    workers: int = 0,
    original: bool = True,
    title: str | None = None,
) -> pd.DataFrame:
    """One row an expression of `table`, in its order, with SCORE_COLUMNS.

    Args:
        threshold: on the probability; a pixel above it is foreground.
        precision: of the encoders, the fusion and the decoder: float32 or bf16.
        original: False leaves the original size out, as validation during training does.
        title: shows a progress bar of that name.

    `score` is the mean probability inside the predicted mask, 0 where it is empty.

    Every distinct expression is encoded once, every image once. What is counted stays on the device until the
    end, so that the CPU can decode the next masks meanwhile.
    """
    table = table.reset_index(drop=True)
    dataset = dataset_for(model, tokenizer, table, raw)
    loader = DataLoader(
        dataset,
        batch_sampler=ImageBatchSampler(group_by_image(dataset.image_path), images_per_batch),
        collate_fn=dataset.collate,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    cut = float(np.log(threshold / (1 - threshold)))  # on the logits
    rows: list[Tensor] = []
    counted: list[Tensor] = []  # (5, n) each: what follows the ids in SCORE_COLUMNS
    model.eval()
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        encoded = None
        if model.language is not None:
            encoded = EncodedExpressions(model, dataset.token_ids, dataset.pad, device)
        for batch in tqdm(loader, desc=title, disable=title is None, unit="batch"):
            maps = model.encode_images(batch.images.to(device, non_blocking=True))
            for part in torch.arange(len(batch.rows)).split(EXPRESSIONS_AT_ONCE):
                chosen = batch.rows[part]
                logits = model.segment(
                    maps,
                    None if encoded is None else encoded(chosen.tolist()),
                    batch.expression_to_image[part].to(device, non_blocking=True),
                    batch.images.shape[-2:],
                ).logits.float()
                predicted = logits > cut
                found = overlap(predicted, batch.masks[part].to(device, non_blocking=True))
                found += _overlap_original(logits, dataset, chosen.tolist(), cut) if original else found
                found += (_confidence(logits, predicted),)
                counted.append(torch.stack([each.double() for each in found]))
                rows.append(chosen)
    order = torch.cat(rows).argsort()
    values = torch.cat(counted, dim=1).cpu().numpy()[:, order]
    result = table[["sent_id", "ref_id", "image_id"]].copy()
    for name, column in zip(SCORE_COLUMNS[3:], values, strict=True):
        if original or not name.endswith("_original"):
            result[name] = column if name == "score" else column.astype(np.int64)
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


def overlap(predicted: Tensor, truth: Tensor) -> tuple[Tensor, ...]:
    """Intersection and union in pixels, (N,) each, of boolean masks (N, 1, H, W)."""
    return (predicted & truth).sum((1, 2, 3)), (predicted | truth).sum((1, 2, 3))


def _overlap_original(
    logits: Tensor, dataset: ExpressionDataset, rows: list[int], cut: float
) -> tuple[Tensor, ...]:
    """As `overlap`, at the size of each row's own image."""
    pairs = []
    for row, logit in zip(rows, logits, strict=True):
        height, width = dataset.sizes[row]
        truth = torch.from_numpy(decode(dataset.mask_rle[row], height, width))
        own_size = F.interpolate(logit[None], (height, width), mode="bilinear") > cut
        pairs.append(torch.cat(overlap(own_size, truth[None, None].to(logits.device))))
    return torch.stack(pairs, dim=1).unbind()


def _confidence(logits: Tensor, predicted: Tensor) -> Tensor:
    area = predicted.sum((1, 2, 3))
    return (logits.sigmoid() * predicted).sum((1, 2, 3)) / area.clamp_min(1)
