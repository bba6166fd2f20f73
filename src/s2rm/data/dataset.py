"""From rows of the prepared tables to samples: an image with some of its expressions and masks."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from s2rm.data.image_zip import ImageFiles
from s2rm.data.images import decode_image
from s2rm.data.processor import Processor
from s2rm.data.rle import decode
from s2rm.data.transforms import resize_mask


@dataclass(frozen=True)
class Batch:
    """B images, N ≥ B expressions of them."""

    images: Tensor  # (B, 3, S, S), normalised
    token_ids: Tensor  # (N, T)
    attention_mask: Tensor  # (N, T)
    expression_to_image: Tensor  # (N,), in 0..B−1
    masks: Tensor  # (N, 1, S, S), bool
    rows: Tensor  # (N,), the expressions' rows in the table

    def to(self, device: torch.device, non_blocking: bool = True) -> "Batch":
        return Batch(*(tensor.to(device, non_blocking=non_blocking) for tensor in vars(self).values()))

    def pin_memory(self) -> "Batch":
        """What a DataLoader calls with `pin_memory`, so that copies to a GPU run beside its work."""
        return Batch(*(tensor.pin_memory() for tensor in vars(self).values()))


@dataclass(frozen=True)
class Sample:
    image: Tensor  # (3, S, S)
    token_ids: list[list[int]]
    masks: list[np.ndarray]  # k of (S, S), bool
    rows: list[int]


class ExpressionDataset(Dataset[Sample]):
    """Indexed by a list of rows of the table, all of one image: the image is decoded once."""

    def __init__(
        self,
        table: pd.DataFrame,
        images: ImageFiles,
        processor: Processor,
    ) -> None:
        """Tokenize the expressions of a table.

        Args:
            table: rows of prepared tables.
            images: the files that `image_path` names.
            processor: how the model's inputs are made.
        """
        self.images, self.processor = images, processor
        self.image_path = table["image_path"].tolist()
        self.mask_rle = table["mask_rle"].tolist()
        self.sizes = table[["height", "width"]].to_numpy()
        self.token_ids = processor.tokenize(table["expression"].tolist())

    def __getitem__(self, rows: list[int]) -> Sample:
        path = self.image_path[rows[0]]
        image = decode_image(self.images.read(path), path)
        masks = [decode(self.mask_rle[row], *self.sizes[row]) for row in rows]
        return Sample(
            image=self.processor.to_tensor(image),
            token_ids=[self.token_ids[row] for row in rows],
            masks=[resize_mask(mask, self.processor.image_size) for mask in masks],
            rows=rows,
        )

    def collate(self, samples: list[Sample]) -> Batch:
        token_ids, attention_mask = self.processor.pad(
            [ids for sample in samples for ids in sample.token_ids]
        )
        counts = torch.tensor([len(sample.rows) for sample in samples])
        # In a worker `default_collate` stacks right into shared memory: a batch is not copied once more.
        return Batch(
            images=default_collate([sample.image for sample in samples]),
            token_ids=token_ids,
            attention_mask=attention_mask,
            expression_to_image=torch.repeat_interleave(torch.arange(len(samples)), counts),
            masks=default_collate([mask for sample in samples for mask in sample.masks])[:, None],
            rows=torch.tensor([row for sample in samples for row in sample.rows]),
        )
