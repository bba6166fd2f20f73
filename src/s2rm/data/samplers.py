"""Batches that group expressions under their image, so that an image is encoded once for all of them."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from torch.utils.data import Sampler

Group = list[int]  # rows of one image


def group_by_image(image_paths: Sequence[str]) -> list[Group]:
    """The rows of each image, images in the order of their first row."""
    groups = pd.Series(np.arange(len(image_paths))).groupby(np.asarray(image_paths), sort=False)
    return [rows.tolist() for _, rows in groups]


class GroupedBatchSampler(Sampler[list[Group]]):
    """Every expression once an epoch, at most `expressions_per_image` of an image together.

    A batch has exactly `expressions` (the last may have fewer), of as many images as it takes: the
    effective batch is constant, and so are the shapes of all that is computed for an expression.
    The order depends on the seed and the epoch alone.

    For several processes each batch comes as so many shares, one after the other, as even as it goes. Where
    an epoch's last batch has fewer expressions than there are processes, its last one is in several shares.
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
        self.groups, self.seed, self.epoch = groups, seed, 0
        self.expressions, self.expressions_per_image = expressions, expressions_per_image
        self.processes = processes

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-sum(map(len, self.groups)) // self.expressions) * self.processes

    def __iter__(self) -> Iterator[list[Group]]:
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
    """A batch as so many, in its order; an image may be in two of them."""
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
    """Every image with all of its expressions, in the order of the table: for evaluation."""

    def __init__(self, groups: list[Group], images_per_batch: int) -> None:
        self.groups, self.images_per_batch = groups, images_per_batch

    def __len__(self) -> int:
        return -(-len(self.groups) // self.images_per_batch)

    def __iter__(self) -> Iterator[list[Group]]:
        for i in range(0, len(self.groups), self.images_per_batch):
            yield self.groups[i : i + self.images_per_batch]
