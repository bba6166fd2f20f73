"""Measure the effect of each variant on mIoU: the mean over seeds and the difference to the full model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from s2rm.ablation.variants import FULL
from s2rm.config.benchmarks import BENCHMARKS, STRUCTURED
from s2rm.config.params import Params
from s2rm.scoring.intervals import Ratio, bootstrap, mean_ratios, name_images, welch_difference
from s2rm.scoring.metrics import compute_iou
from s2rm.scoring.significance import sign_flip_test

# Rows that average several benchmarks: the val splits of these, as far as the full model is scored on them.
MEANS = {"mean": tuple(BENCHMARKS), "mean_with_structured": (*BENCHMARKS, STRUCTURED.name)}
COLUMNS = [
    "variant",
    "benchmark",
    "split",
    "seeds",  # number of seeds
    "mIoU_mean",
    "mIoU_std",  # sample standard deviation; NaN with a single seed
    "oIoU_mean",
    "difference",  # mIoU_mean minus that of the full model; NaN for the full model
    "low",  # ends of the difference's interval over images
    "high",
    "p_value",  # of the difference, by exchanging the models on images; not adjusted
    "seeds_low",  # ends of the difference's interval over seeds; NaN with a single seed of either
    "seeds_high",
]
SplitKey = tuple[str, str]  # benchmark, split


@dataclass(frozen=True)
class _Scored:
    """The scores of a variant on a split, in percent."""

    iou: pd.DataFrame  # one row per expression (sent_id, image_id), one column per seed
    benchmark: str
    oiou: pd.Series  # by seed


def measure_effects(scores: pd.DataFrame, full: Params) -> pd.DataFrame:
    """Measure every variant on every benchmark and split, in percent and percentage points.

    Args:
        scores: result of `collect`; it holds every run of the full model.
        full: parameters of the full model.

    Returns:
        COLUMNS and `run`, which is "" unless several models of params.yaml share a benchmark; one row per
        variant, benchmark and split. The rows of MEANS follow those of each variant: a mean has a row if the
        variant has a seed on all of its benchmarks; of two means over the same benchmarks only the first has.
    """
    rows: list[dict[str, Any]] = []
    for label, runs in _group_runs(full).items():
        of_group = scores[scores["run"].isin(runs)].groupby("variant", sort=False)
        variants = {str(variant): _score(part) for variant, part in of_group}
        means = _means_of(variants[FULL])
        for variant, scored in variants.items():
            averages = {split: [split] for split in scored}
            for mean, averaged in means.items():
                if all(_share_a_seed(each, averaged) for each in (scored, variants[FULL])):
                    averages[mean, "val"] = averaged
            for (benchmark, split), members in averages.items():
                row: dict[str, Any] = {
                    "run": label,
                    "variant": variant,
                    "benchmark": benchmark,
                    "split": split,
                }
                row |= _average([scored[member] for member in members])
                if variant != FULL:
                    row |= _compare([(scored[member], variants[FULL][member]) for member in members])
                rows.append(row)
    return pd.DataFrame(rows, columns=["run", *COLUMNS])


def _means_of(full: dict[SplitKey, _Scored]) -> dict[str, list[SplitKey]]:
    means: dict[str, list[SplitKey]] = {}
    for mean, benchmarks in MEANS.items():
        averaged = [(name, "val") for name in benchmarks if (name, "val") in full]
        if averaged not in means.values():
            means[mean] = averaged
    return means


def _group_runs(full: Params) -> dict[str, list[str]]:
    """Group the models: together if they are evaluated on different benchmarks, otherwise each on its own."""
    evaluated = [benchmark for run in full.runs.values() for benchmark in run.evaluate_on]
    if len(set(evaluated)) == len(evaluated):
        return {"": list(full.runs)}
    return {run: [run] for run in full.runs}


def _score(scores: pd.DataFrame) -> dict[SplitKey, _Scored]:
    """Return the scores of one variant by split."""
    scored = {}
    for (benchmark, split), part in scores.groupby(["benchmark", "split"], sort=False):
        iou = part.assign(iou=100 * compute_iou(part["intersection"], part["union"]))
        sums = part.groupby("seed")[["intersection", "union"]].sum()
        scored[str(benchmark), str(split)] = _Scored(
            iou.pivot(index=["sent_id", "image_id"], columns="seed", values="iou"),
            str(benchmark),
            pd.Series(100 * compute_iou(sums["intersection"], sums["union"]), index=sums.index),
        )
    return scored


def _average(parts: Sequence[_Scored]) -> dict[str, float]:
    miou = _by_seed(parts)
    oiou = pd.concat([part.oiou[miou.index] for part in parts], axis=1).mean(axis=1)
    return {
        "seeds": len(miou),
        "mIoU_mean": miou.mean(),
        "mIoU_std": miou.std(ddof=1),
        "oIoU_mean": oiou.mean(),
    }


def _compare(pairs: Sequence[tuple[_Scored, _Scored]]) -> dict[str, float]:
    """Compare each variant with its full model: the difference in mIoU and the ends of its intervals."""
    ours, theirs = (_by_seed(parts) for parts in zip(*pairs, strict=True))
    ratios = []
    for variant, full in pairs:
        difference = variant.iou[ours.index].mean(axis=1) - full.iou[theirs.index].mean(axis=1)
        image = name_images(full.benchmark, difference.index.get_level_values("image_id"))
        ratios.append(Ratio(difference.to_numpy(), np.ones(len(difference)), image))
    images, seeds = bootstrap(mean_ratios(ratios)), welch_difference(ours, theirs)
    contributions = np.concatenate([np.asarray(each.numerator) / len(each.image) for each in ratios])
    return {
        "difference": images.value,
        "low": images.low,
        "high": images.high,
        "p_value": sign_flip_test(contributions, [name for each in ratios for name in each.image]),
        "seeds_low": seeds.low,
        "seeds_high": seeds.high,
    }


def _by_seed(parts: Sequence[_Scored]) -> pd.Series:
    """Return the mIoU of the seeds that all parts have: the mean of the parts'."""
    seeds = _shared_seeds(parts)
    return pd.concat([part.iou[seeds].mean() for part in parts], axis=1).mean(axis=1)


def _share_a_seed(scored: dict[SplitKey, _Scored], splits: list[SplitKey]) -> bool:
    found = [scored[split] for split in splits if split in scored]
    return bool(splits) and len(found) == len(splits) and bool(_shared_seeds(found))


def _shared_seeds(parts: Sequence[_Scored]) -> list[int]:
    """Return the seeds that all have; models that are trained separately, as the paper's five, may differ."""
    first, *others = (set(part.oiou.index) for part in parts)
    return sorted(first.intersection(*others))
