"""Build the tables with our own numbers only: P@X, IoU on RefShapes, images that splits share.

Numbers measured on RefShapes, which is drawn data, have separate tables and file names, without any
published number. IoU on real data is shown beside the published numbers, by `comparison`.
"""

from collections.abc import Collection

import pandas as pd

from s2rm.config.benchmarks import Source, name_benchmark
from s2rm.reporting.run_metrics import COUNTS, Measured, all_synthetic, note_with_val
from s2rm.reporting.tables.table_writers import Table
from s2rm.scoring.metrics import PROTOCOLS, THRESHOLDS

DRAWN = (
    "RefShapes is drawn by this project, in the layout of the named benchmark but without any of its images "
    "or expressions. Its numbers show that the pipeline learns; they are not comparable to published ones."
)
SIZES = (
    "Resolution: side × side = the model's input size, the true mask resized to it by the nearest pixel; "
    "own size = the image's own, the logits resized to it bilinearly."
)
PRECISION = "P@X = the share of expressions with intersection / union ≥ X."
IOU = (
    "oIoU = Σ intersection / Σ union over all expressions of the split; mIoU = the mean over the "
    "expressions of intersection / union."
)


def build_precision(runs: list[Measured], decimals: int) -> Table:
    """Build the table of P@0.5 … P@0.9: one row per run, benchmark, split and protocol.

    Args:
        runs: all measured on RefShapes, or all on real data.
        decimals: of the percentages.

    Raises:
        ValueError: the runs were measured on both.
    """
    synthetic = all_synthetic(runs)
    rows: list[dict[tuple[str, str], object]] = []
    groups = []
    for run in runs:
        for score in run.scores.to_dict("records"):
            row: dict[str, object] = {"data": run.title(score["benchmark"]), "split": score["split"]}
            row |= {"resolution": run.resolution(score["protocol"])} | {name: score[name] for name in COUNTS}
            row |= {f"P@{threshold}": score[f"P_{threshold}"] for threshold in THRESHOLDS}
            rows.append({("", name): value for name, value in row.items()})
            groups.append(f"run {run.run}")
    data = "RefShapes" if synthetic else "the real benchmarks"
    return Table(
        name="refshapes-precision" if synthetic else "precision",
        title=f"P@X on {data}",
        caption=f"P@X in percent, higher is better, by split. Data: {data}. Each row gives its resolution.",
        frame=_frame(rows, groups),
        sources=tuple(f"this project, {group}" for group in groups),
        footnotes=(PRECISION, SIZES, *note_with_val(runs), *([DRAWN] if synthetic else [])),
        decimals=decimals,
    )


def build_refshapes_iou(runs: list[Measured], decimals: int) -> Table:
    """Build the table of oIoU and mIoU on RefShapes: one row per run, benchmark and split.

    Args:
        runs: all measured on RefShapes.
        decimals: of the percentages.

    Raises:
        ValueError: a run was measured on real data.
    """
    if not all_synthetic(runs):
        raise ValueError("this table is for RefShapes; real data belong beside the published numbers")
    rows: list[dict[tuple[str, str], object]] = []
    groups = []
    for run in runs:
        for (benchmark, split), scores in run.scores.groupby(["benchmark", "split"], sort=False):
            row: dict[tuple[str, str], object] = {
                ("", "data"): run.title(str(benchmark)),
                ("", "split"): split,
            }
            row |= {("", name): scores[name].iloc[0] for name in COUNTS}
            by_protocol = scores.set_index("protocol")
            for metric in ("oIoU", "mIoU"):
                for protocol in PROTOCOLS:
                    row[(metric, run.resolution(protocol))] = by_protocol[metric].get(protocol, float("nan"))
            rows.append(row)
            groups.append(f"run {run.run}")
    return Table(
        name="refshapes-iou",
        title="IoU on RefShapes",
        caption="oIoU and mIoU in percent, higher is better, by split. Data: RefShapes. "
        "The heading of a column gives its resolution.",
        frame=_frame(rows, groups),
        sources=tuple(f"this project, {group}" for group in groups),
        footnotes=(IOU, SIZES, *note_with_val(runs), DRAWN),
        decimals=decimals,
    )


def build_leakage(shared: pd.DataFrame, source: Source, incomplete: Collection[str] = ()) -> Table:
    """Build the table of images in both a training and an evaluation split: one row per pair that shares any.

    Args:
        shared: the pairs, as `s2rm.data.split_overlap.report_shared` returns them.
        source: where the data come from.
        incomplete: benchmarks whose data are only a part.
    """
    found = shared[shared["shared_images"] > 0]
    data = "RefShapes" if source == "refshapes" else "the real benchmarks"
    columns = ["trained on", "evaluated on", "split", "shared images", "% of its images", "expressions"]
    frame = pd.DataFrame(
        {
            "trained on": found["trained_on"].map(lambda name: name_benchmark(name, source, incomplete)),
            "evaluated on": found["evaluated_on"].map(lambda name: name_benchmark(name, source, incomplete)),
            "split": found["split"],
            "shared images": found["shared_images"],
            "% of its images": 100 * found["share"],
            "expressions": found["expressions"],
        },
        columns=columns,
    )
    frame.index = pd.Index([""] * len(frame))
    frame.columns = pd.MultiIndex.from_tuples([("", name) for name in columns])
    return Table(
        name="refshapes-leakage" if source == "refshapes" else "leakage",
        title=f"Images in training and in evaluation splits, {data}",
        caption=f"Images of a training split that are also in an evaluation split. Data: {data}. "
        f"{len(shared)} pairs of splits were compared, {len(found)} share images.",
        frame=frame,
        sources=("this project",) * len(frame),
        footnotes=(
            "Training on several benchmarks leaves out such images (train.drop_evaluated). Training on a "
            "single benchmark keeps its protocol: RefCOCOg's Google partition divides objects, not images.",
        ),
        decimals=1,
    )


def _frame(rows: list[dict[tuple[str, str], object]], groups: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, index=groups)
    frame.columns = pd.MultiIndex.from_tuples(rows[0])
    return frame
