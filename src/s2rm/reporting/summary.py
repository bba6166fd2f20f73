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
from s2rm.scoring.metrics import METRICS

SHORT = {"refcoco_unc": "refcoco", "refcoco_plus_unc": "refcoco_plus", "referit_berkeley": "referit"}
LEFT_OUT = {("referit_berkeley", "val")}  # no column of the field's tables
DECIMALS = 2


def write_summary(path: Path, runs: Sequence[Measured]) -> Path:
    """Write run → name → percent, at the model's input size; return `path`.

    `val_mIoU` and `val_oIoU` are means over the val splits. The others are the oIoU of the columns that the
    field's tables have, such as `refcoco_testA` and `refcocog_umd_test`.
    """
    summary = {run.run: summarise_run(run) for run in runs}
    return replace_text(path, json.dumps(summary, indent=2) + "\n")


def compared_metrics(scores: pd.DataFrame) -> dict[str, float]:
    """Return the metrics of a run by <metric>/<split>, such as `oIoU/refcoco_testA`, for MLflow's charts.

    MLflow makes a section of what stands before the slash, so the splits of one metric stand side by side.
    They are at the model's input size; both sizes and the counts are in metrics.json.

    Args:
        scores: of a run, as `load_scores` returns them.
    """
    rows = scores[scores["protocol"] == "model"].to_dict("records")
    return {
        f"{metric}/{SHORT.get(row['benchmark'], row['benchmark'])}_{row['split']}": float(row[metric])
        for metric in METRICS
        for row in rows
    }


def summarise_run(run: Measured) -> dict[str, float]:
    """Return the numbers of one run by name."""
    scores = run.scores[run.scores["protocol"] == "model"]
    val = scores[scores["split"] == "val"]
    numbers = {f"val_{metric}": val[metric].mean() for metric in ("mIoU", "oIoU")} if len(val) else {}
    for benchmark, split, value in scores[["benchmark", "split", "oIoU"]].itertuples(index=False, name=None):
        if benchmark in BENCHMARKS and (benchmark, split) not in LEFT_OUT:
            numbers[f"{SHORT.get(benchmark, benchmark)}_{split}"] = value
    return {name: round(float(value), DECIMALS) for name, value in numbers.items()}
