"""Synthetic data with the counts of RefCOCO: a hundredth of it, and all of it."""

import json
import sys
from pathlib import Path

import pytest

from s2rm.config.params import Preprocess
from s2rm.data.table import load_objects, load_table
from s2rm.refer.prepare import prepare
from s2rm.refer.split_sizes import load_official

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_a_hundredth_has_its_counts_no_issue_and_the_same_bytes_twice(tmp_path: Path) -> None:
    from full_refcoco import write_refcoco

    made = []
    for name in ("first", "second"):
        write_refcoco(tmp_path / name, scale=0.01)
        settings = Preprocess(sentence="raw", faults="refuse", statistics="warn")
        statistics = prepare("refcoco_unc", tmp_path / name, tmp_path / name / "prepared", settings)
        folder = tmp_path / name / "prepared"
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert made[0] == made[1]
    assert made[0].keys() == {f"refcoco_unc{end}" for end in (".parquet", "-objects.parquet", ".json")}
    assert statistics["faults"] == {}

    table = load_table(folder / "refcoco_unc.parquet")
    for row in load_official():
        if (row.benchmark, row.route) == ("refcoco_unc", "refer"):
            found, split = statistics["splits"][row.split], table[table["split"] == row.split]
            for what, expected in row.numbers.items():
                assert found[what] == round(0.01 * expected)
            counts = (split["image_id"].nunique(), split["ref_id"].nunique(), len(split))
            assert counts == (found["images"], found["refs"], found["expressions"])
    assert table["sent_id"].is_unique
    objects = load_objects(folder / "refcoco_unc-objects.parquet")
    instances = json.loads((tmp_path / name / "refcoco_unc" / "instances.json").read_text())
    assert statistics["objects"] == {"objects": len(objects), "without_mask": 0}
    assert sorted(objects["ann_id"]) == sorted(each["id"] for each in instances["annotations"])


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc, which only Linux has")
def test_the_whole_takes_less_than_two_gigabytes_and_has_the_official_counts(tmp_path: Path) -> None:
    from full_refcoco import prepare_apart, write_refcoco

    write_refcoco(tmp_path)
    assert prepare_apart(tmp_path, tmp_path / "prepared")["peak_bytes"] < 2e9
    statistics = json.loads((tmp_path / "prepared" / "refcoco_unc.json").read_text())
    assert statistics["origin"]["source"] == "folder"
    assert statistics["official"] == []
    assert sum(split["expressions"] for split in statistics["splits"].values()) == 142_210
