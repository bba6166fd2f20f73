"""The table of the balancing weights: its numbers, rows, columns and names."""

import numpy as np
import pytest
from report_inputs import make_weights

from s2rm.model.fusion.sweeps import ROLES
from s2rm.reporting.tables.balancing import build_balancing
from s2rm.reporting.tables.table_writers import to_csv, to_latex, to_markdown


@pytest.mark.parametrize(
    ("source", "incomplete", "name", "data"),
    [
        ("refshapes", (), "refshapes-balancing", "RefShapes (as RefCOCO)"),
        ("folder", (), "balancing", "RefCOCO"),
        ("archives", {"refcoco_unc"}, "balancing", "part of RefCOCO"),
    ],
)
def test_one_row_per_benchmark_and_stage_and_one_column_per_parsed_semantic(
    source, incomplete, name, data
) -> None:
    table = build_balancing({"joint": make_weights()}, source, incomplete, decimals=1)
    assert table.name == name
    assert table.frame.index.tolist() == ["run joint"] * 4
    assert table.frame["", "data"].tolist()[:2] == [data, data]
    assert table.frame["", "stage"].tolist() == [1, 2, 1, 2]
    directions = ["rows ↓", "columns ←", "rows ↑", "columns →"]
    assert table.header()[1:] == [(role, directions) for role in ROLES.values()]
    numbers = table.frame.iloc[:, 4:].to_numpy(dtype=float)
    np.testing.assert_allclose(numbers, [100 / 36 * np.arange(1, 9)] * 4)
    assert ("drawn by this project" in " ".join(table.footnotes)) is (source == "refshapes")
    assert f"| {data} | 1 | 10 | 30 | 2.8 | 5.6 |" in to_markdown(table)
    assert "Equal weights would be 12.5." in to_markdown(table)
    assert "language swept, vision parsed rows ↓" in to_csv(table).splitlines()[0]
    assert r"rows $\downarrow$ & columns $\leftarrow$ & rows $\uparrow$" in to_latex(table)


def test_the_runs_follow_each_other() -> None:
    weights = make_weights()
    runs = {"one": weights, "two": weights.head(8), "none": weights.head(0)}
    table = build_balancing(runs, "folder", decimals=2)
    assert [(label, len(rows)) for label, rows in table.groups()] == [("run one", 4), ("run two", 1)]
