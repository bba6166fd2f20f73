"""The tables of our own numbers alone: P@X, IoU where it was measured on RefShapes, shared images.

Numbers measured on RefShapes, drawn data, have tables and file names of their own, and no
published number is ever among them. IoU on real data stands beside the published one: comparison.py.
"""

from collections.abc import Collection

import pandas as pd

from s2rm.config.benchmarks import Source, name_benchmark
from s2rm.evaluation.metrics import PROTOCOLS, THRESHOLDS
from s2rm.reporting.run_metrics import COUNTS, Measured, all_synthetic
from s2rm.reporting.table_writers import Table

DRAWN = (
    "RefShapes is drawn by this project, in the layout of the benchmark named and with none of its images or "
    "expressions. Its numbers show that the pipeline learns; they compare with no published number."
)
SIZES = (
    "Resolution: a side × side = the model's input size, the truth resized to it by the nearest pixel; "
    "own size = the image's, the logits resized to it bilinearly."
)
PRECISION = "P@X = the share of the expressions with intersection / union ≥ X."
IOU = (
    "oIoU = Σ intersection / Σ union over all expressions of the split; mIoU = the mean over the "
    "expressions of intersection / union."
)


def build_precision(runs: list[Measured], decimals: int) -> Table:
    """P@0.5 … P@0.9: a row a run, benchmark, split and protocol."""
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
        caption=f"P@X in percent, higher is better, by split. Data: {data}. Resolution: in the row.",
        frame=_frame(rows, groups),
        sources=tuple(f"this project, {group}" for group in groups),
        footnotes=(PRECISION, SIZES, *([DRAWN] if synthetic else [])),
        decimals=decimals,
    )


def build_refshapes_iou(runs: list[Measured], decimals: int) -> Table:
    """oIoU and mIoU, each in columns of its own: a row a run, benchmark and split."""
    if not all_synthetic(runs):
        raise ValueError("this table is for RefShapes; real data go beside the published numbers")
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
        "Resolution: in the head.",
        frame=_frame(rows, groups),
        sources=tuple(f"this project, {group}" for group in groups),
        footnotes=(IOU, SIZES, DRAWN),
        decimals=decimals,
    )


def build_leakage(shared: pd.DataFrame, source: Source, incomplete: Collection[str] = ()) -> Table:
    """Images that are in a training split and in an evaluation split: a row a pair that shares any.

    `shared`: as `s2rm.data.split_overlap.report_shared` gives it.
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
        caption=f"Images of a training split that are in an evaluation split too. Data: {data}. "
        f"{len(shared)} pairs of splits were compared, {len(found)} share images.",
        frame=frame,
        sources=("this project",) * len(frame),
        footnotes=(
            "A model that is trained on several benchmarks drops such images from its training "
            "(train.drop_evaluated). A benchmark alone keeps its own protocol: RefCOCOg's Google partition "
            "divides objects, not images.",
        ),
        decimals=1,
    )


def _frame(rows: list[dict[tuple[str, str], object]], groups: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, index=groups)
    frame.columns = pd.MultiIndex.from_tuples(rows[0])
    return frame
