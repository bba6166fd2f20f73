"""Samplers that group expressions by image, so that an image is encoded once for all of its expressions."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from torch.utils.data import Sampler

Group = list[int]
"""Rows of the table that belong to one image."""


def group_by_image(image_paths: Sequence[str]) -> list[Group]:
    """Return the rows of each image, images in the order of their first row."""
    groups = pd.Series(np.arange(len(image_paths))).groupby(np.asarray(image_paths), sort=False)
    return [rows.tolist() for _, rows in groups]


class GroupedBatchSampler(Sampler[list[Group]]):
    """Yield batches for training: every expression once per epoch, in random order.

    A batch has exactly `expressions` of them (the last of an epoch may have fewer), from as many images as
    that takes. So the effective batch size is constant, and so is the shape of everything that is computed
    per expression. The order depends on the seed and the epoch alone.

    With several processes each batch is yielded as one share per process, one after the other, as even as
    possible. Where the last batch of an epoch has fewer expressions than there are processes, its last
    expression appears in several shares.
    """

    def __init__(
        self,
        groups: list[Group],
        *,
        expressions: int,
        expressions_per_image: int,
        seed: int,
        processes: int = 1,
    ) -> None:
        """Prepare epoch 0.

        Args:
            groups: the rows of each image.
            expressions: number of expressions per batch, over all processes.
            expressions_per_image: at most so many expressions of an image are kept together.
            seed: of the order.
            processes: number of shares that each batch is split into.
        """
        self.groups, self.seed, self.epoch = groups, seed, 0
        self.expressions, self.expressions_per_image = expressions, expressions_per_image
        self.processes = processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of shares per epoch: batches × processes."""
        return -(-sum(map(len, self.groups)) // self.expressions) * self.processes

    @property
    def images_per_batch(self) -> float:
        """The mean number of images in a batch, over all processes; one that is in two batches counts twice.

        A group that the end of a batch splits is not counted twice.
        """
        parts = sum(-(-len(group) // self.expressions_per_image) for group in self.groups)
        return parts * self.processes / len(self)

    def __iter__(self) -> Iterator[list[Group]]:
        """Yield the shares of the epoch, each as the rows of one or several images."""
        for batch in self._batches():
            yield from split_batch(batch, self.processes)

    def _batches(self) -> Iterator[list[Group]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        chunks = []
        for group in self.groups:
            rows = rng.permutation(group).tolist()
            step = self.expressions_per_image
            chunks += [rows[i : i + step] for i in range(0, len(rows), step)]
        batch: list[Group] = []
        room = self.expressions
        for i in rng.permutation(len(chunks)):
            chunk = chunks[i]
            while chunk:
                batch.append(chunk[:room])
                chunk = chunk[room:]
                room -= len(batch[-1])
                if not room:
                    yield batch
                    batch, room = [], self.expressions
        if batch:
            yield batch


def split_batch(batch: list[Group], processes: int) -> list[list[Group]]:
    """Split a batch evenly over the processes, keeping its order; an image may appear in two shares.

    Where the batch has fewer expressions than processes, the remaining shares repeat its last expression.
    """
    if processes == 1:
        return [batch]
    owners = np.repeat(np.arange(len(batch)), [len(group) for group in batch])
    rows = np.concatenate(batch)
    shares = []
    for share in np.array_split(np.arange(len(rows)), processes):
        chosen = share if len(share) else np.array([len(rows) - 1])
        starts = np.flatnonzero(np.diff(owners[chosen], prepend=-1))
        shares.append([part.tolist() for part in np.split(rows[chosen], starts[1:])])
    return shares


class ImageBatchSampler(Sampler[list[Group]]):
    """Yield batches for evaluation: every image with all of its expressions, in the order of the table."""

    def __init__(self, groups: list[Group], images_per_batch: int) -> None:
        """Group `images_per_batch` images, whose rows are `groups`."""
        self.groups, self.images_per_batch = groups, images_per_batch

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.groups) // self.images_per_batch)

    def __iter__(self) -> Iterator[list[Group]]:
        """Yield the batches, each as the rows of its images."""
        for i in range(0, len(self.groups), self.images_per_batch):
            yield self.groups[i : i + self.images_per_batch]
