"""Samplers that group expressions by image, so that an image is encoded once for all of its expressions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

Group = list[int]
"""Rows of the table that belong to one image."""


@dataclass(frozen=True)
class Groups:
    """The rows of each image, of which there may be millions: two arrays rather than lists."""

    rows: NDArray[np.int64]
    """Those of the first image, then those of the second, and so on."""
    starts: NDArray[np.int64]
    """Where the rows of each image begin in `rows`, and the end of the last."""

    @classmethod
    def by_label(cls, labels: NDArray[np.integer]) -> Self:
        """Group the rows 0..N−1 by their labels 0..G−1, (N,)."""
        order = np.argsort(labels, kind="stable")
        return cls(order, np.concatenate([[0], np.bincount(labels).cumsum()]).astype(np.int64))

    @classmethod
    def of_sizes(cls, sizes: Sequence[int]) -> Self:
        """Make groups of these sizes from consecutive rows."""
        ends = np.cumsum(sizes, dtype=np.int64)
        return cls(np.arange(ends[-1] if len(ends) else 0), np.concatenate([[0], ends]))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.starts) - 1

    def __getitem__(self, image: int) -> Group:
        """Return the rows of an image."""
        if not 0 <= image < len(self):
            raise IndexError(image)
        return self.rows[self.starts[image] : self.starts[image + 1]].tolist()


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
        groups: Groups,
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
        return -(-len(self.groups.rows) // self.expressions) * self.processes

    @property
    def images_per_batch(self) -> float:
        """The mean number of images in a batch, over all processes; one that is in two batches counts twice.

        A group that the end of a batch splits is not counted twice.
        """
        parts = int(np.sum(-(-np.diff(self.groups.starts) // self.expressions_per_image)))
        return parts * self.processes / len(self)

    def __iter__(self) -> Iterator[list[Group]]:
        """Yield the shares of the epoch, each as the rows of one or several images."""
        for batch in self._batches():
            yield from split_batch(batch, self.processes)

    def _batches(self) -> Iterator[list[Group]]:
        rows, starts = self._shuffle()
        for first in range(0, len(rows), self.expressions):
            last = first + self.expressions
            inside = starts[np.searchsorted(starts, first, "right") : np.searchsorted(starts, last)]
            yield [part.tolist() for part in np.split(rows[first:last], inside - first)]

    def _shuffle(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return all rows in the order of the epoch, and where the parts begin that are kept together."""
        rng = np.random.default_rng([self.seed, self.epoch])
        rows, ends = self.groups.rows, self.groups.starts[1:]
        sizes = np.diff(self.groups.starts)
        owner = np.repeat(np.arange(len(sizes)), sizes)
        rows = rows[np.lexsort((rng.random(len(rows)), owner))]  # shuffled inside each image
        place = np.arange(len(rows)) - (ends - sizes)[owner]
        begins = np.flatnonzero(place % self.expressions_per_image == 0)
        lengths = np.diff(begins, append=len(rows))
        order = rng.permutation(len(begins))
        begins, lengths = begins[order], lengths[order]
        starts = lengths.cumsum() - lengths
        return rows[np.repeat(begins - starts, lengths) + np.arange(len(rows))], starts


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

    def __init__(self, groups: Groups, images_per_batch: int) -> None:
        """Group `images_per_batch` images, whose rows are `groups`."""
        self.groups, self.images_per_batch = groups, images_per_batch

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.groups) // self.images_per_batch)

    def __iter__(self) -> Iterator[list[Group]]:
        """Yield the batches, each as the rows of its images."""
        for i in range(0, len(self.groups), self.images_per_batch):
            yield [self.groups[k] for k in range(i, min(i + self.images_per_batch, len(self.groups)))]
