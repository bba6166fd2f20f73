"""The ablation's numbers, compared with those of the made-up scores, and its three formats."""

import csv
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ablation_runs import make_scores
from scipy.stats import t

from s2rm.ablation.effects import measure_effects
from s2rm.ablation.effects_table import render_ablation
from s2rm.ablation.runs import CURVE, Study
from s2rm.config.benchmarks import BENCHMARKS, DRAWN_ONLY, STRUCTURED, get_benchmark
from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.scoring.metrics import segmentation_metrics

Make = Callable[..., Params]
COLUMNS = (
    "variant,benchmark,split,seeds,mIoU_mean,mIoU_std,oIoU_mean,difference,low,high,p_value,"
    "seeds_low,seeds_high"
)
WORSE, SAME = "fusion.coparsing=none", "train.clip=2.0"
IOU = {"full": 0.6, WORSE: 0.55, SAME: 0.6}
SEEDS = {"full": (1, 2, 3), WORSE: (1, 2), SAME: (7,)}


def make_run(variant: str, run: str, seed: int, benchmarks: list[str], iou: float) -> pd.DataFrame:
    """The scores of a run as `collect` returns them."""
    parts = [
        make_scores(name, split, iou, seed).assign(benchmark=name, split=split)
        for name in benchmarks
        for split in get_benchmark(name).evaluation_splits
    ]
    names = {"intersection_model": "intersection", "union_model": "union"}
    return pd.concat(parts).rename(columns=names).assign(variant=variant, run=run, seed=seed, kind="")


def study_of(scores: pd.DataFrame) -> Study:
    return Study(scores, pd.DataFrame(columns=CURVE), [])


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    parts = [
        make_run(variant, "joint", seed, list(BENCHMARKS), IOU[variant])
        for variant, seeds in SEEDS.items()
        for seed in seeds
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def effects(scores: pd.DataFrame, tiny_params: Make) -> pd.DataFrame:
    return measure_effects(scores, tiny_params()).set_index(["variant", "benchmark", "split"])


def test_means_are_those_of_the_metrics(scores: pd.DataFrame, effects: pd.DataFrame) -> None:
    for variant, seeds in SEEDS.items():
        part = scores[(scores["variant"] == variant) & (scores["benchmark"] == "refcocog_umd")]
        part = part[part["split"] == "test"]
        by_seed = [
            segmentation_metrics(rows["intersection"], rows["union"]) for _, rows in part.groupby("seed")
        ]
        row = effects.loc[(variant, "refcocog_umd", "test")]
        miou = [metrics["mIoU"] for metrics in by_seed]
        assert row["seeds"] == len(seeds) == len(by_seed)
        assert row["mIoU_mean"] == pytest.approx(np.mean(miou), abs=1e-3)
        assert row["oIoU_mean"] == pytest.approx(np.mean([m["oIoU"] for m in by_seed]), abs=1e-3)
        if len(seeds) > 1:
            assert row["mIoU_std"] == pytest.approx(np.std(miou, ddof=1), abs=1e-3)
        else:
            assert np.isnan(row["mIoU_std"])


def test_the_difference_is_that_of_the_means(effects: pd.DataFrame) -> None:
    for variant, place in itertools.product((WORSE, SAME), [("refcoco_unc", "val"), ("mean", "val")]):
        row, full = effects.loc[(variant, *place)], effects.loc[("full", *place)]
        assert row["difference"] == pytest.approx(row["mIoU_mean"] - full["mIoU_mean"])
        assert full[["difference", "low", "high"]].isna().all()


def test_the_interval_over_seeds_is_welch_s(scores: pd.DataFrame, effects: pd.DataFrame) -> None:
    """Computed here by hand, with Welch and Satterthwaite's degrees of freedom."""
    part = scores[(scores["benchmark"] == "refcocog_umd") & (scores["split"] == "test")]
    iou = (100 * part["intersection"] / part["union"]).groupby([part["variant"], part["seed"]]).mean()
    ours, theirs = iou[WORSE], iou["full"]
    errors = [values.var(ddof=1) / len(values) for values in (ours, theirs)]
    counts = [len(values) - 1 for values in (ours, theirs)]
    freedom = sum(errors) ** 2 / sum(error**2 / count for error, count in zip(errors, counts, strict=True))
    half = t.ppf(0.975, freedom) * sum(errors) ** 0.5
    row = effects.loc[(WORSE, "refcocog_umd", "test")]
    difference = ours.mean() - theirs.mean()
    assert row["difference"] == pytest.approx(difference, abs=1e-6)
    assert row["seeds_low"] == pytest.approx(difference - half, abs=1e-6)
    assert row["seeds_high"] == pytest.approx(difference + half, abs=1e-6)
    alone = effects.loc[(SAME, "refcocog_umd", "test")]
    assert alone[["seeds_low", "seeds_high"]].isna().all(), "of a single seed there is none"


def test_a_worse_model_is_found_and_an_equal_one_is_not(effects: pd.DataFrame) -> None:
    worse, same = effects.loc[WORSE], effects.loc[SAME]
    assert (worse["high"] < 0).all()
    assert worse["low"].lt(-5).mean() >= 0.8, "-5 points were put in"
    assert worse["high"].gt(-5).mean() >= 0.8
    assert ((same["low"] <= 0) & (same["high"] >= 0)).mean() >= 0.8


def test_the_mean_is_over_the_val_splits_of_the_five(effects: pd.DataFrame) -> None:
    val = effects.xs(WORSE).xs("val", level="split").drop("mean")
    row = effects.loc[(WORSE, "mean", "val")]
    assert list(val.index) == list(BENCHMARKS)
    for name in ("mIoU_mean", "oIoU_mean", "difference"):
        assert row[name] == pytest.approx(val[name].mean())
    assert row["high"] - row["low"] < (val["high"] - val["low"]).min(), "five benchmarks know more than one"


def test_the_structured_partition_has_a_mean_of_its_own_and_the_two_hops_have_none(
    scores: pd.DataFrame, effects: pd.DataFrame, tiny_params: Make
) -> None:
    other = scores[(scores["benchmark"] == "refcoco_unc") & (scores["split"] == "val")]
    drawn = [
        other.assign(benchmark=name, intersection=other["intersection"] // number)
        for number, name in enumerate(DRAWN_ONLY, start=2)
    ]
    found = measure_effects(pd.concat([scores, *drawn]), tiny_params())
    found = found.set_index(["variant", "benchmark", "split"])
    pd.testing.assert_series_equal(found.loc[(WORSE, "mean", "val")], effects.loc[(WORSE, "mean", "val")])
    val = found.xs(WORSE).xs("val", level="split")
    for name in ("mIoU_mean", "oIoU_mean", "difference"):
        six = val.loc[[*BENCHMARKS, STRUCTURED.name], name]
        assert val.loc["mean_with_structured", name] == pytest.approx(six.mean())


def test_another_benchmark_is_measured_and_not_averaged(
    scores: pd.DataFrame, effects: pd.DataFrame, tiny_params: Make
) -> None:
    other = scores[scores["benchmark"] == "refcoco_unc"].assign(benchmark="refshapes_two_hops")
    other["intersection"] //= 2
    found = measure_effects(pd.concat([scores, other]), tiny_params())
    found = found.set_index(["variant", "benchmark", "split"])
    pd.testing.assert_series_equal(found.loc[(WORSE, "mean", "val")], effects.loc[(WORSE, "mean", "val")])
    assert (WORSE, "refshapes_two_hops", "val") in found.index


def test_the_csv(scores: pd.DataFrame, tiny_params: Make, tmp_path: Path) -> None:
    render_ablation(study_of(scores), tiny_params(), tmp_path)
    lines = (tmp_path / "ablation.csv").read_text().splitlines()
    assert lines[0] == COLUMNS
    rows = list(csv.DictReader(lines))
    assert len(rows) == 3 * (11 + 1)
    first = rows[0]
    assert (first["variant"], first["benchmark"], first["split"], first["seeds"]) == (
        "full", "refcoco_unc", "val", "3",
    )  # fmt: skip
    assert first["difference"] == first["low"] == first["high"] == ""
    assert rows[-1]["variant"] == SAME
    assert rows[-1]["mIoU_std"] == ""


def test_the_tables_for_people(scores: pd.DataFrame, tiny_params: Make, tmp_path: Path) -> None:
    render_ablation(study_of(scores), tiny_params("report.decimals=1"), tmp_path)
    text = (tmp_path / "ablation.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    head, _, full, worse, same = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert head[:4] == ["model", "seeds", "RefShapes (as RefCOCO) mIoU", "RefShapes (as RefCOCO) difference"]
    assert head[-3:] == ["mean mIoU", "mean difference", "mean over seeds"]
    assert "RefCOCO" not in text.replace("RefShapes (as RefCOCO", ""), (
        "drawn data never have a real benchmark's name"
    )
    assert [row[:2] for row in (full, worse, same)] == [["full", "3"], [WORSE, "2"], [SAME, "1"]]
    assert full[-2:] == same[-1:] * 2 == ["–", "–"], "no difference to itself, no interval over one seed"
    assert " ± " in full[-3]
    assert " ± " not in same[-3], "a single seed has no deviation"
    assert worse[-2].startswith("−")
    assert worse[-2].endswith(r"\*")
    assert not same[-2].endswith(r"\*")
    assert "64×64" in text
    assert "95% interval" in text
    latex = (tmp_path / "ablation.tex").read_text()
    assert latex.count(r"$\pm$") == 1 + 2 * 2, (
        "of the caption, and of two means of the models with several seeds"
    )
    assert r"fusion.coparsing=none & 2 & " in latex
    assert "±" not in latex


def test_real_data_have_their_names_and_parts_are_labelled(
    scores: pd.DataFrame, tiny_params: Make, tmp_path: Path
) -> None:
    render_ablation(study_of(scores), tiny_params("data.source=folder", "data.folder=data/real"), tmp_path)
    text = (tmp_path / "ablation.md").read_text()
    assert "part of RefCOCO+ mIoU" in text
    assert "RefShapes" not in text


def test_models_that_share_no_benchmark_are_one_row(tiny_params: Make, tmp_path: Path) -> None:
    """Like the paper's five models; a variant that lacks one of them has no mean."""
    full = tiny_params("+runs.a={train_on: [refcoco_unc], evaluate_on: [refcoco_unc]}",
                       "+runs.b={train_on: [refcocog_umd], evaluate_on: [refcocog_umd]}",
                       "~runs.joint")  # fmt: skip
    runs = [("full", "a", 1, 0.6), ("full", "b", 1, 0.6), ("full", "b", 2, 0.6), (WORSE, "a", 1, 0.5)]
    benchmarks = {"a": ["refcoco_unc"], "b": ["refcocog_umd"]}
    parts = [make_run(variant, run, seed, benchmarks[run], iou) for variant, run, seed, iou in runs]
    render_ablation(study_of(pd.concat(parts)), full, tmp_path)
    rows = list(csv.DictReader((tmp_path / "ablation.csv").read_text().splitlines()))
    assert ",".join(rows[0]) == COLUMNS
    seeds = {(row["variant"], row["benchmark"]): row["seeds"] for row in rows if row["split"] == "val"}
    assert seeds == {
        ("full", "refcoco_unc"): "1",
        ("full", "refcocog_umd"): "2",
        ("full", "mean"): "1",
        (WORSE, "refcoco_unc"): "1",
    }
    assert "| full | 1–2 |" in (tmp_path / "ablation.md").read_text()


def test_models_that_share_a_benchmark_are_separate(tiny_params: Make, tmp_path: Path) -> None:
    full = tiny_params("+runs.a={train_on: [refcoco_unc], evaluate_on: [refcoco_unc]}",
                       "+runs.b={train_on: [refcocog_umd], evaluate_on: [refcoco_unc]}",
                       "~runs.joint")  # fmt: skip
    parts = [make_run("full", run, 1, ["refcoco_unc"], iou) for run, iou in (("a", 0.7), ("b", 0.4))]
    render_ablation(study_of(pd.concat(parts)), full, tmp_path)
    rows = list(csv.DictReader((tmp_path / "ablation.csv").read_text().splitlines()))
    assert ",".join(rows[0]) == f"run,{COLUMNS}"
    means = {row["run"]: float(row["mIoU_mean"]) for row in rows if row["benchmark"] == "mean"}
    assert means == {"a": pytest.approx(70, abs=5), "b": pytest.approx(40, abs=5)}
    assert "**run a**" in (tmp_path / "ablation.md").read_text()


def test_without_the_full_model_nothing_is_written(
    scores: pd.DataFrame, tiny_params: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a project in which nothing was trained
    for found in (scores[scores["variant"] != "full"], scores.iloc[:0]):
        with pytest.raises(
            UserError, match=r"no run 'joint' of the full model is recorded here: `dvc repro`"
        ):
            render_ablation(study_of(found), tiny_params(), tmp_path)
    assert not list(tmp_path.iterdir())
