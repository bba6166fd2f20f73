"""Two models on the same expressions: known differences, and every way to name a model."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from s2rm.compare.paired import Paired, Size, compare
from s2rm.compare.sources import Source, load_source
from s2rm.core.errors import UserError
from s2rm.data.rle import decode, encode
from s2rm.data.table import load_table

KEY = ("refcoco_unc", "val")


def made_up(iou: np.ndarray, images: np.ndarray, name: str = "a") -> Source:
    pixels = np.round(1000 * iou).astype(int)
    table = pd.DataFrame({"sent_id": np.arange(len(iou)), "image_id": images})
    for size in ("model", "original"):
        table[f"intersection_{size}"], table[f"union_{size}"] = pixels, 1000
    return Source(name, {KEY: table})


def compare_two(first: list[Source], second: list[Source], size: Size = "original") -> list[Paired]:
    (found,) = compare([first, second], size)
    return found.splits


@pytest.fixture
def images() -> np.ndarray:
    return np.repeat(np.arange(60), 4)


def test_a_known_difference(images: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(200, 800, len(images)) / 1000
    (found,) = compare_two([made_up(base + 0.1, images)], [made_up(base, images)])
    assert found.miou_difference.value == pytest.approx(10, abs=0.1)
    assert 9.5 < found.miou_difference.low <= found.miou_difference.high < 10.5
    assert found.oiou_difference.value == pytest.approx(10, abs=0.1)
    assert np.isnan(found.seeds_difference.low)
    both, first, second, none = found.table
    assert second == 0
    assert both + first + none == len(images)
    assert first == ((base < 0.5) & (np.round(1000 * (base + 0.1)) >= 500)).sum()
    assert found.p_value < 1e-3


def test_groups_of_seeds(images: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    groups = [
        [made_up(np.clip(mean + rng.normal(0, 0.1, len(images)), 0, 1), images) for _ in range(3)]
        for mean in (0.7, 0.5)
    ]
    (found,) = compare_two(*groups, "model")
    assert found.seeds_difference.value == pytest.approx(found.miou[0] - found.miou[1])
    assert found.seeds_difference.low < 20 < found.seeds_difference.high + 2


def test_equal_models(images: np.ndarray) -> None:
    one = made_up(np.full(len(images), 0.6), images)
    (found,) = compare_two([one], [one])
    assert vars(found.miou_difference) == {"value": 0, "low": 0, "high": 0}
    assert found.p_value == 1


def test_an_image_of_two_benchmarks_is_drawn_once(images: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    a, b = (made_up(rng.random(len(images)), images) for _ in range(2))
    twice = [
        Source(each.name, {KEY: each.scores[KEY], ("refcoco_plus_unc", "val"): each.scores[KEY]})
        for each in (a, b)
    ]
    (once,), (both,) = compare([[a], [b]], "model"), compare([[twice[0]], [twice[1]]], "model")
    assert len(both.splits) == 2
    assert vars(both.mean) == pytest.approx(vars(once.mean))


def test_several_models_are_compared_with_the_first_and_tested_together(images: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    base = rng.random(len(images))
    shifts = {"a": 0.0, "b": -0.02, "c": -0.05}
    groups = [[made_up(np.clip(base + shift, 0, 1), images, name)] for name, shift in shifts.items()]
    found = compare(groups, "model")
    assert [each.second[0].name for each in found] == ["b", "c"]
    alone = [compare([groups[0], other], "model")[0].splits[0].p_value for other in groups[1:]]
    assert found[1].splits[0].p_value == pytest.approx(min(1, 2 * min(alone)))
    assert found[0].splits[0].p_value >= alone[0]


def test_data_that_only_look_alike_are_refused(images: np.ndarray) -> None:
    one = made_up(np.full(len(images), 0.6), images)
    drawn = [replace(one, name=name, tables={"refcoco_unc": name}) for name in ("x", "y")]
    with pytest.raises(UserError, match="y was scored on other data of refcoco_unc-val than x"):
        compare([[drawn[0]], [drawn[1]]], "model")
    assert compare([[one], [drawn[1]]], "model"), "unknown data may be the same"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"intersection_model": "text"}, "intersection_model holds "),
        ({"intersection_original": 10**9}, "intersection_original is not between 0 and union_original"),
        ({"union_model": np.nan}, "union_model holds float64, not whole numbers"),
        ({"sent_id": 5}, "sent_id 5 has several rows"),
    ],
)
def test_scores_that_cannot_be_right_are_refused(
    project: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    table = pd.read_parquet(project / "results/one/refcoco_unc-val.parquet").assign(**change)
    table.to_parquet(tmp_path / "refcoco_unc-val.parquet")
    with pytest.raises(UserError, match=said) as caught:
        load_source(str(tmp_path), project, tmp_path, "s2rm")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_pictures_show_the_first_training_with_its_own_iou(project: Path, tmp_path: Path) -> None:
    """As a group with a training that finds everything: its masks are not shown."""
    perfect = tmp_path / "perfect"
    perfect.mkdir()
    table = pd.read_parquet(project / "results/one/refcoco_unc-val.parquet")
    table["intersection_original"] = table["union_original"]
    table.to_parquet(perfect / "refcoco_unc-val.parquet")
    single, group = (
        run(project, names, "results/two", "--output", str(tmp_path / f"{number}.html"))
        for number, names in enumerate(("results/one/refcoco_unc-val.parquet", f"results/one,{perfect}"))
    )
    assert single.returncode == group.returncode == 0, group.stderr
    shown = [re.findall("IoU [0-9]+", (tmp_path / f"{number}.html").read_text()) for number in (0, 1)]
    assert shown[0] == shown[1]


def test_other_expressions_and_no_common_split(images: np.ndarray) -> None:
    one = made_up(np.full(len(images), 0.6), images)
    other = Source("b", {KEY: one.scores[KEY].assign(sent_id=one.scores[KEY]["sent_id"] + 1)})
    with pytest.raises(UserError, match="b was scored on other expressions of refcoco_unc-val than a"):
        compare([[one], [other]], "model")
    elsewhere = Source("c", {("refcoco_unc", "testA"): one.scores[KEY]})
    with pytest.raises(UserError, match="the models share no split: a has refcoco_unc-val; c has "):
        compare([[one], [elsewhere]], "model")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_data: Any) -> Path:
    """A folder with prepared data and images, and two folders of scores on real masks."""
    root = tmp_path_factory.mktemp("project")
    (root / "data").mkdir()
    (root / "data" / "raw").symlink_to(tiny_data.raw)
    (root / "data" / "prepared").symlink_to(tiny_data.prepared)
    for name, shift in (("one", 1), ("two", 9)):
        for split in ("val", "testA"):
            table = load_table(tiny_data.prepared / "refcoco_unc.parquet", splits=[split])
            rows = []
            for number, row in enumerate(table.itertuples()):
                truth = decode(row.mask_rle, row.height, row.width)
                given = np.roll(truth, shift if number % 2 else 10 - shift, axis=1)
                shared, union = int((truth & given).sum()), int((truth | given).sum())
                about = {"sent_id": row.sent_id, "ref_id": row.ref_id, "image_id": row.image_id}
                pixels = {
                    f"{part}_{size}": value
                    for size in ("model", "original")
                    for part, value in (("intersection", shared), ("union", union))
                }
                rows.append({**about, **pixels, "score": 0.9, "predicted_rle": encode(given)})
            (root / "results" / name).mkdir(parents=True, exist_ok=True)
            pd.DataFrame(rows).to_parquet(root / "results" / name / f"refcoco_unc-{split}.parquet")
    return root


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from s2rm.cli import main; main()", "compare", *arguments]
    return subprocess.run(command, cwd=project, check=False, capture_output=True, text=True)


def test_a_table_and_a_page(project: Path) -> None:
    done = run(project, "results/one", "results/two", "--output", "page.html")
    assert done.returncode == 0, done.stderr
    for part in ("A: results/one", "RefShapes (as RefCOCO) testA", "mean of the splits", "sign flips"):
        assert part in done.stdout
    page = (project / "page.html").read_text()
    assert "A right, B wrong" in page
    assert page.count("data:image/webp") >= 6
    assert not re.search(r"(src|href)=\"(?!data:)", page), "an external request"
    assert len(page) < 2_000_000


def test_numbers_for_programs(project: Path) -> None:
    done = run(project, "results/one", "results/two/refcoco_unc-val.parquet", "--json")
    found = json.loads(done.stdout)
    (split,) = found["comparisons"][0]["splits"]
    tables = [pd.read_parquet(project / f"results/{name}/refcoco_unc-val.parquet") for name in ("one", "two")]
    ious = [table["intersection_original"] / table["union_original"] for table in tables]
    assert split["mIoU"] == pytest.approx([100 * iou.mean() for iou in ious])
    assert split["mIoU_difference"]["value"] == pytest.approx(100 * (ious[0] - ious[1]).mean())
    assert split["both_first_second_none"] == [
        int(((ious[0] >= 0.5) == a).mul((ious[1] >= 0.5) == b).sum())
        for a, b in ((True, True), (True, False), (False, True), (False, False))
    ]
    assert split["seeds_difference"]["low"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["results/one", "nothing"],
            "nothing is not a file, a folder, an MLflow run of s2rm, a git revision or",
        ),
        (["results/one", "data"], "data holds no scores: they are called <benchmark>-<split>.parquet"),
        (["results/one", ","], "a model is missing"),
        (["results/one"], "name two models or more"),
        (["results/one", "results/two", "--output", "results"], "--output is results, a folder"),
    ],
)
def test_bad_names_give_one_line(project: Path, arguments: list[str], said: str) -> None:
    done = run(project, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert not (project / "mlflow.db").exists(), "a name that is not found begins no store"
