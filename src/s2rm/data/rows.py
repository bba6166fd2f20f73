"""Rows of prepared tables as a training and an evaluation read them, one image or expression at a time.

Those of a training lie in an Arrow file that is mapped into memory: the system reads what is needed of it,
and all processes share it. So neither the start nor the memory of a loader process grows with the table.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from s2rm.core.files import replace
from s2rm.data.rle import decode
from s2rm.data.samplers import Groups

COLUMNS = ("image_path", "height", "width", "expression", "mask_rle")


class Expressions(Sequence[str]):
    """The expressions of a table, read when they are asked for."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        """Wrap a column of strings."""
        self._column = column

    def __len__(self) -> int:
        """Return their number."""
        return len(self._column)

    def __getitem__(self, row: Any) -> Any:
        """Return the expression of a row."""
        return self._column[row].as_py()

    def __iter__(self) -> Iterator[str]:
        """Yield them all."""
        for chunk in self._column.chunks:
            yield from chunk.to_pylist()


class Rows:
    """The rows 0..N−1 with their image, expression and mask; pickled as the path where they are mapped."""

    def __init__(self, table: pa.Table, path: Path | None = None) -> None:
        """Wrap a table with `COLUMNS`, mapped from `path` if that is given."""
        self._table, self._path = table, path

    @classmethod
    def from_frame(cls, table: pd.DataFrame) -> Self:
        """Take the rows of a prepared table, in memory."""
        return cls(pa.Table.from_pandas(table[list(COLUMNS)], preserve_index=False))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map a file that `write` wrote."""
        return cls(pa.ipc.open_file(pa.memory_map(str(path))).read_all(), path)

    @classmethod
    def write(cls, path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Self:
        """Write the rows into an Arrow file and map it."""

        def save(partial: Path) -> None:
            with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)

        replace(path, save)
        return cls.open(path)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path alone, so that a loader process maps the file too."""
        return (type(self), (self._table,)) if self._path is None else (type(self).open, (self._path,))

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._table.num_rows)

    @property
    def table(self) -> pa.Table:
        """All columns."""
        return self._table

    def image_path(self, row: int) -> str:
        """Return the path of a row's image."""
        return str(self._table["image_path"][row].as_py())

    def size(self, row: int) -> tuple[int, int]:
        """Return height and width of a row's image, pixels."""
        return self._table["height"][row].as_py(), self._table["width"][row].as_py()

    @property
    def expressions(self) -> "Expressions":
        """The expression of each row."""
        return Expressions(self._table["expression"])

    def mask(self, row: int) -> NDArray[np.bool_]:
        """Return the mask of a row at the image's size, (height, width).

        Raises:
            SegmentationError: its code is damaged.
        """
        return decode(self._table["mask_rle"][row].as_py(), *self.size(row))

    def group_by_image(self) -> Groups:
        """Return the rows of each image, images in the order of their first row."""
        chunks = self._table["image_path"].dictionary_encode().chunks  # numbered across all of them
        return Groups.by_label(np.concatenate([np.zeros(0, np.int64), *(each.indices for each in chunks)]))
