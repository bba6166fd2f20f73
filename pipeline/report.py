"""Stage 5: results/<run> → tables, figures and the page in reports/; the evaluation joins its MLflow run.

    python pipeline/report.py

Reads files only: no model, no torch, no images but the few that evaluation has copied.
"""

import json
from pathlib import Path

import context  # noqa: F401
from logs import set_up_logging
from paths import PREPARED, REPORTS, RESULTS, ROOT
from tags import collect_tags

from s2rm.config.load import load_params
from s2rm.config.params import flatten
from s2rm.core.errors import exit_on_user_error
from s2rm.data.split_overlap import read_image_splits, report_shared
from s2rm.refer.split_sizes import find_incomplete
from s2rm.reporting.render import render
from s2rm.tracking import MlflowStore


def main() -> None:
    """Render the report, and publish each run's evaluation."""
    set_up_logging()
    params = load_params()
    rendered = render(
        params,
        RESULTS,
        REPORTS,
        shared=report_shared(read_image_splits(PREPARED, params.data.benchmarks)),
        incomplete=find_incomplete(PREPARED, params.data.benchmarks),
    )
    if not params.tracking.enabled:
        return
    store = MlflowStore(ROOT, params.tracking.experiment)
    for name in params.runs:
        metrics = json.loads((RESULTS / name / "metrics.json").read_text(encoding="utf-8"))
        trained = json.loads((RESULTS / name / "mlflow.json").read_text(encoding="utf-8"))["run_id"]
        files = {"tables": rendered.tables, "figures": rendered.figures[name]}
        # What `s2rm ablation` compares: the scores; the parameters last, so that with them all is there.
        files["results"] = [*sorted((RESULTS / name).glob("*.parquet")), Path("params.yaml")]
        evaluation = {key.replace(".", "/", 3): value for key, value in flatten(metrics).items()}
        store.publish(trained, name, evaluation, files, {**collect_tags(), "run": name})


if __name__ == "__main__":
    exit_on_user_error(main)
