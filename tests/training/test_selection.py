"""Which rows a run trains and validates on."""

import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s2rm.config.params import Params, Run
from s2rm.core.errors import UserError
from s2rm.data.table import SCHEMA, load_table
from s2rm.training.selection import load_rows, load_validation, select
from s2rm.training.validation import held_out

FIRST, SECOND = "refcoco_unc", "referit_berkeley"
JOINT = Run(train_on=[FIRST, SECOND], evaluate_on=[FIRST])


@pytest.fixture
def prepared(tiny_data, tmp_path: Path) -> Path:
    """The tiny tables; a training image of FIRST is in SECOND's test split, another in its own val split."""
    tables = {name: load_table(tiny_data.prepared / f"{name}.parquet") for name in (FIRST, SECOND)}
    images = tables[FIRST].loc[tables[FIRST]["split"] == "train", "image_path"].unique()
    for name, split, image in ((SECOND, "test", images[0]), (FIRST, "val", images[1])):
        rows = tables[name]["split"] == split
        tables[name].loc[rows, "image_path"] = image
    for name, table in tables.items():
        file = pa.Table.from_pandas(table, SCHEMA, preserve_index=False)
        pq.write_table(file, tmp_path / f"{name}.parquet")
    return tmp_path


@pytest.fixture
def make_params(tiny_params: Callable[..., Params]) -> Callable[..., Params]:
    runs = "runs={joint: {train_on: [refcoco_unc, referit_berkeley], evaluate_on: [refcoco_unc]}}"
    fixed = (f"data.benchmarks=[{FIRST}, {SECOND}]", runs, "train.drop_evaluated=true")
    return lambda *overrides: tiny_params(*fixed, *overrides)


def trained(params: Params, run: Run, prepared: Path) -> pd.DataFrame:
    columns = ["benchmark", "split", "image_path"]
    return pa.Table.from_batches(select(params, run, prepared, columns)).to_pandas()


def training_images(table: pd.DataFrame) -> set[str]:
    return set(table["image_path"])


def test_a_joint_training_drops_images_of_evaluation_splits_and_says_how_many(
    make_params: Callable[..., Params], prepared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    train, everything = (
        trained(make_params(override), JOINT, prepared)
        for override in ("train.drop_evaluated=true", "train.drop_evaluated=false")
    )
    validation = load_validation(JOINT, prepared)
    dropped = training_images(everything) - training_images(train)
    assert len(dropped) == 2
    lost = everything["image_path"].isin(dropped).sum()
    assert f"{FIRST}: 2 training images ({lost} expressions) dropped" in caplog.text
    assert SECOND not in [record.args[0] for record in caplog.records], "nothing was dropped from it"
    assert len(train) == len(everything) - lost
    assert set(validation) == {FIRST, SECOND}
    assert all(set(rows["split"]) == {"val"} for rows in validation.values())


def test_a_benchmark_alone_keeps_its_protocol(make_params: Callable[..., Params], prepared: Path) -> None:
    alone = Run(train_on=[FIRST], evaluate_on=[FIRST])
    train, validation = trained(make_params(), alone, prepared), load_validation(alone, prepared)
    assert training_images(train) & training_images(validation[FIRST])
    table = load_table(prepared / f"{FIRST}.parquet")
    assert len(train) == (table["split"] == "train").sum()


def test_a_val_split_that_is_trained_on(make_params: Callable[..., Params], prepared: Path) -> None:
    params = make_params(f"train.with_val=[{SECOND}]", "train.drop_evaluated=false")
    train, validation = trained(params, JOINT, prepared), load_validation(JOINT, prepared)
    kinds = train.groupby("benchmark")["split"].unique().map(set).to_dict()
    assert kinds == {FIRST: {"train"}, SECOND: {"train", "val"}}
    assert set(validation) == {FIRST, SECOND}
    assert held_out(validation, params.train) == [FIRST]
    kept = trained(make_params(f"train.with_val=[{SECOND}]"), JOINT, prepared)  # not dropped as evaluated
    assert (kept["benchmark"].eq(SECOND) & kept["split"].eq("val")).any()


def test_nothing_left_to_train_on_is_an_error(make_params: Callable[..., Params], prepared: Path) -> None:
    for name in (FIRST, SECOND):
        table = load_table(prepared / f"{name}.parquet").assign(image_path="images/one.jpg")
        file = pa.Table.from_pandas(table, SCHEMA, preserve_index=False)
        pq.write_table(file, prepared / f"{name}.parquet")
    with pytest.raises(
        UserError, match=f"every training image of ({FIRST}|{SECOND}) is in an evaluation split"
    ):
        load_rows(make_params(), JOINT, prepared, prepared / "rows.arrow")
    for name in (FIRST, SECOND):
        table = load_table(prepared / f"{name}.parquet").assign(split="val")
        file = pa.Table.from_pandas(table, SCHEMA, preserve_index=False)
        pq.write_table(file, prepared / f"{name}.parquet")
    with pytest.raises(UserError, match=f"{FIRST} has no expression in split train"):
        load_rows(make_params(), JOINT, prepared, prepared / "rows.arrow")
