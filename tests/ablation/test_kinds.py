"""Scores by kind of expression, of the partitions that are drawn with known kinds."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from s2rm.ablation.kinds import KIND_COLUMNS, add_kinds, build_kinds, measure_kinds
from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.reporting.tables.table_writers import to_markdown

STRUCTURED = "refshapes_structured"
TEXTS = {10: "the red star", 11: "the star in the row of the red cross", 12: "the second star from the left"}
KINDS = {10: "described", 11: "row", 12: "ordinal"}


@pytest.fixture
def scores() -> pd.DataFrame:
    """Two seeds of the full model and one of a variant; the first benchmark has no kinds."""
    rows = [
        (variant, benchmark, split, seed, sent_id, 10 * (sent_id - 7) + seed)
        for variant, seeds in (("full", (1, 2)), ("fusion.coparsing=none", (1,)))
        for seed in seeds
        for benchmark, split in (("refcoco_unc", "val"), (STRUCTURED, "val"), (STRUCTURED, "train"))
        for sent_id in TEXTS
    ]
    names = ["variant", "benchmark", "split", "seed", "sent_id", "intersection"]
    return pd.DataFrame(rows, columns=names).assign(run="joint", union=100, kind="")


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    table = pd.DataFrame({"sent_id": list(TEXTS), "expression": list(TEXTS.values())})
    table.to_parquet(tmp_path / f"{STRUCTURED}.parquet")
    return tmp_path


def test_kinds_are_those_of_the_texts(scores: pd.DataFrame, prepared: Path) -> None:
    found = add_kinds(scores, prepared)
    structured = found["benchmark"] == STRUCTURED
    assert (found["kind"][structured] == found["sent_id"][structured].map(KINDS)).all()
    assert (found["kind"][~structured] == "").all()
    assert (scores["kind"] == "").all(), "the scores that are given stay as they are"


def test_kinds_that_are_known_need_no_table(scores: pd.DataFrame, prepared: Path, tmp_path: Path) -> None:
    found = add_kinds(scores, prepared)
    pd.testing.assert_frame_equal(add_kinds(found, tmp_path / "absent"), found)
    pd.testing.assert_frame_equal(add_kinds(scores, tmp_path / "absent"), scores)


def test_a_broken_table_is_named(scores: pd.DataFrame, prepared: Path) -> None:
    (prepared / f"{STRUCTURED}.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match=r"refshapes_structured\.parquet cannot be read: .* run `dvc repro"):
        add_kinds(scores, prepared)


def test_means_over_seeds(scores: pd.DataFrame, prepared: Path) -> None:
    found = measure_kinds(add_kinds(scores, prepared))
    assert list(found.columns) == KIND_COLUMNS
    assert set(found["benchmark"]) == {STRUCTURED}
    rows = found.set_index(["variant", "kind"])
    full = rows.loc[("full", "row")]
    assert (full["expressions"], full["seeds"]) == (1, 2)
    assert full["mIoU_mean"] == pytest.approx(41.5)
    assert full["mIoU_std"] == pytest.approx(0.5**0.5)
    assert rows.loc[("fusion.coparsing=none", "ordinal"), "mIoU_mean"] == pytest.approx(51)


def test_the_table(scores: pd.DataFrame, prepared: Path, tiny_params: Callable[..., Params]) -> None:
    kinds = measure_kinds(add_kinds(scores, prepared))
    lines = to_markdown(build_kinds(kinds, STRUCTURED, tiny_params("report.decimals=1"))).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    named = ["mIoU by kind described", "mIoU by kind ordinal", "mIoU by kind row"]
    assert rows[0] == ["model", "seeds", *named]
    assert rows[2:] == [
        ["full", "2", "31.5 ± 0.7", "51.5 ± 0.7", "41.5 ± 0.7"],
        ["fusion.coparsing=none", "1", "31.0", "51.0", "41.0"],
    ]
