"""The paper-style tables: published numbers on the real benchmarks, then ours; a metric a table.

oIoU and mIoU never share a table, and a number measured on RefShapes never enters one: where the
runs are RefShapes' there is no row of ours and a footnote that says why.
"""

from dataclasses import dataclass

import pandas as pd

from s2rm.config.benchmarks import BENCHMARKS
from s2rm.reporting.published import METRIC_DISPUTED, METRIC_UNKNOWN, PAPER, RESOLUTIONS, SPLIT_UNKNOWN
from s2rm.reporting.run_metrics import Measured, all_synthetic
from s2rm.reporting.table_writers import Table

FIRST_HAND = "Published, as the authors state it"
SECOND_HAND = "Published, as others state it"
OURS = "This project"
DEFINITIONS = {
    "oIoU": "oIoU = Σ intersection / Σ union over all expressions of a split; what some sources call cIoU or "
    "cumulative IoU is the same.",
    "mIoU": "mIoU = the mean over the expressions of intersection / union; the values that CRIS and ETRIS "
    "call IoU are this.",
}
RESOLUTION = (
    "Resolution: where intersection and union are counted. A side × side = the model's input size, the truth "
    "resized to it; own size = the image's; – = not known to us."
)

Place = tuple[str, str]  # benchmark, split


@dataclass(frozen=True)
class _Row:
    group: str
    method: str
    published_in: str  # year, venue
    backbone: str
    resolution: str
    values: dict[Place, float]
    source: str

    def text(self) -> list[str]:
        return [self.method, self.published_in, self.backbone, self.resolution]


_HEADINGS = [("", "method"), ("", "published in"), ("", "backbone"), ("", "resolution")]


def build_comparison(metric: str, published: pd.DataFrame, runs: list[Measured], decimals: int) -> Table:
    """The table of one metric.

    Args:
        metric: oIoU | mIoU.
        published: of `load_published`.
        runs: all of real data, then each has a row a protocol; or all of RefShapes, then none has.
    """
    if metric not in DEFINITIONS:
        raise ValueError(f"{metric!r} is neither oIoU nor mIoU")
    synthetic = all_synthetic(runs)
    comparable = published[(published["reason"] == "") & published["metric"].isin([metric, ""])]
    rows = _published_rows(comparable) + ([] if synthetic else _our_rows(runs, metric))
    places = [
        (benchmark.name, split)
        for benchmark in BENCHMARKS.values()
        for split in benchmark.splits
        if any((benchmark.name, split) in row.values for row in rows)
    ]
    columns = [*_HEADINGS, *((BENCHMARKS[benchmark].title, split) for benchmark, split in places)]
    frame = pd.DataFrame(
        [row.text() + [row.values.get(place, float("nan")) for place in places] for row in rows],
        index=[row.group for row in rows],
        columns=pd.MultiIndex.from_tuples(columns),
    )
    return Table(
        name=metric,
        title=f"{metric} on the real benchmarks",
        caption=f"{metric} in percent, higher is better. Data: {_name_data(places)}. Resolution: in the "
        "row, where known.",
        frame=frame,
        sources=tuple(row.source for row in rows),
        footnotes=(
            DEFINITIONS[metric],
            RESOLUTION,
            f"{PAPER}: the row is empty because the paper's numbers were not available to us.",
            *_say_absent(runs if synthetic else []),
            *_say_incomplete(runs),
            *_say_combined(comparable),
            *_say_left_out(published[published["metric"].isin([metric, ""])]),
            *_say_sources(comparable),
        ),
        decimals=decimals,
    )


def _published_rows(comparable: pd.DataFrame) -> list[_Row]:
    keys = ["second_hand", "year", "method", "backbone", "venue"]
    return [
        _Row(
            group=SECOND_HAND if second_hand else FIRST_HAND,
            method=str(method),
            published_in=f"{venue} {year}",
            backbone=str(backbone),
            resolution=RESOLUTIONS.get(str(method), ""),
            values=_values(rows, "value") if method != PAPER else {},
            source="; ".join(rows["source"].unique()),
        )
        for (second_hand, year, method, backbone, venue), rows in comparable.groupby(keys)
    ]


def _our_rows(runs: list[Measured], metric: str) -> list[_Row]:
    return [
        _Row(
            group=OURS,
            method=run.run,
            published_in="",
            backbone=run.backbone,
            resolution=run.resolution(str(protocol)),
            values=_values(rows[~rows["benchmark"].isin(run.incomplete)], metric),
            source=f"this project, run {run.run}",
        )
        for run in runs
        for protocol, rows in run.scores.groupby("protocol", sort=False)
    ]


def _values(rows: pd.DataFrame, column: str) -> dict[Place, float]:
    return dict(zip(zip(rows["benchmark"], rows["split"], strict=True), rows[column], strict=True))


def _name_data(places: list[Place]) -> str:
    splits: dict[str, list[str]] = {}
    for benchmark, split in places:
        splits.setdefault(BENCHMARKS[benchmark].title, []).append(split)
    return "; ".join(f"{title} {', '.join(names)}" for title, names in splits.items()) or "none"


def _say_absent(runs: list[Measured]) -> list[str]:
    if not runs:
        return []
    names = ", ".join(run.run for run in runs)
    return [f"No row of ours: {names} trained on RefShapes: see the RefShapes tables (refshapes-iou)."]


def _say_incomplete(runs: list[Measured]) -> list[str]:
    names = sorted({BENCHMARKS[name].title for run in runs for name in run.incomplete})
    return [f"No value of ours on {', '.join(names)}: the data were only a part of it."] if names else []


def _say_combined(comparable: pd.DataFrame) -> list[str]:
    methods = ", ".join(comparable.loc[comparable["combined"], "method"].unique())
    return [f"Trained on several benchmarks at once, says the source: {methods}."] if methods else []


def _say_left_out(published: pd.DataFrame) -> list[str]:
    """How many values that may be of this metric are in published.csv and not here, and why."""
    counts = []
    for reason in (METRIC_UNKNOWN, METRIC_DISPUTED, SPLIT_UNKNOWN):
        rows = published[published["reason"] == reason]
        if len(rows):
            counts.append(f"{len(rows)} because {reason} ({', '.join(rows['method'].unique())})")
    return [f"Published values left out: {'; '.join(counts)}."] if counts else []


def _say_sources(comparable: pd.DataFrame) -> list[str]:
    methods = comparable[comparable["method"] != PAPER].groupby("source", sort=False)["method"].unique()
    sources = "; ".join(f"{', '.join(names)}: {source}" for source, names in methods.items())
    return [f"Sources: {sources}."] if sources else []
