"""Write reports/index.html: one file with all that a reader wants to know, without any external request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from s2rm.config.params import Params
from s2rm.core.files import replace_text
from s2rm.reporting.pages import charts
from s2rm.reporting.pages.gallery import ON_PAGE, RULE, Card, encode, to_url
from s2rm.reporting.pages.templating import environment
from s2rm.reporting.plots import share_above
from s2rm.reporting.run_metrics import note_with_val
from s2rm.reporting.run_results import RunResults
from s2rm.reporting.scored import Scored
from s2rm.reporting.scores_io import compute_ious
from s2rm.reporting.tables.published import PAPER
from s2rm.reporting.tables.table_writers import Table
from s2rm.scoring.error_kinds import KINDS
from s2rm.scoring.intervals import Interval
from s2rm.scoring.metrics import THRESHOLDS
from s2rm.scoring.slices import CONFIDENT_IOU, CONFIDENT_SCORE, FEWEST

INSIDE_WIDTH = 1100  # pixels of a figure of the inside
INSIDE_QUALITY = 60
GALLERY = "examples.html"
MOST_LISTED = 15  # confident errors of a split
STEPS = np.round(np.arange(21) / 20, 2)  # thresholds of the precision chart


@dataclass(frozen=True)
class Figure:
    """A picture on the page."""

    image: str
    """A data URL."""
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class Sections:
    """The tables of the page."""

    published: list[Table]
    scored: list[Table]
    """Other models that were scored here."""
    inside: list[Table]
    leakage: Table
    ablations: list[Table] = field(default_factory=list)


@dataclass(frozen=True)
class RunView:
    """What the page shows of one run."""

    name: str
    model: str
    resolution: str
    headline: dict[str, Interval]
    facts: dict[str, str]
    rows: dict[str, Scored]
    analyses: dict[str, dict[str, Any]]
    calibration_error: dict[str, float]
    charts: dict[str, Markup]
    """Name → SVG."""
    inside: list[Figure]


def write_page(
    path: Path,
    params: Params,
    runs: Sequence[RunResults],
    sections: Sections,
    *,
    charts_of: Mapping[str, Mapping[str, charts.Chart]],
    inside: Mapping[str, Mapping[Path, str]],
    cards: Sequence[Card],
    published: pd.DataFrame,
    origin: Mapping[str, str],
) -> Path:
    """Write the page; all text is escaped.

    Args:
        path: of the page; the gallery is beside it.
        params: all parameters.
        runs: what is shown.
        sections: the tables.
        charts_of: run → name → chart, as `draw_charts` returns them.
        inside: run → PNG of the inside of the model → its caption.
        cards: of the gallery; the first ones are shown here too.
        published: the numbers that `load_published` returns.
        origin: where the runs come from: name → text.

    Returns:
        `path`.
    """
    synthetic = params.data.source == "refshapes"
    contents = {
        "results": "Results",
        "published": "Published methods" if sections.published else "",
        "scored": "Other models, scored here" if sections.scored else "",
        "ablations": "Ablations" if sections.ablations else "",
        "errors": "Errors",
        "examples": "Examples",
        "inside": "Inside the model",
        "training": "Training",
        "origin": "Origin",
    }
    html = (
        environment()
        .get_template("index.html.j2")
        .render(
            title=f"S²RM and CASG: results on {'RefShapes (drawn data)' if synthetic else _name_data(runs)}",
            synthetic=synthetic,
            decimals=params.report.decimals,
            thresholds=THRESHOLDS,
            kinds=KINDS,
            fewest=FEWEST,
            confident={"score": CONFIDENT_SCORE, "iou": CONFIDENT_IOU},
            most_listed=MOST_LISTED,
            runs=[_view(params, run, charts_of[run.name], inside[run.name], published) for run in runs],
            notes=note_with_val([run.measured for run in runs]),
            contents={name: heading for name, heading in contents.items() if heading},
            published=sections.published,
            scored=sections.scored,
            ablations=sections.ablations,
            inside=sections.inside,
            leakage=sections.leakage,
            cards=cards[:ON_PAGE],
            gallery=GALLERY if cards else "",
            rule=RULE,
            absent=_absent(params),
            origin=origin,
            parameters=params.flatten(),
        )
    )
    return replace_text(path, html)


def draw_charts(run: RunResults) -> dict[str, charts.Chart]:
    """Draw the charts of a run: scores, precision, errors, both calibrations, training."""
    scores, precision, lost, bins, confidence = [], [], [], [], []
    calibration = run.inspection.calibration
    for key, scored in run.splits.items():
        title = run.title(key)
        for metric in ("mIoU", "oIoU"):
            found = scored.intervals[metric, "model"]
            # Without an interval (a single image), the rule is a point.
            low, high = np.nan_to_num([found.low, found.high], nan=found.value)
            scores.append((title, metric, found.value, low, high))
        share = share_above(compute_ious(run.scores[key])["model"], STEPS)
        precision += [(title, *point) for point in zip(STEPS, share, strict=True)]
        lost += [(title, kind, each["points"]) for kind, each in run.analyses[key]["errors"].items()]
        own = _calibration_of(calibration, key)
        shares = own["foreground"] / own["pixels"]
        bins += [(title, *point) for point in zip(own["probability"], shares, strict=True)]
        confidence += [
            (title, each["score"], each["IoU"])
            for each in run.analyses[key]["calibration"]["bins"]
            if each["expressions"]
        ]
    titles = {key[0]: run.title(key) for key in run.splits if key[1] == "val"}
    columns = {
        "scores": ["title", "metric", "value", "low", "high"],
        "precision": ["title", "threshold", "precision"],
        "errors": ["title", "kind", "points"],
        "calibration": ["title", "probability", "share"],
        "confidence": ["title", "score", "IoU"],
    }
    return {
        "scores": charts.draw_scores(pd.DataFrame(scores, columns=columns["scores"])),
        "precision": charts.draw_precision(pd.DataFrame(precision, columns=columns["precision"])),
        "errors": charts.draw_lost(pd.DataFrame(lost, columns=columns["errors"])),
        "calibration": charts.draw_calibration(pd.DataFrame(bins, columns=columns["calibration"])),
        "confidence": charts.draw_confidence(pd.DataFrame(confidence, columns=columns["confidence"])),
        "training": charts.draw_training(run.history, titles),
    }


def calibration_error(calibration: pd.DataFrame) -> float:
    """Return the expected calibration error of a split in percent: the mean over pixels of |p − share|."""
    pixels = calibration["pixels"].sum()
    gap = (calibration["probability"] * calibration["pixels"] - calibration["foreground"]).abs()
    return 100 * float(gap.sum() / pixels) if pixels else float("nan")


def _calibration_of(calibration: pd.DataFrame, key: tuple[str, str]) -> pd.DataFrame:
    own = (calibration["benchmark"] == key[0]) & (calibration["split"] == key[1])
    return calibration[own & (calibration["pixels"] > 0)]


def _view(
    params: Params,
    run: RunResults,
    drawn: Mapping[str, charts.Chart],
    inside: Mapping[Path, str],
    published: pd.DataFrame,
) -> RunView:
    resolution = run.measured.resolution("model")
    what, head = run.headline
    rows = {run.title(key): scored for key, scored in run.splits.items()} | {what: head}
    texts = {
        "scores": f"mIoU and oIoU by split, run {run.name}; the numbers are in the table above",
        "precision": f"precision by IoU threshold and split, run {run.name}",
        "errors": f"points of mIoU lost by kind of error and split, run {run.name}; the numbers are below",
        "calibration": f"share of foreground by predicted probability, run {run.name}",
        "confidence": f"mean IoU by the score of the prediction, run {run.name}",
        "training": f"training loss and mIoU on the val splits by step, run {run.name}",
    }
    return RunView(
        name=run.name,
        model=_name_model(params),
        resolution=resolution,
        headline={metric: head.intervals[metric, "model"] for metric in ("mIoU", "oIoU")},
        facts=_facts(params, run, published),
        rows=rows,
        analyses={run.title(key): analysis for key, analysis in run.analyses.items()},
        calibration_error={
            run.title(key): calibration_error(_calibration_of(run.inspection.calibration, key))
            for key in run.splits
        },
        charts={name: charts.to_svg(chart, texts[name]) for name, chart in drawn.items()},
        inside=[_shrink(path, caption) for path, caption in inside.items()],
    )


def _facts(params: Params, run: RunResults, published: pd.DataFrame) -> dict[str, str]:
    """List what a reader asks first: name and one line of text each."""
    with_val: Sequence[str] = params.train.with_val
    trained = [
        f"{run.measured.title(name)}{' (train and val)' if name in with_val else ''}"
        for name in params.get_run(run.name).train_on
    ]
    what, head = run.headline
    facts = {
        "measured on": f"{what}{_name_parts(run)}, masks at {run.measured.resolution('model')}; "
        f"{head.expressions:,} expressions of {head.images:,} images",
        "compared with": _name_best(run, published),
        "trained on": ", ".join(trained),
        "training": f"{params.train.epochs} epochs, seed {params.train.seed}, kept by val "
        f"{params.train.select_by}",
    }
    facts |= {name: run.training[name] for name in ("commit", "parameters") if run.training.get(name)}
    return facts


def _name_parts(run: RunResults) -> str:
    """Say of a mean which benchmarks in it are only a part of the official data."""
    parts = sorted({key[0] for key in run.splits if key[1] == "val"} & run.measured.incomplete)
    if run.mean is None or len(parts) < 2:
        return ""  # a single split is named so already
    return f" ({', '.join(run.measured.title(name) for name in parts)})"


def _name_best(run: RunResults, published: pd.DataFrame) -> str:
    """Name the highest oIoU of the listed methods on the first split of which ours can stand beside it."""
    if run.measured.source == "refshapes":
        return "nothing published: nobody else has these data (s2rm compare compares runs)"
    not_comparable = run.measured.incomplete | run.measured.with_val
    for benchmark, split in run.splits:
        if benchmark in not_comparable:
            continue
        comparable = published[
            (published["reason"] == "")
            & (published["metric"] == "oIoU")
            & (published["method"] != PAPER)
            & (published["benchmark"] == benchmark)
            & (published["split"] == split)
            & ~published["combined"]
        ]
        if len(comparable):
            best = comparable.sort_values("value").iloc[-1]
            ours = run.splits[benchmark, split].intervals["oIoU", "model"].value
            return (
                f"{run.title((benchmark, split))}, oIoU: here {ours:.1f}, the highest of the methods below "
                f"{best['value']:.1f} ({best['method']}, {best['backbone']})"
            )
    if run.measured.incomplete:
        return "nothing published: the data here are only a part of the benchmarks"
    return "no published value on these splits"


def _name_model(params: Params) -> str:
    vision, language = params.vision, params.language
    text = language.pretrained or f"BERT of {language.layers} layers"
    fusion = {"s2rm": "S²RM"}.get(params.fusion.kind, params.fusion.kind)
    decoder = params.decoder.kind.upper()
    return f"{fusion} and {decoder}, {vision.backbone}, {text}, {vision.image_size}×{vision.image_size}"


def _name_data(runs: Sequence[RunResults]) -> str:
    titles = list(dict.fromkeys(run.measured.title(key[0]) for run in runs for key in run.splits))
    if len(titles) < 3:
        return " and ".join(titles)
    return "parts of the real benchmarks" if runs[0].measured.incomplete else "the real benchmarks"


def _absent(params: Params) -> dict[str, str]:
    missing = {
        "figure of the gates": params.fusion.why_no_gates,
        "figure of the words": params.fusion.why_no_words,
        "table of the balancing weights": params.fusion.why_no_weights,
    }
    return {name: reason for name, reason in missing.items() if reason}


def _shrink(path: Path, caption: str) -> Figure:
    with Image.open(path) as image:
        picture = image.convert("RGB")
    picture.thumbnail((INSIDE_WIDTH, 4 * INSIDE_WIDTH), Image.Resampling.LANCZOS)
    return Figure(to_url(encode(picture, INSIDE_QUALITY)), caption, picture.width, picture.height)
