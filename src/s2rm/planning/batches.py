"""How many images an optimiser step sees, by the training's own sampler."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from s2rm.config.benchmarks import DRAWN_ONLY, BenchmarkName
from s2rm.config.params import Params, Run
from s2rm.core.errors import UserError
from s2rm.data.rows import Rows
from s2rm.data.samplers import GroupedBatchSampler, Groups
from s2rm.refer.split_sizes import load_official
from s2rm.training.selection import select

DRAWN_PER_IMAGE = 6  # expressions that RefShapes draws for an image


@dataclass(frozen=True)
class Batches:
    """The batches of one epoch."""

    source: str
    """Where the numbers of images and expressions come from."""
    images: int
    """Different images."""
    expressions: int
    """All expressions."""
    batches: int
    mean: float
    """Images of a batch, on average."""
    most: int
    """Images of the largest batch."""


def plan_batches(params: Params, run: Run, prepared: Path) -> Batches:
    """Draw the batches of one epoch of a run's training; arguments and errors are those of `make_sampler`."""
    sampler, source = make_sampler(params, run, prepared)
    sizes = [len(batch) for batch in sampler]
    expressions = len(sampler.groups.rows)
    return Batches(source, len(sampler.groups), expressions, len(sizes), float(np.mean(sizes)), max(sizes))


def make_sampler(params: Params, run: Run, prepared: Path) -> tuple[GroupedBatchSampler, str]:
    """Make the sampler of a run's training, and say where its numbers come from.

    Where the tables are prepared they are read. Else the official counts of a benchmark are spread over its
    images at random, and of several benchmarks no image is shared.

    Args:
        params: all parameters.
        run: what is trained on.
        prepared: folder of the prepared tables.

    Raises:
        UserError: a table is prepared and cannot be read; or none is, and the data are a folder of yours.
    """
    needed = {*run.train_on, *params.data.benchmarks}  # the others too: their images may be dropped
    if all((prepared / f"{name}.parquet").is_file() for name in needed):
        batches = list(select(params, run, prepared, ["image_path"]))
        groups = Rows(pa.Table.from_batches(batches)).group_by_image()
        source = str(prepared)
    else:
        groups, source = _spread(params, run.train_on)
    train = params.train
    sampler = GroupedBatchSampler(
        groups,
        expressions=train.expressions_per_batch,
        expressions_per_image=train.expressions_per_image,
        seed=train.seed,
    )
    return sampler, source


def _spread(params: Params, names: Sequence[BenchmarkName]) -> tuple[Groups, str]:
    """Return groups with the counts of the benchmarks, and what they are."""
    rng = np.random.default_rng(0)
    sizes: list[int] = []
    source = "official counts"
    for name in names:
        if params.data.source == "refshapes":
            drawn = params.data.refshapes
            images = getattr(drawn, f"{name.removeprefix('refshapes_')}_train_images", drawn.train_images)
            sizes += images * [DRAWN_PER_IMAGE]
            source = "the numbers of data.refshapes"
        elif params.data.source == "folder" or name in DRAWN_ONLY:
            raise UserError(f"{name} is not prepared, and its size is not known: run `dvc repro preprocess`")
        else:
            sizes += _draw_sizes(name, params.data.referit, rng)
    return Groups.of_sizes(sizes), source


def _draw_sizes(name: str, referit: str, rng: np.random.Generator) -> list[int]:
    """Draw the number of expressions of each train image: referents by image, expressions by referent."""
    route = referit if name.startswith("referit") else "refer"
    numbers = next(
        row.numbers
        for row in load_official()
        if (row.benchmark, row.route, row.split) == (name, route, "train")
    )
    images = numbers["images"]
    refs = numbers.get("refs", images)
    expressions = numbers.get("expressions", 2 * refs)
    owners = np.concatenate([np.arange(images), rng.integers(images, size=max(refs - images, 0))])
    each = np.ones(len(owners), dtype=int)
    np.add.at(each, rng.integers(len(owners), size=max(expressions - len(owners), 0)), 1)
    return np.bincount(owners, weights=each, minlength=images).astype(int).tolist()
