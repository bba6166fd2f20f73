"""The published numbers: what the file contains, and which of them may be compared."""

import pytest

from s2rm.config.benchmarks import BENCHMARKS
from s2rm.core.errors import UserError
from s2rm.reporting.tables.published import (
    METRIC_DISPUTED,
    METRIC_UNKNOWN,
    PAPER,
    SPLIT_UNKNOWN,
    load_published,
)


def value(method: str, benchmark: str, split: str, metric: str, backbone: str | None = None) -> float:
    table = load_published()
    rows = table[
        (table["method"] == method)
        & (table["benchmark"] == benchmark)
        & (table["split"] == split)
        & (table["metric"] == metric)
        & ((table["backbone"] == backbone) | (backbone is None))
    ]
    assert len(rows) == 1
    return rows["value"].item()


def test_counts_of_the_file():
    table = load_published()
    assert len(table) == 496  # 495 numbers and the paper's empty row
    assert (table["source"] != "").all()
    assert table["reason"].value_counts().to_dict() == {
        "": 413,
        METRIC_UNKNOWN: 59,
        METRIC_DISPUTED: 17,  # MCN 8, VLT 8 + 1
        SPLIT_UNKNOWN: 7,  # DMMI 4, PaliGemma 3
    }


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (("LAVT", "refcoco_unc", "val", "oIoU"), 72.73),
        (("LAVT", "refcoco_unc", "val", "mIoU"), 74.46),
        (("LAVT", "refcocog_umd", "test", "oIoU"), 62.09),
        (("LAVT", "refcocog_google", "val", "oIoU"), 60.50),
        (("LAVT", "refcoco_plus_unc", "testB", "P_0.9"), 27.24),
        (("LSCM", "referit_berkeley", "test", "oIoU"), 66.57),
        (("GLaMM", "refcoco_unc", "testA", "oIoU"), 83.2),  # cIoU of its source
        (("CRIS", "refcoco_unc", "val", "mIoU", "CLIP ResNet-101"), 70.47),
    ],
)
def test_known_numbers_are_found(key, expected):
    assert value(*key) == expected


def test_every_comparable_number_belongs_to_a_split_of_ours():
    table = load_published()
    comparable = table[(table["reason"] == "") & (table["method"] != PAPER)]
    for row in comparable.itertuples():
        assert row.split in BENCHMARKS[row.benchmark].evaluation_splits
        assert 0 < row.value < 100
    assert not comparable.duplicated(["method", "backbone", "benchmark", "split", "metric"]).any()


def test_cris_and_etris_are_only_miou():
    table = load_published(["CRIS", "ETRIS"])
    assert set(table.loc[table["method"] != PAPER, "metric"]) == {"mIoU"}


def test_unnamed_metrics_never_get_a_name():
    table = load_published(["ASDA", "DETRIS-L"])
    assert set(table.loc[table["method"] != PAPER, "metric"]) == {""}


def test_paper_has_a_row_without_a_number():
    rows = load_published().query("method == @PAPER")
    assert len(rows) == 1
    assert rows["value"].isna().all()
    assert "not available" in rows["source"].item()


def test_chosen_methods_and_the_paper():
    assert set(load_published(["LAVT", "ReLA"])["method"]) == {"LAVT", "ReLA", PAPER}


def test_unknown_method_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"report\.methods names 'LAVTT'.*did you mean 'LAVT'"):
        load_published(["LAVTT"])
