"""Images that are trained on and evaluated on are found, and can be left out of the training."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2rm.config.benchmarks import BENCHMARKS
from s2rm.core.errors import UserError
from s2rm.data.split_overlap import drop_evaluated, list_evaluated, read_image_splits, report_shared
from s2rm.data.table import SCHEMA


def table(benchmark: str, **splits: str) -> pd.DataFrame:
    """One row per expression; each letter of a split is the image of one expression."""
    rows = [(benchmark, split, image) for split, images in splits.items() for image in images]
    frame = pd.DataFrame(rows, columns=["benchmark", "split", "image_path"], dtype=str)
    frame["image_path"] = BENCHMARKS[benchmark].images + "/" + frame["image_path"] + ".jpg"
    return frame.assign(sent_id=range(len(rows)))


def train_rows(*tables: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([part[part["split"] == "train"] for part in tables], ignore_index=True)


def drop(
    train: pd.DataFrame, evaluated: Iterable[pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, tuple[int, int]]]:
    """Return what is left of the training rows, and benchmark → images and expressions that were dropped."""
    images = pa.array(
        sorted(set().union(*(list_evaluated(pa.Table.from_pandas(each).to_batches()) for each in evaluated))),
        pa.string(),
    )
    parts, lost = [train[:0]], {}
    for benchmark in train["benchmark"].unique():
        images_lost: Counter[str] = Counter()
        for rows in pa.Table.from_pandas(train[train["benchmark"] == benchmark]).to_batches():
            rest, dropped = drop_evaluated(rows, images)
            parts.append(rest.to_pandas())
            images_lost.update(dropped)
        lost[benchmark] = len(images_lost), images_lost.total()
    return pd.concat(parts, ignore_index=True), lost


UNC = table("refcoco_unc", train="aabc", val="d", testA="ee", testB="f")
UMD = table("refcocog_umd", train="deeg", val="bhh", test="aaci")
GOOGLE = table("refcocog_google", train="pq", val="qr")
REFERIT = table("referit_berkeley", train="ab", val="c", test="a")


def test_shared_images_are_counted_for_each_pair_of_splits() -> None:
    report = report_shared({"refcoco_unc": UNC, "refcocog_umd": UMD})
    assert " ".join(report.columns) == "trained_on evaluated_on split shared_images share expressions"
    assert [tuple(row) for row in report.itertuples(index=False)] == [
        ("refcoco_unc", "refcoco_unc", "val", 0, 0, 0),
        ("refcoco_unc", "refcoco_unc", "testA", 0, 0, 0),
        ("refcoco_unc", "refcoco_unc", "testB", 0, 0, 0),
        ("refcoco_unc", "refcocog_umd", "val", 1, 1 / 2, 1),
        ("refcoco_unc", "refcocog_umd", "test", 2, 2 / 3, 3),
        ("refcocog_umd", "refcoco_unc", "val", 1, 1, 1),
        ("refcocog_umd", "refcoco_unc", "testA", 1, 1, 2),
        ("refcocog_umd", "refcoco_unc", "testB", 0, 0, 0),
        ("refcocog_umd", "refcocog_umd", "val", 0, 0, 0),
        ("refcocog_umd", "refcocog_umd", "test", 0, 0, 0),
    ]


def test_the_overlap_of_refcocogs_google_partition_is_reported() -> None:
    report = report_shared({"refcocog_google": GOOGLE})
    assert [tuple(row) for row in report.itertuples(index=False)] == [
        ("refcocog_google", "refcocog_google", "val", 1, 0.5, 1)
    ]


def test_collections_that_share_no_image_are_not_paired() -> None:
    report = report_shared({"refcoco_unc": UNC, "referit_berkeley": REFERIT})
    assert set(zip(report["trained_on"], report["evaluated_on"], strict=True)) == {
        ("refcoco_unc", "refcoco_unc"),
        ("referit_berkeley", "referit_berkeley"),
    }


def test_a_benchmark_without_training_rows_is_only_evaluated_on() -> None:
    report = report_shared({"refcoco_unc": UNC[UNC["split"] != "train"], "refcocog_umd": UMD})
    assert set(report["trained_on"]) == {"refcocog_umd"}
    assert report["shared_images"].sum() == 2


def test_evaluated_images_are_dropped_from_every_benchmark() -> None:
    kept, dropped = drop(train_rows(UNC, UMD, GOOGLE), [UNC, UMD])
    assert [Path(path).stem for path in kept["image_path"]] == ["g", "p", "q"]
    assert dropped == {
        "refcoco_unc": (3, 4),
        "refcocog_umd": (2, 3),
        "refcocog_google": (0, 0),
    }


def test_the_training_rows_of_what_is_evaluated_on_do_not_count() -> None:
    kept, dropped = drop(train_rows(UNC), [UNC])
    assert kept.equals(train_rows(UNC))
    assert dropped == {"refcoco_unc": (0, 0)}


IMAGES = st.text("abcdefgh", max_size=6)
TABLES = st.builds(
    table, st.sampled_from(["refcoco_unc", "refcocog_umd"]), train=IMAGES, val=IMAGES, testA=IMAGES
)


@given(st.lists(TABLES, min_size=1, max_size=3), st.lists(TABLES, max_size=3), st.integers(0, 9))
def test_no_image_is_on_both_sides_and_nothing_else_is_lost(
    trained: list[pd.DataFrame], evaluated: list[pd.DataFrame], seed: int
) -> None:
    train = train_rows(*trained).sample(frac=1, random_state=seed).sort_values("benchmark", kind="stable")
    kept, dropped = drop(train, iter(evaluated))
    forbidden = {path for part in evaluated for path in part.loc[part["split"] != "train", "image_path"]}
    assert forbidden.isdisjoint(kept["image_path"])
    expected = train[~train["image_path"].isin(forbidden)]
    assert kept["sent_id"].tolist() == expected["sent_id"].tolist()
    assert sum(expressions for _, expressions in dropped.values()) == len(train) - len(kept)
    assert list(dropped) == list(dict.fromkeys(train["benchmark"]))


@given(IMAGES, IMAGES, IMAGES, IMAGES)
def test_what_is_reported_is_dropped_and_then_reported_no_more(
    train_1: str, val_1: str, train_2: str, val_2: str
) -> None:
    tables = {
        "refcoco_unc": table("refcoco_unc", train=train_1, val=val_1),
        "refcocog_umd": table("refcocog_umd", train=train_2, val=val_2),
    }
    kept, dropped = drop(train_rows(*tables.values()), tables.values())
    report = report_shared(tables)
    assert set(report.loc[report["shared_images"] > 0, "trained_on"]) == {
        name for name, (images, _) in dropped.items() if images
    }
    cleaned = {
        name: pd.concat([part[part["split"] != "train"], kept[kept["benchmark"] == name]])
        for name, part in tables.items()
    }
    assert not report_shared(cleaned)["shared_images"].any()


def prepared(benchmark: str) -> pa.Table:
    """A prepared table of two expressions."""
    rows = [
        (benchmark, "train", 7, "images/7.jpg", 4, 6, 70, 700, 1, "left", "dog", [0.0, 0, 6, 4], "0h0", 24),
        (benchmark, "val", 8, "images/8.jpg", 4, 6, 80, 800, 2, "right", "", [0.0, 0, 6, 4], "0h0", 24),
    ]
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=SCHEMA)


def test_only_the_needed_columns_are_read(tmp_path: Path) -> None:
    for name in ("refcoco_unc", "refcocog_google", "refcocog_umd"):
        pq.write_table(prepared(name), tmp_path / f"{name}.parquet")
    tables = read_image_splits(tmp_path, ["refcocog_google", "refcoco_unc"])
    assert list(tables) == ["refcocog_google", "refcoco_unc"]
    for name, found in tables.items():
        assert found.to_dict("list") == {
            "benchmark": [name, name],
            "split": ["train", "val"],
            "image_path": ["images/7.jpg", "images/8.jpg"],
            "ref_id": [70, 80],
            "sent_id": [1, 2],
        }


def test_tables_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "refcoco_unc.parquet"
    with pytest.raises(UserError, match=r"refcoco_unc\.parquet is missing"):
        read_image_splits(tmp_path, ["refcoco_unc"])
    path.write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(UserError, match=r"refcoco_unc\.parquet is not a readable Parquet file"):
        read_image_splits(tmp_path, ["refcoco_unc"])
    for gone in ("split", "mask_rle"):  # one that is needed here, and one that is not
        pq.write_table(prepared("refcoco_unc").drop_columns(gone), path)
        with pytest.raises(UserError, match=f"other columns than expected: {gone} is missing"):
            read_image_splits(tmp_path, ["refcoco_unc"])
