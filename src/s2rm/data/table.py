"""Defines the columns of a benchmark's prepared tables, of expressions and of objects, and reads them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s2rm.config.benchmarks import name_benchmark
from s2rm.core.errors import UserError
from s2rm.core.files import load_json

# The contract of <output>/<benchmark>.parquet. Rows are in the order of the benchmark's splits, then
# image_id, ref_id and the ref's own order of sentences.
SCHEMA = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("image_path", pa.string(), nullable=False),  # relative to the raw root, posix
        pa.field("height", pa.int32(), nullable=False),  # of the image and the mask, pixels
        pa.field("width", pa.int32(), nullable=False),
        pa.field("ref_id", pa.int64(), nullable=False),
        pa.field("ann_id", pa.int64(), nullable=False),
        pa.field("sent_id", pa.int64(), nullable=False),  # unique in a benchmark
        pa.field("expression", pa.string(), nullable=False),  # not empty, single spaces
        pa.field("category", pa.string(), nullable=False),  # "" where unknown
        pa.field("box", pa.list_(pa.float64()), nullable=False),  # x, y, width, height, as annotated
        pa.field("mask_rle", pa.string(), nullable=False),  # counts; `rle.decode(counts, height, width)`
        pa.field("mask_area", pa.int64(), nullable=False),  # pixels, at least 1
    ]
)

# The contract of <output>/<benchmark>-objects.parquet: every annotated object with a mask, referred to or
# not, on the images of the table above. Rows are in the order of image_id, ann_id; columns are as above.
OBJECT_SCHEMA = pa.schema(
    [
        SCHEMA.field(name)
        for name in (
            *("benchmark", "image_id", "image_path", "height", "width", "ann_id", "category", "box"),
            *("mask_rle", "mask_area"),
        )
    ]
)


BATCH = 65536  # rows that are read at once


def load_table(
    path: Path, columns: Sequence[str] | None = None, splits: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read a table of expressions that `prepare` wrote.

    Args:
        path: of the Parquet file.
        columns: the columns to read; None reads all. Most of the file are masks.
        splits: whose rows to read; None reads all.

    Raises:
        UserError: the file is missing or corrupt, or has another schema, even in a column that is not read.
    """
    names = list(columns or SCHEMA.names)
    schema = pa.schema([SCHEMA.field(name) for name in names])
    return pa.Table.from_batches(read_batches(path, names, splits), schema).to_pandas()


def read_batches(
    path: Path, columns: Sequence[str], splits: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read a table of expressions part by part; arguments and errors are those of `load_table`."""
    with _explain(path), pq.ParquetFile(path) as file:
        _require(file.schema_arrow, SCHEMA, path)
        read = list(columns) if splits is None else list(dict.fromkeys([*columns, "split"]))
        for batch in file.iter_batches(BATCH, columns=read):
            if splits is not None:
                batch = batch.filter(pc.is_in(batch["split"], value_set=pa.array(splits)))
            yield batch.select(list(columns))


def name_data(prepared: Path, benchmark: str) -> str:
    """Name a table for people: drawn data never have a real benchmark's name."""
    path = prepared / f"{benchmark}.json"
    origin = load_json(path).get("origin", {}) if path.is_file() else {}
    return name_benchmark(benchmark, origin.get("source", "folder"))


def load_objects(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table of objects that `prepare` wrote.

    Args:
        path: of the Parquet file.
        columns: the columns to read; None reads all.

    Raises:
        UserError: the file is missing or corrupt, or has another schema, even in a column that is not read.
    """
    with _explain(path), pq.ParquetFile(path) as file:
        _require(file.schema_arrow, OBJECT_SCHEMA, path)
        return file.read(columns).to_pandas()


@contextmanager
def _explain(path: Path) -> Iterator[None]:
    """Turn the errors of reading a Parquet file into a `UserError`."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `dvc repro preprocess`") from None
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a readable Parquet file: {reason}") from None


def _require(schema: pa.Schema, wanted: pa.Schema, path: Path) -> None:
    if not schema.equals(wanted):
        raise UserError(
            f"{path} has other columns than expected: {_odd_column(schema, wanted)}; prepare it again"
        )


def _odd_column(schema: pa.Schema, wanted: pa.Schema) -> str:
    """Name the first column that is not as wanted, by Arrow's own comparison."""
    expected, found = ({field.name: field for field in columns} for columns in (wanted, schema))
    for name, field in expected.items():
        if name not in found:
            return f"{name} is missing"
        if not field.equals(found[name]):
            return f"{name} is {found[name].type}, not {field.type}"
    unknown = [name for name in found if name not in expected]
    return f"{unknown[0]} is unknown" if unknown else "their order"
