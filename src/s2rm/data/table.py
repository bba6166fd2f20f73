"""Defines the columns of a benchmark's prepared tables, of expressions and of objects, and reads them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from s2rm.core.errors import UserError

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


def load_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table of expressions that `prepare` wrote.

    Args:
        path: of the Parquet file.
        columns: the columns to read; None reads all. Most of the file are masks.

    Raises:
        UserError: the file is missing or corrupt, or has another schema, even in a column that is not read.
    """
    return _load(path, SCHEMA, columns)


def load_objects(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table of objects that `prepare` wrote.

    Args:
        path: of the Parquet file.
        columns: the columns to read; None reads all.

    Raises:
        UserError: the file is missing or corrupt, or has another schema, even in a column that is not read.
    """
    return _load(path, OBJECT_SCHEMA, columns)


def _load(path: Path, wanted: pa.Schema, columns: Sequence[str] | None) -> pd.DataFrame:
    try:
        with pq.ParquetFile(path) as file:
            schema, table = file.schema_arrow, file.read(columns)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `dvc repro preprocess`") from None
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a readable Parquet file: {reason}") from None
    if not schema.equals(wanted):
        raise UserError(
            f"{path} has other columns than expected: {_odd_column(schema, wanted)}; prepare it again"
        )
    return table.to_pandas()


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
