"""From rows of the prepared tables to samples and batches: images with some of their expressions and masks.

Shapes: B images, N expressions, S the side of the model's input in pixels, T tokens.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from s2rm.data.image_zip import ImageFiles
from s2rm.data.images import decode_image
from s2rm.data.processor import Processor
from s2rm.data.resize import resize_mask
from s2rm.data.rows import Rows


@dataclass(frozen=True)
class Batch:
    """B images with N ≥ B expressions."""

    pixels: Tensor
    """(B, 3, S, S), uint8; `Processor.normalise` makes the model's input of them, on its device."""
    token_ids: Tensor
    """(N, T)."""
    attention_mask: Tensor
    """(N, T), 1 for tokens, 0 for padding."""
    expression_to_image: Tensor
    """(N,), the image of each expression, in 0..B−1."""
    masks: Tensor
    """(N, 1, S, S), boolean."""
    rows: Tensor
    """(N,), the rows of the expressions in the table."""

    def to(self, device: torch.device, non_blocking: bool = True) -> "Batch":
        """Return the batch on another device; `non_blocking` as for `torch.Tensor.to`."""
        return Batch(*(tensor.to(device, non_blocking=non_blocking) for tensor in vars(self).values()))

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory, so that its copy to a GPU overlaps with computation.

        A `DataLoader` with `pin_memory=True` calls this.
        """
        return Batch(*(tensor.pin_memory() for tensor in vars(self).values()))


@dataclass(frozen=True)
class Sample:
    """One image with some of its expressions."""

    pixels: Tensor
    """(3, S, S), uint8."""
    expressions: list[str]
    masks: list[np.ndarray]
    """The mask of each expression, (S, S), boolean."""
    rows: list[int]
    """The row of each expression in the table."""


class ExpressionDataset(Dataset[Sample]):
    """The expressions of some rows as samples; an index is a list of rows that all belong to one image.

    So an image is decoded once for all of its expressions. `s2rm.data.samplers` makes such lists.
    """

    def __init__(self, rows: Rows, images: ImageFiles, processor: Processor) -> None:
        """Wrap the rows of one or several prepared tables.

        Args:
            rows: their images, expressions and masks.
            images: the files that `image_path` names.
            processor: how the model's inputs are made.
        """
        self.rows, self.images, self.processor = rows, images, processor

    def __getitem__(self, rows: list[int]) -> Sample:
        """Read the image and the masks of these rows.

        Raises:
            UserError: the image is missing or cannot be read.
        """
        path = self.rows.image_path(rows[0])
        image = decode_image(self.images.read(path), path)
        return Sample(
            pixels=self.processor.to_pixels(image),
            expressions=[self.rows.expressions[row] for row in rows],
            masks=[resize_mask(self.rows.mask(row), self.processor.image_size) for row in rows],
            rows=rows,
        )

    def collate(self, samples: list[Sample]) -> Batch:
        """Join samples into a batch; expressions are padded to the longest of them."""
        expressions = [expression for sample in samples for expression in sample.expressions]
        token_ids, attention_mask = self.processor.pad(self.processor.tokenize(expressions))
        counts = torch.tensor([len(sample.rows) for sample in samples])
        # In a worker process, `default_collate` stacks directly into shared memory, which saves one copy.
        return Batch(
            pixels=default_collate([sample.pixels for sample in samples]),
            token_ids=token_ids,
            attention_mask=attention_mask,
            expression_to_image=torch.repeat_interleave(torch.arange(len(samples)), counts),
            masks=default_collate([mask for sample in samples for mask in sample.masks])[:, None],
            rows=torch.tensor([row for sample in samples for row in sample.rows]),
        )
