"""Stage 5: results/ → tables, figures and the page in reports/; the evaluation joins its MLflow run.

    python pipeline/report.py

Reads results/ only: no model, no torch, no data and no images but the few that evaluation has copied. The
demo takes about ten seconds on two CPU cores.
"""

import logging
from dataclasses import replace
from pathlib import Path

import context  # noqa: F401
import pandas as pd
from logs import set_up_logging
from origin import describe_data, describe_training
from paths import HISTORY, INCOMPLETE, OVERLAP, REPORTS, RESULTS, ROOT, RUN_ID, TABLES
from tags import collect_tags

from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.core.errors import UserError, exit_on_user_error
from s2rm.core.files import load_json
from s2rm.core.project import require_writable
from s2rm.reporting.render import Rendered, render
from s2rm.reporting.run_metrics import load_metrics
from s2rm.reporting.scored import write_span
from s2rm.reporting.summary import compared_metrics
from s2rm.reporting.tables.table_writers import Table
from s2rm.scoring.intervals import Interval
from s2rm.tracking.evaluations import Evaluation
from s2rm.tracking.store_errors import StoreError
from s2rm.tracking.synchronise import synchronise

logger = logging.getLogger(__name__)


def main() -> None:
    """Render the report, and publish each run's evaluation."""
    set_up_logging()
    params = load_params()
    require_writable(REPORTS)
    for name in params.runs:
        if not (RESULTS / name / OVERLAP).is_file():
            raise UserError(f"{RESULTS / name} is missing or not complete: run `dvc repro evaluate@{name}`")
    first = RESULTS / next(iter(params.runs))  # what is said of the data is the same for all runs
    rendered = render(
        params,
        RESULTS,
        REPORTS,
        shared=pd.read_parquet(first / OVERLAP),
        incomplete=load_json(first / INCOMPLETE),
        ablations=_load_ablations(),
        origin=_describe_origin(params),
    )
    if params.tracking.enabled:
        _publish(params, rendered)
    _print_summary(params, rendered)


def _publish(params: Params, rendered: Rendered) -> None:
    """Record the evaluation of each run, and send it to MLflow where that can be reached."""
    records = {_keep(params, name, rendered).parents[1].name for name in params.runs}
    try:
        left_out = synchronise(ROOT, records).left_out
    except StoreError as error:
        left_out = [str(error)]
    for line in left_out:
        logger.warning("not in MLflow: %s", line)
    if left_out:
        logger.warning("it is kept in .tracking/: `s2rm track sync` sends it when that is corrected")


def _load_ablations() -> list[Table]:
    """Load the tables of the studies that `s2rm ablation` has rendered here, as they are now.

    The stage does not depend on them: a study is made of experiments, each of which runs this stage.
    """
    found = []
    for path in sorted((REPORTS / "ablations").glob("*.json")):
        try:
            table = Table.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read ({error}): `s2rm ablation` writes it again") from None
        found.append(
            table if path.stem == "ablation" else replace(table, title=f"{table.title}: {path.stem}")
        )
    return found


def _describe_origin(params: Params) -> dict[str, str]:
    """Say where the runs come from: experiment, data, trainings."""
    tags, origin = collect_tags(), {}
    if "dvc.experiment" in tags:
        origin["DVC experiment"] = tags["dvc.experiment"]
    for name in params.runs:
        about = describe_training(load_json(RESULTS / name / RUN_ID))
        about |= describe_data(load_json(RESULTS / name / TABLES))
        origin |= {f"{name}: {key}": value for key, value in about.items()}
    return origin


def _print_summary(params: Params, rendered: Rendered) -> None:
    """Say how good each run is, where to look, and what to try next."""
    for name, (what, scored) in rendered.headlines.items():
        scores = (f"{metric} {_write(scored.intervals[metric, 'model'])}" for metric in ("mIoU", "oIoU"))
        logger.info("%s: %s, %s at the model's input size", name, ", ".join(scores), what)
    logger.info("results, errors, examples: open %s", REPORTS / "index.html")
    if params.tracking.enabled:
        logger.info("the runs in MLflow: s2rm ui")
    images = sorted((REPORTS / "examples").glob("*.png"))
    if images:
        logger.info("images to try the model on: %s (expressions.csv says what is meant)", images[0].parent)
    logger.info("next, an ablation: dvc exp run --temp -S fusion.coparsing=none, then make ablation")


def _write(interval: Interval) -> str:
    return f"{interval.value:.1f} % {write_span(interval)}".rstrip()


def _keep(params: Params, name: str, rendered: Rendered) -> Path:
    """Record the evaluation of a run; return its folder."""
    tags = {**collect_tags(), "run": name}
    evaluation = Evaluation(
        trained_run=load_json(RESULTS / name / RUN_ID).get("run_id"),
        name=name,
        experiment=params.tracking.experiment,
        metrics=compared_metrics(load_metrics(RESULTS / name / "metrics.json")),
        tags=tags,
        experiments=[tags["dvc.experiment"]] if "dvc.experiment" in tags else [],
        datasets={Path(file).stem: digest for file, digest in load_json(RESULTS / name / TABLES).items()},
    )
    files = {"tables": rendered.tables, "figures": rendered.figures[name]}
    # What `s2rm ablation` compares; the parameters last, so that with them all is there.
    scores = sorted((RESULTS / name).glob("*.parquet"))
    numbers = RESULTS / name / "metrics.json"
    tables, history = RESULTS / name / TABLES, RESULTS / name / HISTORY
    files["results"] = [*scores, numbers, tables, history, Path("params.yaml")]
    files["page"] = [REPORTS / "index.html"]
    return evaluation.keep(ROOT, files)


if __name__ == "__main__":
    exit_on_user_error(main)
