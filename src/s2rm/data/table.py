"""The prepared table of a benchmark: its columns, and reading it."""

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


def load_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A table that `prepare` wrote, or some columns of it (most of the file are masks).

    `UserError` where it is missing, corrupt or of another schema, be it in a column that is not read.
    """
    try:
        with pq.ParquetFile(path) as file:
            schema, table = file.schema_arrow, file.read(columns)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: prepare it") from None
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise UserError(f"{path} is no readable Parquet file: {' '.join(str(error).split())[:200]}") from None
    if not schema.equals(SCHEMA):
        raise UserError(f"{path} has other columns than expected: {_odd_column(schema)}; prepare it again")
    return table.to_pandas()


def _odd_column(schema: pa.Schema) -> str:
    """The first column that is not as in SCHEMA; compared as Arrow does, which names no list items."""
    wanted, found = ({field.name: field for field in columns} for columns in (SCHEMA, schema))
    for name, field in wanted.items():
        if name not in found:
            return f"{name} is missing"
        if not field.equals(found[name]):
            return f"{name} is {found[name].type}, not {field.type}"
    unknown = [name for name in found if name not in wanted]
    return f"{unknown[0]} is unknown" if unknown else "their order"
