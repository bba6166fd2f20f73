"""What each variant does to mIoU: means over seeds, the difference to the full model, its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from s2rm.ablation.variants import FULL
from s2rm.config.benchmarks import ALL_BENCHMARKS, BENCHMARKS
from s2rm.config.params import Params
from s2rm.evaluation.metrics import compute_iou
from s2rm.evaluation.statistics import bootstrap_difference

# Stand for a benchmark: the mean over the val splits of these, as far as the full model is scored on them.
MEANS = {"mean": tuple(BENCHMARKS), "mean_with_structured": tuple(ALL_BENCHMARKS)}
COLUMNS = [
    "variant",
    "benchmark",
    "split",
    "seeds",  # how many
    "mIoU_mean",
    "mIoU_std",  # of a sample; none of a single seed
    "oIoU_mean",
    "difference",  # of mIoU_mean to the full model's; none of itself
    "low",
    "high",
]
Place = tuple[str, str]  # benchmark, split


@dataclass(frozen=True)
class _Scored:
    """A variant on a split, in percent."""

    iou: pd.DataFrame  # an expression (sent_id, image_id) a row, a seed a column
    oiou: pd.Series  # by seed


def measure_effects(scores: pd.DataFrame, full: Params) -> pd.DataFrame:
    """A row a variant, benchmark and split, in percent and in points; and MEANS behind them.

    Args:
        scores: of `collect`; every run of the full model is among them.

    Returns: COLUMNS, and `run`: "" unless several models of params.yaml share a benchmark. A mean has a row
        where a variant has a seed that all of its benchmarks share; of two over the same ones the first has.
    """
    rows: list[dict[str, Any]] = []
    for label, runs in _group_runs(full).items():
        of_group = scores[scores["run"].isin(runs)].groupby("variant", sort=False)
        variants = {str(variant): _score(part) for variant, part in of_group}
        means = _means_of(variants[FULL])
        for variant, scored in variants.items():
            places = {place: [place] for place in scored}
            for mean, averaged in means.items():
                if all(_share_a_seed(each, averaged) for each in (scored, variants[FULL])):
                    places[mean, "val"] = averaged
            for (benchmark, split), members in places.items():
                row: dict[str, Any] = {
                    "run": label,
                    "variant": variant,
                    "benchmark": benchmark,
                    "split": split,
                }
                row |= _average([scored[place] for place in members])
                if variant != FULL:
                    row |= _compare([(scored[place], variants[FULL][place]) for place in members])
                rows.append(row)
    return pd.DataFrame(rows, columns=["run", *COLUMNS])


def _means_of(full: dict[Place, _Scored]) -> dict[str, list[Place]]:
    means: dict[str, list[Place]] = {}
    for mean, benchmarks in MEANS.items():
        averaged = [(name, "val") for name in benchmarks if (name, "val") in full]
        if averaged not in means.values():
            means[mean] = averaged
    return means


def _group_runs(full: Params) -> dict[str, list[str]]:
    """Models that are evaluated on different benchmarks are one to the reader; else each is its own group."""
    evaluated = [benchmark for run in full.runs.values() for benchmark in run.evaluate_on]
    if len(set(evaluated)) == len(evaluated):
        return {"": list(full.runs)}
    return {run: [run] for run in full.runs}


def _score(scores: pd.DataFrame) -> dict[Place, _Scored]:
    """The splits of one variant."""
    scored = {}
    for (benchmark, split), part in scores.groupby(["benchmark", "split"], sort=False):
        iou = part.assign(iou=100 * compute_iou(part["intersection"], part["union"]))
        sums = part.groupby("seed")[["intersection", "union"]].sum()
        scored[str(benchmark), str(split)] = _Scored(
            iou.pivot(index=["sent_id", "image_id"], columns="seed", values="iou"),
            pd.Series(100 * compute_iou(sums["intersection"], sums["union"]), index=sums.index),
        )
    return scored


def _average(parts: Sequence[_Scored]) -> dict[str, float]:
    seeds = _shared_seeds(parts)
    miou = pd.concat([part.iou[seeds].mean() for part in parts], axis=1).mean(axis=1)
    oiou = pd.concat([part.oiou[seeds] for part in parts], axis=1).mean(axis=1)
    return {
        "seeds": len(seeds),
        "mIoU_mean": miou.mean(),
        "mIoU_std": miou.std(ddof=1),
        "oIoU_mean": oiou.mean(),
    }


def _compare(pairs: Sequence[tuple[_Scored, _Scored]]) -> dict[str, float]:
    """Each variant with its full model."""
    ours, theirs = (_shared_seeds(parts) for parts in zip(*pairs, strict=True))
    samples = []
    for variant, full in pairs:
        difference = variant.iou[ours].mean(axis=1) - full.iou[theirs].mean(axis=1)
        samples.append((difference.to_numpy(), difference.index.get_level_values("image_id").to_numpy()))
    found = bootstrap_difference(samples)
    return {"difference": found.value, "low": found.low, "high": found.high}


def _share_a_seed(scored: dict[Place, _Scored], places: list[Place]) -> bool:
    found = [scored[place] for place in places if place in scored]
    return bool(places) and len(found) == len(places) and bool(_shared_seeds(found))


def _shared_seeds(parts: Sequence[_Scored]) -> list[int]:
    """Models that are trained apart, as the paper's five, may differ in their seeds."""
    first, *others = (set(part.oiou.index) for part in parts)
    return sorted(first.intersection(*others))
