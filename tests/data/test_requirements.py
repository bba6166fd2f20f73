"""What is missing for a training or an evaluation is said before either starts."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s2rm.core.errors import UserError
from s2rm.data.requirements import (
    count_expressions,
    require_evaluation_splits,
    require_images,
    require_training_splits,
)
from s2rm.data.table import SCHEMA, load_table

FIRST, SECOND = NAMES = ["refcoco_unc", "referit_berkeley"]


@pytest.fixture
def prepared(tiny_data, tmp_path: Path) -> Callable[..., Path]:
    """Writes the tiny tables; `change` has what becomes of them, by benchmark."""

    def write(**change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
        for name in NAMES:
            table = load_table(tiny_data.prepared / f"{name}.parquet")
            table = change.get(name, lambda same: same)(table)
            file = pa.Table.from_pandas(table, SCHEMA, preserve_index=False).cast(SCHEMA)
            pq.write_table(file, tmp_path / f"{name}.parquet")
        return tmp_path

    return write


def without(*splits: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table[~table["split"].isin(splits)]


def test_complete_data_are_accepted(prepared: Callable[..., Path], tiny_data) -> None:
    folder = prepared()
    require_training_splits(folder, NAMES)
    require_evaluation_splits(folder, NAMES)
    require_images(tiny_data.raw, NAMES)
    assert list(count_expressions(folder, FIRST)) == ["train", "val", "testA", "testB"]


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_needs_expressions_to_train_and_to_validate_on(
    prepared: Callable[..., Path], name: str, split: str
) -> None:
    folder = prepared(**{name: without(split)})
    with pytest.raises(UserError, match=f"{name} has no expression in split {split}, .*by split: .*test"):
        require_training_splits(folder, NAMES)
    require_evaluation_splits(folder, NAMES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.assign(split="train"), r"by split: train \d+"),
        (lambda table: table.assign(split="validation"), r"by split: validation \d+"),
        (lambda table: table.iloc[:0], "its table is empty"),
    ],
)
def test_without_an_evaluation_split_there_is_nothing_to_evaluate(
    prepared: Callable[..., Path], change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    folder = prepared(**{SECOND: change})
    require_evaluation_splits(folder, [FIRST])
    with pytest.raises(
        UserError, match=f"nothing to evaluate: {SECOND} has no expression in val, test .*{said}"
    ):
        require_evaluation_splits(folder, NAMES)


def test_one_evaluation_split_suffices(prepared: Callable[..., Path]) -> None:
    require_evaluation_splits(prepared(refcoco_unc=without("val", "testA")), NAMES)


@pytest.mark.parametrize("form", ["images/mscoco/images/train2014.zip", "images/mscoco.zip"])
def test_images_are_a_folder_or_a_zip_that_holds_it(tmp_path: Path, form: str) -> None:
    with pytest.raises(UserError, match=r"train2014\.zip does not exist; run `dvc repro download`"):
        require_images(tmp_path, [FIRST])
    (tmp_path / form).parent.mkdir(parents=True)
    (tmp_path / form).touch()
    require_images(tmp_path, [FIRST])
    with pytest.raises(UserError, match=f"the images of {SECOND} are missing"):
        require_images(tmp_path, NAMES)
