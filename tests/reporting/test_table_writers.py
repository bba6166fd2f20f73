"""Tables as Markdown, CSV and LaTeX: everything is escaped, nothing is lost."""

import csv
import io
from dataclasses import replace

import pandas as pd
import pytest

from s2rm.reporting.tables.table_writers import Table, to_csv, to_latex, to_markdown, write_table


@pytest.fixture
def table() -> Table:
    frame = pd.DataFrame(
        [["A_b & C|d", 12.345, 3], ["<i>%#{}~^\\</i>", float("nan"), 4]],
        index=["first", "second"],
        columns=pd.MultiIndex.from_tuples([("", "method"), ("RefCOCO+", "val"), ("RefCOCO+", "testA")]),
    )
    return Table(
        name="sample",
        title="oIoU of *stars*",
        caption="oIoU in percent, ≥ 96×96",
        frame=frame,
        sources=("somewhere, 2024", "elsewhere"),
        footnotes=("100 % of it", "x_1 < 2"),
        decimals=1,
    )


def test_markdown(table):
    assert to_markdown(table).splitlines() == [
        r"## oIoU of \*stars\*",
        "",
        "oIoU in percent, ≥ 96×96",
        "",
        "| method | RefCOCO+ val | RefCOCO+ testA |",
        "| --- | ---: | ---: |",
        "| **first** |  |  |",
        r"| A_b & C\|d | 12.3 | 3 |",
        "| **second** |  |  |",
        r"| \<i\>%#{}~^\\\</i\> | – | 4 |",
        "",
        "1. 100 % of it",
        r"2. x_1 \< 2",
    ]


def test_csv_is_read_back(table):
    header, first, second = csv.reader(io.StringIO(to_csv(table)))
    assert header == ["table", "group", "method", "RefCOCO+ val", "RefCOCO+ testA", "source"]
    assert first == ["oIoU of *stars*", "first", "A_b & C|d", "12.345", "3", "somewhere, 2024"]
    assert second == ["oIoU of *stars*", "second", "<i>%#{}~^\\</i>", "", "4", "elsewhere"]


def test_latex_escapes_and_rules(table):
    text = to_latex(table)
    assert r"A\_b \& C\textbar{}d & 12.3 & 3 \\" in text
    assert (
        r"\textless{}i\textgreater{}\%\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\textless{}/i"
        in text
    )
    assert r" & \multicolumn{2}{c}{RefCOCO+} \\" in text
    assert r"\cmidrule(lr){2-3}" in text
    assert "% 100 % of it" in text.splitlines()
    assert r"$\geq$ 96$\times$96" in text
    assert text.count(r"\midrule") == 2  # below the head, between the groups
    body = text[text.index(r"\begin{tabular*}") : text.index(r"\end{tabular*}")]
    assert [line.count("&") - line.count(r"\&") for line in body.splitlines() if line.endswith(r"\\")] == [
        1,  # a heading that spans two columns
        2,
        0,
        2,
        0,
        2,
    ]


def test_latex_cites_and_leaves_out(table):
    changed = replace(
        table,
        keys=("one-2024", ""),
        not_in_latex=(("RefCOCO+", "testA"),),
        latex_names=(("RefCOCO+", "R+"),),
    )
    text = to_latex(changed)
    assert r"C\textbar{}d~\cite{one-2024} & 12.3 \\" in text
    assert text.count(r"\cite") == 1
    assert r"\multicolumn{1}{c}{R+}" in text
    assert "R+ = RefCOCO+." in text
    assert "testA" not in text
    assert "testA" in to_markdown(changed)


def test_json_is_read_back(table):
    changed = replace(table, keys=("one", ""), not_in_latex=(("RefCOCO+", "val"),), latex_names=(("a", "b"),))
    found = Table.from_json(changed.to_json())
    pd.testing.assert_frame_equal(found.frame, changed.frame, check_names=False)
    assert replace(found, frame=None) == replace(changed, frame=None)
    assert to_markdown(found) == to_markdown(changed)
    without = replace(changed, frame=changed.frame.copy())
    without.frame["RefCOCO+", "testA"] = float("nan")
    assert to_markdown(Table.from_json(without.to_json())).count("–") == 3


def test_files_are_whole_or_absent(table, tmp_path):
    paths = write_table(table, tmp_path / "tables")
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        "sample.csv",
        "sample.md",
        "sample.tex",
    ]
    assert all(b"\r" not in path.read_bytes() for path in paths)
