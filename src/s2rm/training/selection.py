"""Select the rows of the prepared tables that a run trains and validates on."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from s2rm.config.benchmarks import BenchmarkName
from s2rm.config.params import Params, Run
from s2rm.core.errors import UserError
from s2rm.data.requirements import require_training_splits
from s2rm.data.rows import COLUMNS, Rows
from s2rm.data.split_overlap import drop_evaluated, list_evaluated
from s2rm.data.table import SCHEMA, load_table, read_batches

logger = logging.getLogger(__name__)


def load_rows(params: Params, run: Run, prepared: Path, file: Path) -> Rows:
    """Write the rows that a run trains on into an Arrow file, and map it.

    A single benchmark keeps its protocol, even where its own splits share images (RefCOCOg's Google
    partition). From several benchmarks `train.drop_evaluated` drops every training image that is in an
    evaluation split of any prepared benchmark. The val splits of `train.with_val` are training splits.

    Args:
        params: all parameters.
        run: what is trained on.
        prepared: folder of the prepared tables.
        file: the path of the Arrow file; an older one is replaced.

    Raises:
        UserError: a table cannot be read, the file cannot be written, or a benchmark has nothing to train or
            to validate on.
    """
    require_training_splits(prepared, run.train_on)
    schema = pa.schema([SCHEMA.field(name) for name in COLUMNS])
    try:
        return Rows.write(file, schema, select(params, run, prepared))
    except OSError as error:  # pyarrow's have no strerror
        reason = error.strerror or str(error).rpartition("] ")[2]
        raise UserError(
            f"the training rows cannot be written to {file.parent}: {reason}; make room or repair the disk, "
            "then run the same command"
        ) from error


def load_validation(run: Run, prepared: Path) -> dict[str, pd.DataFrame]:
    """Return benchmark → the rows of its val split; errors are those of `load_table`."""
    return {name: load_table(prepared / f"{name}.parquet", splits=["val"]) for name in run.train_on}


def select(
    params: Params, run: Run, prepared: Path, columns: Sequence[str] = COLUMNS
) -> Iterator[pa.RecordBatch]:
    """Yield columns of the training rows, image_path among them, part by part; fails as `load_rows` does."""
    evaluated: set[str] = set()
    if len(run.train_on) > 1 and params.train.drop_evaluated:
        for name in params.data.benchmarks:
            table = read_batches(prepared / f"{name}.parquet", ["split", "image_path"])
            evaluated |= list_evaluated(table, _trained_splits(params, name))
    images = pa.array(sorted(evaluated), pa.string())
    for name in run.train_on:
        kept, lost = 0, Counter[str]()
        table = read_batches(prepared / f"{name}.parquet", columns, _trained_splits(params, name))
        for batch in table:
            rest, dropped = drop_evaluated(batch, images)
            kept, lost = kept + rest.num_rows, lost + Counter(dropped)
            yield rest
        if lost:
            logger.info(
                "%s: %d training images (%d expressions) dropped, they are in evaluation splits of %s",
                name,
                len(lost),
                lost.total(),
                ", ".join(params.data.benchmarks),
            )
        if not kept:
            raise UserError(
                f"every training image of {name} is in an evaluation split of "
                f"{', '.join(params.data.benchmarks)}: train on one benchmark, leave {name} out of train_on, "
                "or set train.drop_evaluated=false"
            )


def _trained_splits(params: Params, benchmark: BenchmarkName) -> list[str]:
    return ["train", "val"] if benchmark in params.train.with_val else ["train"]
