"""The benchmarks and their names."""

import re
from typing import get_args

import pytest

from s2rm.config.benchmarks import (
    ALL_BENCHMARKS,
    BENCHMARKS,
    DRAWN_ONLY,
    BenchmarkName,
    get_benchmark,
    name_benchmark,
)
from s2rm.core.errors import UserError


def test_names_and_splits_of_the_refer_api() -> None:
    expected = {
        "refcoco_unc": ("refcoco", "unc", ("train", "val", "testA", "testB")),
        "refcoco_plus_unc": ("refcoco+", "unc", ("train", "val", "testA", "testB")),
        "refcocog_umd": ("refcocog", "umd", ("train", "val", "test")),
        "refcocog_google": ("refcocog", "google", ("train", "val")),
        "referit_berkeley": ("refclef", "berkeley", ("train", "val", "test")),
    }
    found = {name: (b.dataset, b.split_by, b.splits) for name, b in BENCHMARKS.items()}
    assert found == expected


def test_names_are_valid_for_files_and_mlflow() -> None:
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.name == name
        assert re.fullmatch(r"[a-z_]+", name)
        assert benchmark.evaluation_splits == benchmark.splits[1:]
        assert "train" not in benchmark.evaluation_splits
    assert len({benchmark.title for benchmark in BENCHMARKS.values()}) == len(BENCHMARKS)


def test_the_error_of_an_unknown_benchmark_lists_the_known_ones() -> None:
    assert get_benchmark("refcoco_unc").title == "RefCOCO"
    with pytest.raises(
        UserError, match="unknown benchmark 'refcoco': known are refcoco_unc, refcoco_plus_unc"
    ):
        get_benchmark("refcoco")


@pytest.mark.parametrize("name", DRAWN_ONLY)
def test_a_structured_partition_is_drawn_and_imitates_no_real_benchmark(name: str) -> None:
    structured = get_benchmark(name)
    assert structured.name not in BENCHMARKS
    assert structured.splits == ("train", "val")
    assert structured.images not in {benchmark.images for benchmark in BENCHMARKS.values()}


def test_the_type_of_names_lists_all_benchmarks() -> None:
    assert get_args(BenchmarkName) == tuple(ALL_BENCHMARKS)


def test_only_whole_real_data_have_a_real_benchmark_s_title() -> None:
    assert name_benchmark("refcoco_unc", "archives") == "RefCOCO"
    assert name_benchmark("refcoco_unc", "folder", {"refcoco_unc"}) == "part of RefCOCO"
    assert name_benchmark("refcoco_unc", "refshapes") == "RefShapes (as RefCOCO)"
    assert name_benchmark("refshapes_structured", "refshapes") == "RefShapes structured"
    assert name_benchmark("refshapes_two_hops", "refshapes") == "RefShapes two hops"
