"""Write reports/summary.json: few numbers of each run, for `dvc metrics show` and for git.

Everything else is in results/<run>/metrics.json.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from s2rm.config.benchmarks import BENCHMARKS
from s2rm.core.files import replace_text
from s2rm.reporting.run_metrics import Measured

SHORT = {"refcoco_unc": "refcoco", "refcoco_plus_unc": "refcoco_plus", "referit_berkeley": "referit"}
LEFT_OUT = {("referit_berkeley", "val")}  # no column of the field's tables
DECIMALS = 2
MEANS = ("mIoU", "oIoU")
COMPARED = (*MEANS, "P_0.5", "P_0.7", "P_0.9")  # in MLflow, which shows up to 100 numbers of a run well


def write_summary(path: Path, runs: Sequence[Measured]) -> Path:
    """Write run → name → percent, at the model's input size; return `path`.

    `val_mIoU` and, of several ones, `val_oIoU` are means over the val splits. The others are the oIoU of the
    columns that the field's tables have, such as `refcoco_testA` and `refcocog_umd_test`.
    """
    summary = {run.run: summarise_run(run) for run in runs}
    return replace_text(path, json.dumps(summary, indent=2) + "\n")


def compared_metrics(scores: pd.DataFrame) -> dict[str, float]:
    """Return the metrics of a run by <metric>/<split>, such as `oIoU/refcoco_testA`, for MLflow's charts.

    `<metric>/val_mean` is the mean over the val splits. Of P@X there are P@0.5, P@0.7 and P@0.9.

    MLflow makes a section of what stands before the slash, so the splits of one metric stand side by side.
    They are at the model's input size; both sizes and the counts are in metrics.json.

    Args:
        scores: of a run, as `load_scores` returns them.
    """
    own = scores[scores["protocol"] == "model"]
    found = {
        f"{metric}/{SHORT.get(row['benchmark'], row['benchmark'])}_{row['split']}": float(row[metric])
        for metric in COMPARED
        for row in own.to_dict("records")
    }
    val = own[own["split"] == "val"]
    return found | {f"{metric}/val_mean": float(val[metric].mean()) for metric in MEANS if len(val)}


def summarise_run(run: Measured) -> dict[str, float]:
    """Return the numbers of one run by name."""
    scores = run.scores[run.scores["protocol"] == "model"]
    val = scores[scores["split"] == "val"]
    shown = MEANS if len(val) > 1 else ("mIoU",)  # the oIoU of a single split is a column of its own
    numbers = {f"val_{metric}": val[metric].mean() for metric in shown if len(val)}
    for benchmark, split, value in scores[["benchmark", "split", "oIoU"]].itertuples(index=False, name=None):
        if benchmark in BENCHMARKS and (benchmark, split) not in LEFT_OUT:
            numbers[f"{SHORT.get(benchmark, benchmark)}_{split}"] = value
    return {name: round(float(value), DECIMALS) for name, value in numbers.items()}
