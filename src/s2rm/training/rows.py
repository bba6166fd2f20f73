"""Select the rows of the prepared tables that a run trains and validates on."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from s2rm.config.params import Params, Run
from s2rm.core.errors import UserError
from s2rm.data.requirements import require_training_splits
from s2rm.data.split_overlap import drop_evaluated, read_image_splits
from s2rm.data.table import load_table

logger = logging.getLogger(__name__)


def load_rows(params: Params, run: Run, prepared: Path) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Load the rows of all benchmarks that a run trains on.

    A single benchmark keeps its protocol, even where its own splits share images (RefCOCOg's Google
    partition). From several benchmarks `train.drop_evaluated` drops every training image that is in an
    evaluation split of any prepared benchmark. The val splits of `train.with_val` are training splits.

    Args:
        params: all parameters.
        run: what is trained on.
        prepared: folder of the prepared tables.

    Returns:
        The training rows, indexed 0..n−1, and benchmark → the rows of its val split.

    Raises:
        UserError: a table cannot be read, or a benchmark has nothing to train or to validate on.
    """
    names: list[str] = list(run.train_on)
    require_training_splits(prepared, names)
    tables = {name: load_table(prepared / f"{name}.parquet") for name in names}
    with_val: list[str] = list(params.train.with_val)
    trained = {name: ["train", "val"] if name in with_val else ["train"] for name in names}
    train = pd.concat(
        [table[table["split"].isin(trained[name])] for name, table in tables.items()], ignore_index=True
    )
    if len(tables) > 1 and params.train.drop_evaluated:
        train = _drop_evaluated(train, prepared, params.data.benchmarks, with_val)
    validation = {name: table[table["split"] == "val"] for name, table in tables.items()}
    return train, validation


def _drop_evaluated(
    train: pd.DataFrame, prepared: Path, benchmarks: Sequence[str], with_val: Sequence[str]
) -> pd.DataFrame:
    evaluated = [
        table[table["split"] != "val"] if name in with_val else table
        for name, table in read_image_splits(prepared, benchmarks).items()
    ]
    kept, dropped = drop_evaluated(train, evaluated)
    for name, lost in dropped.items():
        if lost.images:
            logger.info(
                "%s: %d training images (%d expressions) dropped, they are in evaluation splits of %s",
                name,
                lost.images,
                lost.expressions,
                ", ".join(benchmarks),
            )
    for name in dropped.keys() - set(kept["benchmark"]):
        raise UserError(
            f"every training image of {name} is in an evaluation split of {', '.join(benchmarks)}: train on "
            f"one benchmark, leave {name} out of train_on, or set train.drop_evaluated=false"
        )
    return kept.reset_index(drop=True)
