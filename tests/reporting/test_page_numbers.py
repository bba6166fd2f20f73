"""The numbers of the page against an independent computation from the Parquet files."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_inputs import ReportInputs, make_inputs

from s2rm.config.benchmarks import BENCHMARKS
from s2rm.reporting.pages.page import calibration_error
from s2rm.reporting.scored import measure
from s2rm.reporting.scores_io import load_scores

METRICS = ("mIoU", "oIoU")


class Tables(HTMLParser):
    """The text of each table's cells, row by row, by the label of the region around it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self.label = ""
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        if about.get("role") == "region":
            self.label = about["aria-label"] or ""
        elif tag == "table":
            self.found[self.label] = []
        elif tag == "tr":
            self.found[self.label].append([])
        elif tag in ("th", "td"):
            self.found[self.label][-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found[self.label][-1][-1] += data


def read_tables(path: Path) -> dict[str, list[list[str]]]:
    tables = Tables()
    tables.feed(path.read_text(encoding="utf-8"))
    return tables.found


def compute(scores: pd.DataFrame, size: str) -> tuple[float, float, list[float]]:
    """Compute mIoU, oIoU and P@X in percent from the definitions alone."""
    shared, union = scores[f"intersection_{size}"], scores[f"union_{size}"]
    iou = [i / u if u else 0.0 for i, u in zip(shared, union, strict=True)]
    precision = [100 * sum(each >= x for each in iou) / len(iou) for x in (0.5, 0.6, 0.7, 0.8, 0.9)]
    return 100 * sum(iou) / len(iou), 100 * shared.sum() / union.sum(), precision


def test_each_cell_of_the_results_equals_an_independent_computation(
    inputs: ReportInputs, tmp_path: Path
) -> None:
    inputs.render("folder", tmp_path, "report.decimals=3")
    rows = read_tables(tmp_path / "index.html")["Scores of joint"][2:]
    expected = [
        (f"{benchmark.title} {split}", pd.read_parquet(inputs.scores(benchmark.name, split)))
        for benchmark in BENCHMARKS.values()
        for split in benchmark.evaluation_splits
    ]
    assert [row[0] for row in rows] == [title for title, _ in expected] + ["mean of the 5 val splits"]
    means = []
    for (title, scores), row in zip(expected, rows, strict=False):
        miou, oiou, precision = compute(scores, "model")
        own = compute(scores, "original")
        wanted = [miou, oiou, *precision, *own[:2], scores["image_id"].nunique(), len(scores)]
        assert [float(cell.split()[0]) for cell in row[1:]] == pytest.approx(wanted, abs=6e-4)
        if title.endswith(" val"):
            means.append(wanted)
    mean = [float(cell.split()[0]) for cell in rows[-1][1:]]
    assert mean[:9] == pytest.approx(np.mean(means, axis=0)[:9], abs=6e-4)
    assert mean[9:] == [60, 150]  # COCO's images are those of four benchmarks


def test_the_errors_of_a_split_add_up(inputs: ReportInputs, tmp_path: Path) -> None:
    inputs.render("folder", tmp_path)
    tables = read_tables(tmp_path / "index.html")
    scores = {row[0]: row for row in tables["Scores of joint"][2:]}
    for title, *cells, together in tables["Errors of joint"][1:]:
        assert sum(float(cell.split()[0]) for cell in cells) == pytest.approx(float(together), abs=0.03)
        own_size = float(scores[title][8].split()[0])
        assert float(together) == pytest.approx(100 - own_size, abs=0.011)


def test_an_interval_of_the_mean_draws_a_shared_image_once(inputs: ReportInputs) -> None:
    """Two benchmarks of the same images and scores: their mean is no surer than each of them."""
    table = load_scores(inputs.scores("refcoco_unc", "val"))
    splits, mean = measure({("refcoco_unc", "val"): table, ("refcoco_plus_unc", "val"): table})
    assert mean is not None
    for metric in METRICS:
        ours, one = (each.intervals[metric, "model"] for each in (mean, splits["refcoco_unc", "val"]))
        assert vars(ours) == pytest.approx(vars(one))
    assert (mean.images, mean.expressions) == (table["image_id"].nunique(), 2 * len(table))
    apart, other = measure({("refcoco_unc", "val"): table, ("referit_berkeley", "val"): table})
    assert other is not None
    one = apart["refcoco_unc", "val"].intervals["mIoU", "model"]
    both = other.intervals["mIoU", "model"]
    width = {"one": one.high - one.low, "mean": both.high - both.low}
    assert width["mean"] == pytest.approx(width["one"] / np.sqrt(2), rel=0.1)


def test_a_single_image_has_no_interval(inputs: ReportInputs, tmp_path: Path) -> None:
    table = load_scores(inputs.scores("refcoco_unc", "testA")).assign(image_id=7)
    splits, mean = measure({("refcoco_unc", "testA"): table})
    assert mean is None
    assert np.isnan(splits["refcoco_unc", "testA"].intervals["mIoU", "model"].low)
    made = make_inputs(tmp_path / "inputs")
    for benchmark in BENCHMARKS.values():
        for split in benchmark.evaluation_splits:
            pd.read_parquet(made.scores(benchmark.name, split)).assign(image_id=7).to_parquet(
                made.scores(benchmark.name, split)
            )
    made.render("refshapes", tmp_path / "reports")
    assert "nan" not in re.sub(
        r"<script>.*?</script>", "", (tmp_path / "reports/index.html").read_text(), flags=re.S
    )


def test_calibration_error_is_weighted_by_pixels() -> None:
    bins = pd.DataFrame(
        {"pixels": [100, 300, 0], "probability": [0.1, 0.9, np.nan], "foreground": [30, 270, 0]}
    )
    assert calibration_error(bins) == pytest.approx(100 * (100 * 0.2 + 300 * 0.0) / 400)
