"""The official numbers: what the file holds, and how data that does not match is refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from s2rm.config.benchmarks import BENCHMARKS
from s2rm.core.errors import UserError
from s2rm.refer.issues import RULES, Issues
from s2rm.refer.split_sizes import (
    COUNTS_STAND,
    WHAT,
    Official,
    check_official,
    compare,
    find_incomplete,
    load_official,
)

ROUTES = [(name, "refer") for name in BENCHMARKS] + [("referit_berkeley", "queries")]


def rows_of(benchmark: str, route: str) -> list[Official]:
    return [row for row in load_official() if (row.benchmark, row.route) == (benchmark, route)]


def official_counts(benchmark: str, route: str = "refer") -> dict[str, dict[str, int | float]]:
    """Counts as `prepare` returns them, all equal to the official ones."""
    return {row.split: {**row.numbers, "tokens_mean": 3.5} for row in rows_of(benchmark, route)}


def check(benchmark: str, counts: Any, *, refuse: bool = True, route: str = "refer", issues: Any = None):
    return check_official(benchmark, route, counts, refuse=refuse, issues=issues or {})


@pytest.mark.parametrize(("benchmark", "route"), ROUTES)
def test_every_split_has_one_row_with_numbers_and_a_source(benchmark: str, route: str) -> None:
    rows = rows_of(benchmark, route)
    assert tuple(row.split for row in rows) == BENCHMARKS[benchmark].splits
    for row in rows:
        assert {"images", "refs"} <= row.numbers.keys() <= set(WHAT)
        assert row.certain <= row.numbers.keys()
        assert all(row.numbers.values())
        assert "@" in row.source


def test_no_row_belongs_to_another_benchmark_or_route() -> None:
    assert {(row.benchmark, row.route) for row in load_official()} == set(ROUTES)


@pytest.mark.parametrize(
    ("benchmark", "route", "totals"),
    [
        ("refcoco_unc", "refer", (19_994, 50_000, 142_210)),  # lichengunc/refer@e3bbaa3 pyReferDemo.ipynb
        ("refcoco_plus_unc", "refer", (19_992, 49_856, 141_564)),  # Huntersxsx/RIS-Learning-List README
        ("refcocog_umd", "refer", (25_799, 49_822, 95_010)),
        ("referit_berkeley", "queries", (19_989, 99_245, 120_081)),
        ("referit_berkeley", "refer", (19_987, 99_241, 120_072)),
    ],
)
def test_the_splits_add_up_to_the_known_totals(
    benchmark: str, route: str, totals: tuple[int, int, int]
) -> None:
    rows = rows_of(benchmark, route)
    assert tuple(sum(row.numbers[what] for row in rows) for what in WHAT) == totals


@pytest.mark.parametrize(
    ("benchmark", "expressions"),
    [("refcoco_unc", 21_586), ("refcoco_plus_unc", 21_373), ("refcocog_umd", 14_498)],
)
def test_the_evaluation_splits_add_up_to_those_that_ref_l4_reviewed(benchmark: str, expressions: int) -> None:
    rows = [row for row in rows_of(benchmark, "refer") if row.split != "train"]
    assert sum(row.numbers["expressions"] for row in rows) == expressions


def test_both_partitions_of_refcocog_hold_the_same_refs() -> None:
    """They do not hold the images once: Google's train and val share some."""
    umd, google = Counter(), Counter()
    for row in rows_of("refcocog_umd", "refer"):
        umd.update(row.numbers)
    for row in rows_of("refcocog_google", "refer"):
        google.update(row.numbers)
    assert google["refs"] == umd["refs"]
    assert google["images"] > umd["images"]


def test_single_numbers_are_at_their_place() -> None:
    numbers = {(*key, row.split): row.numbers for key in ROUTES for row in rows_of(*key)}
    assert numbers["refcoco_unc", "refer", "testB"] == {"images": 750, "refs": 1810, "expressions": 5095}
    assert numbers["refcoco_plus_unc", "refer", "train"]["expressions"] == 120_191  # 120,624 is RefCOCO's
    assert numbers["refcocog_google", "refer", "val"] == {"images": 4650, "refs": 5000}
    assert numbers["referit_berkeley", "refer", "test"]["expressions"] == 60_103
    assert numbers["referit_berkeley", "queries", "test"]["expressions"] == 60_105


def test_only_our_derivation_is_uncertain() -> None:
    uncertain = {
        (row.benchmark, row.route, what)
        for row in load_official()
        for what in row.numbers.keys() - row.certain
    }
    assert uncertain == {("referit_berkeley", "refer", "images"), ("referit_berkeley", "refer", "refs")}


def test_numbers_are_compared_in_the_order_of_the_file() -> None:
    counts = official_counts("refcocog_google")
    counts["val"]["refs"] = 4999
    compared = [(c.split, c.what, c.expected, c.found) for c in compare("refcocog_google", "refer", counts)]
    assert compared == [
        ("train", "images", 24698, 24698),
        ("train", "refs", 44822, 44822),
        ("val", "images", 4650, 4650),
        ("val", "refs", 5000, 4999),
    ]


def test_expressions_that_no_source_counts_are_not_compared() -> None:
    counts = official_counts("refcocog_google")
    counts["train"]["expressions"] = 7
    assert check("refcocog_google", counts) == []


@pytest.mark.parametrize("refuse", [True, False])
@pytest.mark.parametrize(("benchmark", "route"), ROUTES)
def test_an_exact_match_says_nothing(benchmark: str, route: str, refuse: bool) -> None:
    assert check(benchmark, official_counts(benchmark, route), refuse=refuse, route=route) == []


@pytest.mark.parametrize("off", [-1, 1])
@pytest.mark.parametrize(("benchmark", "route"), ROUTES)
def test_every_certain_number_that_is_one_off_is_refused(benchmark: str, route: str, off: int) -> None:
    for row in rows_of(benchmark, route):
        for what in row.certain:
            counts = official_counts(benchmark, route)
            counts[row.split][what] += off
            with pytest.raises(UserError) as caught:
                check(benchmark, counts, route=route)
            marked = [line.split() for line in str(caught.value).splitlines() if line.startswith("*")]
            numbers = [f"{row.numbers[what]:,}", f"{row.numbers[what] + off:,}", f"{off:+}"]
            assert marked == [["*", row.split, what, *numbers]]


def test_the_refusal_is_a_readable_table() -> None:
    counts = official_counts("referit_berkeley")
    counts["train"]["images"] -= 4
    counts["test"]["expressions"] -= 1003
    issues = Issues()
    for number in range(500):
        issues.add("image_missing", number, f"image {number}")
    issues.add("empty_expression", 7, "sentence 7")
    issues.add("polygon_clipped", 7, "annotation 7")  # clips a mask, loses nothing
    with pytest.raises(UserError) as caught:
        check("referit_berkeley", counts, issues=issues.report())
    assert (
        str(caught.value)
        == """\
referit_berkeley: 2 of 9 numbers are not the official ones (* below)
  split  what          official    found
* train  images           8,994    8,990  -4  (uncertain)
  train  refs            44,647   44,647  (uncertain)
  train  expressions     54,127   54,127
  val    images           1,000    1,000  (uncertain)
  val    refs             4,866    4,866  (uncertain)
  val    expressions      5,842    5,842
  test   images           9,993    9,993  (uncertain)
  test   refs            49,728   49,728  (uncertain)
* test   expressions     60,103   59,100  -1,003
issues that may explain it: 500 × image_missing (first: image 0); 1 × empty_expression (first: sentence 7)
complete or repair the data, or set preprocess.statistics=warn to use it as it is"""
    )


def test_without_issues_the_files_are_suspected() -> None:
    issues = {kind: {"count": 3} for kind in COUNTS_STAND}
    with pytest.raises(UserError, match="no issue explains it: these may not be"):
        check("refcoco_unc", {}, issues=issues)


def test_misnamed_splits_are_among_the_suspects() -> None:
    with pytest.raises(UserError, match=r"may explain it: 1,975 × split_not_used \(first: ref 1"):
        check("refcoco_unc", {}, issues={"split_not_used": {"count": 1975, "first": "ref 1"}})


def test_the_kinds_of_issues_exist() -> None:
    assert RULES.keys() >= COUNTS_STAND


def test_an_uncertain_number_is_a_warning_at_most() -> None:
    counts = official_counts("referit_berkeley")
    counts["train"]["refs"] = 44_640
    for refuse in (True, False):
        assert check("referit_berkeley", counts, refuse=refuse) == [
            "referit_berkeley train: 44,640 refs, officially 44,647 (uncertain)"
        ]


def test_a_missing_split_counts_nothing() -> None:
    counts = official_counts("refcocog_umd")
    del counts["test"]
    with pytest.raises(UserError, match=r"\* test +images +2,600 +0 +-2,600"):
        check("refcocog_umd", counts)
    assert check("refcocog_umd", counts, refuse=False) == [
        "refcocog_umd test: 0 images, officially 2,600",
        "refcocog_umd test: 0 refs, officially 5,023",
        "refcocog_umd test: 0 expressions, officially 9,602",
    ]


def test_without_refusal_certain_numbers_are_warnings_too() -> None:
    counts = official_counts("refcoco_unc")
    counts["val"]["expressions"] = 10_833
    assert check("refcoco_unc", counts, refuse=False) == [
        "refcoco_unc val: 10,833 expressions, officially 10,834"
    ]


@pytest.mark.parametrize(("benchmark", "route"), [("refcoco_google", "refer"), ("refcoco_unc", "queries")])
def test_what_has_no_official_numbers_is_not_compared(benchmark: str, route: str) -> None:
    assert compare(benchmark, route, {}) == []
    assert check(benchmark, {"train": {"images": 3}}, route=route) == []


def test_a_benchmark_is_incomplete_by_certain_numbers_alone(tmp_path: Path) -> None:
    lines = {
        "refcoco_unc": ["refcoco_unc val: 3 refs, officially 3,811"],
        "referit_berkeley": ["referit_berkeley val: 3 refs, officially 4,866 (uncertain)"],
        "refcocog_umd": [],
    }
    for name, official in lines.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"official": official}))
    assert find_incomplete(tmp_path, lines) == {"refcoco_unc"}
