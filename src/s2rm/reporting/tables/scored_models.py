"""Other models beside the runs: what `s2rm score --output reports/scored/<name>` has kept."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from s2rm.config.benchmarks import ALL_BENCHMARKS
from s2rm.core.errors import UserError
from s2rm.reporting.run_metrics import note_with_val
from s2rm.reporting.run_results import RunResults
from s2rm.reporting.scored import Scored, Split, measure, write_span
from s2rm.reporting.scores_io import load_scores
from s2rm.reporting.tables.own_tables import DRAWN, IOU
from s2rm.reporting.tables.table_writers import Table

Others = dict[str, dict[Split, Scored]]  # by the name of the folder


def load_others(folder: Path, runs: Sequence[RunResults]) -> Others:
    """Measure the models that are kept in a folder, on the splits of the runs.

    Args:
        folder: with <name>/<benchmark>-<split>.parquet of each model; it need not exist.
        runs: what they are shown with.

    Raises:
        UserError: scores cannot be read, or are of other expressions than a run's.
    """
    splits = [(benchmark.name, split) for benchmark in ALL_BENCHMARKS.values() for split in benchmark.splits]
    found: Others = {}
    for model in sorted(path for path in folder.glob("*") if path.is_dir()):
        paths = {key: model / f"{key[0]}-{key[1]}.parquet" for key in splits}
        scores = {key: load_scores(path) for key, path in paths.items() if path.is_file()}
        for key, table in scores.items():
            for run in runs:
                _require_same(table, run, key, paths[key])
        shown = {key: table for key, table in scores.items() if any(key in run.splits for run in runs)}
        if shown:
            found[model.name] = measure(shown)[0]
    return found


def build_scored(runs: Sequence[RunResults], others: Others, decimals: int) -> Table:
    """Build the table of the runs and the other models, by split: mIoU and oIoU at the images' own size.

    Args:
        runs: ours.
        others: as `load_others` returns them, not empty.
        decimals: of the percentages.
    """
    synthetic = runs[0].measured.source == "refshapes"
    data = "RefShapes" if synthetic else "the real benchmarks"
    models = [(f"run {run.name}", "this project", run.splits) for run in runs]
    models += [(name, f"reports/scored/{name}", splits) for name, splits in others.items()]
    titles = {key: run.title(key) for run in runs for key in run.splits}
    rows, groups, sources = [], [], []
    for key, title in titles.items():
        if not any(key in splits for splits in others.values()):
            continue
        for name, source, splits in models:
            if key not in splits:
                continue
            row: dict[tuple[str, str], object] = {("", "model"): name}
            for metric in ("mIoU", "oIoU"):
                found = splits[key].intervals[metric, "original"]
                row |= {("", metric): found.value, ("", f"{metric}, 95 %"): write_span(found, decimals)}
            rows.append(row)
            groups.append(title)
            sources.append(source)
    frame = pd.DataFrame(rows, index=groups)
    frame.columns = pd.MultiIndex.from_tuples(rows[0])
    return Table(
        name="refshapes-scored" if synthetic else "scored",
        title=f"Models scored on the same expressions, {data}",
        caption=f"mIoU and oIoU in percent, higher is better, with 95 % intervals over images. Data: {data}. "
        "Resolution: own size, that of the images.",
        frame=frame,
        sources=tuple(sources),
        footnotes=(
            IOU,
            "run … = trained by this project; the others: predictions that `s2rm score` has scored. These "
            "intervals are not of differences: whether two models differ, `s2rm compare` says.",
            *note_with_val([run.measured for run in runs]),
            *([DRAWN] if synthetic else []),
        ),
        decimals=decimals,
    )


def _require_same(table: pd.DataFrame, run: RunResults, key: Split, path: Path) -> None:
    if key in run.scores and sorted(table["image_id"]) != sorted(run.scores[key]["image_id"]):
        raise UserError(
            f"{path} was scored on other expressions than run {run.name}: score it again, or remove it"
        )
