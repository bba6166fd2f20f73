"""Rows of a training, mapped from a file."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from s2rm.data.rle import encode
from s2rm.data.rows import COLUMNS, Rows
from s2rm.data.table import SCHEMA

MASK = np.zeros((3, 4), dtype=bool)
MASK[1, 2] = True


@pytest.fixture
def frame() -> pd.DataFrame:
    paths = ["b.jpg", "a.jpg", "b.jpg", "c.jpg", "a.jpg"]
    rows = [(path, 3, 4, f"thing {number}", encode(MASK)) for number, path in enumerate(paths)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


@pytest.fixture
def mapped(frame: pd.DataFrame, tmp_path: Path) -> Rows:
    """In three parts, as large tables are."""
    schema = pa.schema([SCHEMA.field(name) for name in COLUMNS])
    parts = [
        pa.RecordBatch.from_pandas(frame[a:b], schema, preserve_index=False)
        for a, b in [(0, 2), (2, 2), (2, 5)]
    ]
    return Rows.write(tmp_path / "rows.arrow", schema, parts)


def test_both_forms_read_alike(frame: pd.DataFrame, mapped: Rows) -> None:
    for rows in (Rows.from_frame(frame), mapped):
        assert len(rows) == len(rows.expressions) == 5
        assert list(rows.expressions) == frame["expression"].tolist()
        assert rows.expressions[3] == "thing 3"
        assert rows.image_path(3) == "c.jpg"
        assert rows.size(1) == (3, 4)
        assert np.array_equal(rows.mask(4), MASK)
        assert list(rows.group_by_image()) == [[0, 2], [1, 4], [3]]


def test_a_loader_process_gets_the_path_alone(mapped: Rows, frame: pd.DataFrame) -> None:
    pickled = pickle.dumps(mapped)
    assert len(pickled) < 500
    assert b"thing" not in pickled
    assert list(pickle.loads(pickled).expressions) == list(mapped.expressions)
    assert list(pickle.loads(pickle.dumps(Rows.from_frame(frame))).expressions) == list(mapped.expressions)


def test_no_rows(frame: pd.DataFrame) -> None:
    rows = Rows.from_frame(frame[:0])
    assert len(rows) == 0
    assert list(rows.group_by_image()) == []
