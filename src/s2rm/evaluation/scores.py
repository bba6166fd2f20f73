"""Score a model on a split: the intersection, the union and the predicted mask of each expression.

Shapes: N expressions, S the side of the model's input, H×W the image's own size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from s2rm.core.process import prepare_workers
from s2rm.data.dataset import ExpressionDataset
from s2rm.data.image_zip import ImageFiles
from s2rm.data.processor import Processor
from s2rm.data.rle import encode
from s2rm.data.rows import Rows
from s2rm.data.samplers import ImageBatchSampler
from s2rm.evaluation.expression_cache import EncodedExpressions
from s2rm.model.s2rm import S2RM

EXPRESSIONS_AT_ONCE = 32  # fused and decoded together; bounds the memory
PART = 50_000  # expressions whose language features are held: about 3 GB for a BERT-base and 20 tokens
LEVELS = 1000  # of the probability, counted for the calibration

SCORE_COLUMNS = (
    "sent_id",
    "ref_id",
    "image_id",
    "intersection_model",
    "union_model",
    "intersection_original",
    "union_original",
    "score",  # the mean probability inside the predicted mask, 0 where it is empty
    "predicted_rle",  # the predicted mask at the image's size, COCO's compressed run lengths
)


@dataclass(frozen=True)
class Scores:
    """The scores of some expressions."""

    table: pd.DataFrame
    """One row per expression, with SCORE_COLUMNS."""
    histogram: NDArray[np.int64]
    """Number of pixels at the model's size by truth (background, foreground) and probability, (2, LEVELS)."""

    @classmethod
    def join(cls, shares: list[tuple[NDArray[np.int64], Self]]) -> Self:
        """Join the scores of parts of a table.

        Args:
            shares: the rows of each part in the table, and their scores.

        Returns:
            The scores of all rows, in the order of the table.
        """
        order = np.concatenate([rows for rows, _ in shares]).argsort()
        table = pd.concat([scores.table for _, scores in shares], ignore_index=True)
        histogram = np.sum([scores.histogram for _, scores in shares], axis=0)
        return cls(table.iloc[order].reset_index(drop=True), histogram)


class Part(NamedTuple):
    """Expressions of a batch that are fused and decoded together, and the images that they are about."""

    expressions: slice
    images: slice


def split_batch(owners: Sequence[int]) -> Iterator[Part]:
    """Split a batch into parts of at most `EXPRESSIONS_AT_ONCE` expressions.

    Args:
        owners: the image of each expression, in ascending order.
    """
    for start in range(0, len(owners), EXPRESSIONS_AT_ONCE):
        some = owners[start : start + EXPRESSIONS_AT_ONCE]
        yield Part(slice(start, start + len(some)), slice(some[0], some[-1] + 1))


def score_expressions(
    model: S2RM, processor: Processor, table: pd.DataFrame, images: ImageFiles, **options: Any
) -> Scores:
    """Score every expression of `table`, of which there may be any number: at most `PART` are held at once.

    Arguments, result and errors are those of `score_part`.
    """
    image = pd.factorize(table["image_path"])[0]
    rows = np.argsort(image, kind="stable")
    starts = np.flatnonzero(np.diff(image[rows], prepend=-1))
    part_of_image = starts // PART
    part = np.repeat(part_of_image, np.diff(starts, append=len(rows)))
    parts = [rows[part == each] for each in np.unique(part)]
    return Scores.join(
        [(each, score_part(model, processor, table.iloc[each], images, **options)) for each in parts]
    )


@torch.inference_mode()
def score_part(
    model: S2RM,
    processor: Processor,
    table: pd.DataFrame,
    images: ImageFiles,
    *,
    images_per_batch: int,
    threshold: float,
    device: torch.device,
    precision: str = "float32",
    workers: int = 0,
    original: bool = True,
    title: str | None = None,
) -> Scores:
    """Score the expressions of `table`, whose features are held all at once.

    Every distinct expression and every image is encoded once.

    Args:
        model: on `device`.
        processor: the model's own.
        table: rows of prepared tables.
        images: the files that `image_path` names.
        images_per_batch: images that are encoded together.
        threshold: on the probability; a pixel above it is foreground.
        device: where the model runs.
        precision: of the encoders, the fusion and the decoder: float32 or bf16.
        workers: loader processes.
        original: False leaves out the original size and the predicted masks, for validation during training.
        title: of the progress bar; None shows none.

    Returns:
        The scores, in the order of `table`.

    Raises:
        UserError: an image cannot be read.
    """
    table = table.reset_index(drop=True)
    dataset = ExpressionDataset(Rows.from_frame(table), images, processor)
    loader = DataLoader(
        dataset,
        batch_sampler=ImageBatchSampler(dataset.rows.group_by_image(), images_per_batch),
        collate_fn=dataset.collate,
        num_workers=workers,
        worker_init_fn=prepare_workers(),
        pin_memory=device.type == "cuda",
    )
    cut = float(np.log(threshold / (1 - threshold)))  # on the logits
    rows: list[Tensor] = []
    # These stay on the device until the end: (5, N) each, in the order of SCORE_COLUMNS after the ids.
    counted: list[Tensor] = []
    predicted_rle = [""] * len(table)
    histogram = torch.zeros(2 * LEVELS, dtype=torch.int64, device=device)
    model.eval()
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        encoded = None
        if model.language is not None:
            encoded = EncodedExpressions(
                model, processor.tokenize(table["expression"].tolist()), processor, device
            )
        with tqdm(loader, desc=title, disable=title is None, unit="batch") as bar:
            for batch in bar:
                maps = model.encode_images(processor.normalise(batch.pixels.to(device, non_blocking=True)))
                owners = batch.expression_to_image
                for part, seen in split_batch(owners.tolist()):
                    chosen = batch.rows[part]
                    logits = model.segment(
                        [each[seen] for each in maps],
                        None if encoded is None else encoded(chosen.tolist()),
                        (owners[part] - seen.start).to(device, non_blocking=True),
                        batch.pixels.shape[-2:],
                    ).logits.float()
                    predicted, truth = logits > cut, batch.masks[part].to(device, non_blocking=True)
                    probability = logits.sigmoid()
                    found = overlap(predicted, truth)
                    if original:
                        histogram += _count_levels(probability, truth)
                        found += _score_original(logits, dataset.rows, chosen.tolist(), cut, predicted_rle)
                    else:
                        found += found
                    found += (_confidence(probability, predicted),)
                    counted.append(torch.stack([each.double() for each in found]))
                    rows.append(chosen)
    order = torch.cat(rows).argsort()
    values = torch.cat(counted, dim=1).cpu().numpy()[:, order]
    result = table[["sent_id", "ref_id", "image_id"]].copy()
    for name, column in zip(SCORE_COLUMNS[3:-1], values, strict=True):
        if original or not name.endswith("_original"):
            result[name] = column if name == "score" else column.astype(np.int64)
    if original:
        result["predicted_rle"] = predicted_rle
    return Scores(result, histogram.cpu().numpy().reshape(2, LEVELS))


def overlap(predicted: Tensor, truth: Tensor) -> tuple[Tensor, ...]:
    """Return intersection and union in pixels, (N,) each, of boolean masks (N, 1, H, W)."""
    return (predicted & truth).sum((1, 2, 3)), (predicted | truth).sum((1, 2, 3))


def _score_original(
    logits: Tensor, table: Rows, rows: list[int], cut: float, predicted_rle: list[str]
) -> tuple[Tensor, ...]:
    """Return what `overlap` does, at the size of each row's image; store its mask in `predicted_rle`."""
    pairs = []
    for row, logit in zip(rows, logits, strict=True):
        truth = torch.from_numpy(table.mask(row))
        own_size = F.interpolate(logit[None], truth.shape, mode="bilinear") > cut
        pairs.append(torch.cat(overlap(own_size, truth[None, None].to(logits.device))))
        predicted_rle[row] = encode(own_size[0, 0].cpu().numpy())
    return torch.stack(pairs, dim=1).unbind()


def _confidence(probability: Tensor, predicted: Tensor) -> Tensor:
    """Return the mean probability inside each predicted mask, (N,); 0 where the mask is empty."""
    area = predicted.sum((1, 2, 3))
    return (probability * predicted).sum((1, 2, 3)) / area.clamp_min(1)


def _count_levels(probability: Tensor, truth: Tensor) -> Tensor:
    """Count the pixels of (N, 1, S, S) by truth and level of probability: (2 · LEVELS,)."""
    level = (probability * LEVELS).long().clamp_max(LEVELS - 1)
    return torch.bincount((level + LEVELS * truth).flatten(), minlength=2 * LEVELS)
