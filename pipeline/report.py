"""Stage 5: tables, figures and the page → reports/; the evaluation joins the training's MLflow run."""

import json
from pathlib import Path

import context  # noqa: F401
from logs import set_up_logging
from paths import METRICS, MODELS, PREPARED, RAW, REPORTS, RESULTS, ROOT
from tags import collect_tags

from s2rm.config.params import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.data.split_overlap import read_image_splits, report_shared
from s2rm.model.hooks import why_no_gates, why_no_weights
from s2rm.refer.split_sizes import find_incomplete
from s2rm.reporting.balancing import collect_weights
from s2rm.reporting.examples import collect_examples
from s2rm.reporting.gates import collect_view
from s2rm.reporting.render import render
from s2rm.tracking import MlflowStore, flatten


def main() -> None:
    set_up_logging()
    params = load_params()
    incomplete = find_incomplete(PREPARED, params.data.benchmarks)
    examples = {
        name: collect_examples(
            MODELS / name,
            RESULTS / name,
            source=params.data.source,
            incomplete=incomplete,
            prepared=PREPARED,
            raw=RAW,
            count=params.report.overlays,
            threshold=params.evaluate.threshold,
        )
        for name in params.runs
    }
    views = {
        name: collect_view(
            MODELS / name,
            RESULTS / name,
            run.evaluate_on,
            source=params.data.source,
            incomplete=incomplete,
            prepared=PREPARED,
            raw=RAW,
            threshold=params.evaluate.threshold,
        )
        for name, run in params.runs.items()
        if why_no_gates(params.fusion) is None
    }
    weights = {
        name: collect_weights(MODELS / name, run.evaluate_on, prepared=PREPARED, raw=RAW)
        for name, run in params.runs.items()
        if why_no_weights(params.fusion) is None
    }
    paths = render(
        params,
        list(params.runs),
        metrics_dir=METRICS,
        results_dir=RESULTS,
        models_dir=MODELS,
        output=REPORTS,
        examples=examples,
        views=views,
        weights=weights,
        incomplete=incomplete,
        shared=report_shared(read_image_splits(PREPARED, params.data.benchmarks)),
    )
    if not params.tracking.enabled:
        return
    store = MlflowStore(ROOT, params.tracking.experiment)
    for name in params.runs:
        metrics = json.loads((METRICS / f"{name}.json").read_text(encoding="utf-8"))
        trained = json.loads((MODELS / f"{name}.mlflow.json").read_text(encoding="utf-8"))["run_id"]
        ours = [path for path in paths if path.parent.name != "figures" or path.stem.endswith(f"-{name}")]
        files = {folder: [p for p in ours if p.parent.name == folder] for folder in ("tables", "figures")}
        # What `s2rm ablation` compares: the scores; last, so that nothing is missing, what gave them.
        files["results"] = [*sorted((RESULTS / name).glob("*.parquet")), Path("params.yaml")]
        evaluation = {key.replace(".", "/", 3): value for key, value in flatten(metrics).items()}
        store.publish(trained, name, evaluation, files, {**collect_tags(), "run": name})


if __name__ == "__main__":
    exit_on_user_error(main)
