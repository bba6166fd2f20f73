"""Build the paper-style tables: published numbers on the real benchmarks, then ours; one table per metric.

oIoU and mIoU never share a table, and a number measured on RefShapes never enters one: where the runs were
measured on RefShapes, there is no row of ours, and a footnote says why.
"""

from dataclasses import dataclass

import pandas as pd

from s2rm.config.benchmarks import BENCHMARKS
from s2rm.reporting.run_metrics import Measured, all_synthetic, note_with_val
from s2rm.reporting.tables.published import METRIC_DISPUTED, METRIC_UNKNOWN, PAPER, RESOLUTIONS, SPLIT_UNKNOWN
from s2rm.reporting.tables.references import make_key
from s2rm.reporting.tables.table_writers import Table

FIRST_HAND = "Published, as the authors state it"
SECOND_HAND = "Published, as others state it"
OURS = "This project"
DEFINITIONS = {
    "oIoU": "oIoU = Σ intersection / Σ union over all expressions of a split; some sources call it cIoU or "
    "cumulative IoU.",
    "mIoU": "mIoU = the mean over the expressions of intersection / union; CRIS and ETRIS call it IoU.",
}
RESOLUTION = (
    "Resolution: the size at which intersection and union are counted. Side × side = the model's input size, "
    "the true mask resized to it; own size = the image's own; – = not known to us."
)

# Headings that are wider than their columns; the captions of most papers have these letters.
LATEX_NAMES = (("RefCOCOg (UMD)", "RefCOCOg U"), ("RefCOCOg (Google)", "G"))

Split = tuple[str, str]  # benchmark, split


@dataclass(frozen=True)
class _Row:
    group: str
    method: str
    published_in: str  # year, venue
    backbone: str
    resolution: str
    values: dict[Split, float]
    source: str
    key: str = ""
    """In references.bib; "" for our own rows."""

    def text(self) -> list[str]:
        """Return the cells under _HEADINGS."""
        return [self.method, self.published_in, self.backbone, self.resolution]


_HEADINGS = [("", "method"), ("", "published in"), ("", "backbone"), ("", "resolution")]


def build_comparison(metric: str, published: pd.DataFrame, runs: list[Measured], decimals: int) -> Table:
    """Build the table of one metric.

    Args:
        metric: oIoU or mIoU.
        published: the numbers that `load_published` returns.
        runs: measured on real data, with one row per run and protocol; or on RefShapes, without a row.
        decimals: of the percentages.

    Raises:
        ValueError: the metric is another one, or the runs were measured on different kinds of data.
    """
    if metric not in DEFINITIONS:
        raise ValueError(f"{metric!r} is neither oIoU nor mIoU")
    synthetic = all_synthetic(runs)
    comparable = published[(published["reason"] == "") & published["metric"].isin([metric, ""])]
    rows = _published_rows(comparable) + ([] if synthetic else _our_rows(runs, metric))
    splits = [
        (benchmark.name, split)
        for benchmark in BENCHMARKS.values()
        for split in benchmark.splits
        if any((benchmark.name, split) in row.values for row in rows)
    ]
    columns = [*_HEADINGS, *((BENCHMARKS[benchmark].title, split) for benchmark, split in splits)]
    frame = pd.DataFrame(
        [row.text() + [row.values.get(split, float("nan")) for split in splits] for row in rows],
        index=[row.group for row in rows],
        columns=pd.MultiIndex.from_tuples(columns),
    )
    return Table(
        name=metric,
        title=f"{metric} on the real benchmarks",
        caption=f"{metric} in percent, higher is better. Data: {_name_data(splits)}. Each row gives its "
        "resolution, where known.",
        frame=frame,
        sources=tuple(row.source for row in rows),
        keys=tuple(row.key for row in rows),
        not_in_latex=(
            ("", "published in"),
            ("", "resolution"),
            (BENCHMARKS["referit_berkeley"].title, "val"),
        ),
        latex_names=LATEX_NAMES,
        footnotes=(
            DEFINITIONS[metric],
            RESOLUTION,
            f"{PAPER}: the row is empty because the paper's numbers were not available to us.",
            *_note_absent(runs if synthetic else []),
            *_note_incomplete(runs),
            *note_with_val([] if synthetic else runs),
            *_note_referit([] if synthetic else runs),
            *_note_combined(comparable),
            *_note_left_out(published[published["metric"].isin([metric, ""])]),
            *_note_sources(comparable),
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
            key=make_key(str(method), str(year)),
        )
        for (second_hand, year, method, backbone, venue), rows in comparable.groupby(keys)
    ]


def _our_rows(runs: list[Measured], metric: str) -> list[_Row]:
    return [
        _Row(
            group=OURS,
            method=f"{run.run}, at {run.resolution(str(protocol))}",
            published_in="",
            backbone=run.backbone,
            resolution=run.resolution(str(protocol)),
            values=_values(rows[~rows["benchmark"].isin(run.incomplete)], metric),
            source=f"this project, run {run.run}",
        )
        for run in runs
        for protocol, rows in run.scores.groupby("protocol", sort=False)
    ]


def _values(rows: pd.DataFrame, column: str) -> dict[Split, float]:
    return dict(zip(zip(rows["benchmark"], rows["split"], strict=True), rows[column], strict=True))


def _name_data(splits: list[Split]) -> str:
    by_title: dict[str, list[str]] = {}
    for benchmark, split in splits:
        by_title.setdefault(BENCHMARKS[benchmark].title, []).append(split)
    return "; ".join(f"{title} {', '.join(names)}" for title, names in by_title.items()) or "none"


def _note_absent(runs: list[Measured]) -> list[str]:
    if not runs:
        return []
    names = ", ".join(run.run for run in runs)
    return [f"No row of ours, since {names} trained on RefShapes: see the RefShapes tables (refshapes-iou)."]


def _note_incomplete(runs: list[Measured]) -> list[str]:
    names = sorted({BENCHMARKS[name].title for run in runs for name in run.incomplete})
    return [f"No value of ours on {', '.join(names)}: the data are only a part of it."] if names else []


def _note_referit(runs: list[Measured]) -> list[str]:
    """Say where ReferIt's usual protocol, which trains on train and val, was not followed.

    So do github.com/chenxi116/TF-phrasecut-public, spyflying/CMPC-Refseg and spyflying/LSCM-Refseg.
    """
    name = "referit_berkeley"
    others = [run.run for run in runs if name in set(run.scores["benchmark"]) - run.with_val]
    if not others:
        return []
    title = BENCHMARKS[name].title
    return [
        f"{title}: published methods train on train and val, run {', '.join(others)} on train alone "
        "(train.with_val)."
    ]


def _note_combined(comparable: pd.DataFrame) -> list[str]:
    methods = ", ".join(comparable.loc[comparable["combined"], "method"].unique())
    return [f"Trained on several benchmarks at once, according to the source: {methods}."] if methods else []


def _note_left_out(published: pd.DataFrame) -> list[str]:
    """Say how many values of published.csv that may be this metric are not in the table, and why."""
    counts = []
    for reason in (METRIC_UNKNOWN, METRIC_DISPUTED, SPLIT_UNKNOWN):
        rows = published[published["reason"] == reason]
        if len(rows):
            counts.append(f"{len(rows)} because {reason} ({', '.join(rows['method'].unique())})")
    return [f"Published values left out: {'; '.join(counts)}."] if counts else []


def _note_sources(comparable: pd.DataFrame) -> list[str]:
    methods = comparable[comparable["method"] != PAPER].groupby("source", sort=False)["method"].unique()
    sources = "; ".join(f"{', '.join(names)}: {source}" for source, names in methods.items())
    return [f"Sources: {sources}."] if sources else []
