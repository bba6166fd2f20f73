"""The charts of the page, by Altair: SVG without any script, for the page, and PNG for MLflow and DVC.

Text and axes have the page's own colour (`currentColor`), so that they are legible in light and dark. The
colours of the marks are those of Okabe and Ito, which colour-blind readers can distinguish
(https://jfly.uni-koeln.de/color/).
"""

import re
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import vl_convert
from markupsafe import Markup

from s2rm.core.files import replace
from s2rm.scoring.error_kinds import KINDS

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B08A00", "#56B4E9", "#888888")
LOST = dict(zip(KINDS, ("#56B4E9", "#888888", "#CC79A7", "#D55E00", "#B08A00", "#0072B2"), strict=True))
WIDTH = 420  # pixels of a plot; the page scales it down where it is narrower
ROW = 22  # pixels of a row of bars or dots
PNG_SCALE = 2.0
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "Liberation Sans, Arial, Helvetica, sans-serif",  # vl-convert measures the first
    "view": {"stroke": None},
    "axis": {
        **dict.fromkeys(("labelColor", "titleColor", "domainColor", "tickColor"), "currentColor"),
        "gridColor": "#88888844",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 260,
    },
    "legend": {
        **dict.fromkeys(("labelColor", "titleColor"), "currentColor"),
        "labelFontSize": 12,
        "labelLimit": 320,
        "columnPadding": 36,  # the reader's font may be wider
    },
    "title": {"color": "currentColor", "fontSize": 13, "anchor": "start"},
}

Chart = alt.Chart | alt.LayerChart | alt.HConcatChart


def to_svg(chart: Chart, text: str) -> Markup:
    """Return the chart as SVG that stands in a page.

    Args:
        chart: any chart of this module.
        text: what it shows, for those who do not see it.
    """
    svg = str(vl_convert.vegalite_to_svg(_specify(chart), vl_version=_version()))
    svg = re.sub(r' (?:role="graphics-\w+"|aria-[a-z]+="[^"]*"|pointer-events="\w+"|opacity="1")', "", svg)
    svg = re.sub(r'<path class="(?:background|foreground)"[^>]*/>', "", svg)
    svg = re.sub(r"<[^>]*>", _round_attributes, svg)  # not the texts between them
    size = re.match(r'<svg[^>]*? width="([\d.]+)" height="[\d.]+" viewBox="([^"]*)"[^>]*>', svg)
    if size is None:
        raise RuntimeError("vl-convert wrote no size")
    head = Markup('<svg role="img" aria-label="{}" viewBox="{}" style="width:{}px">').format(
        text, size[2], size[1]
    )
    return head + Markup(svg[size.end() :])


def _round_attributes(tag: re.Match[str]) -> str:
    return re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", tag[0])


def save_png(chart: Chart, path: Path) -> Path:
    """Write the chart as PNG on white; return `path`."""
    about = _specify(chart)
    about["config"] = {**about["config"], "background": "white"}
    data = vl_convert.vegalite_to_png(about, vl_version=_version(), scale=PNG_SCALE)
    return replace(path, lambda partial: partial.write_bytes(data))


def draw_lost(lost: pd.DataFrame) -> Chart:
    """Draw the points of mIoU that each kind of error costs: one bar per split.

    Args:
        lost: title (of the split), kind, points.
    """
    order = list(dict.fromkeys(lost["title"]))
    labels = lost.assign(error=lost["kind"].map(KINDS), rank=lost["kind"].map(list(KINDS).index))
    return (
        alt.Chart(labels)
        .mark_bar()
        .encode(
            x=alt.X("points:Q", title="points of mIoU lost (own size)"),
            y=alt.Y("title:N", sort=order, title=None),
            color=alt.Color(
                "error:N",
                title=None,
                scale=alt.Scale(domain=list(KINDS.values()), range=list(LOST.values())),
                legend=alt.Legend(orient="bottom", columns=1),
            ),
            order=alt.Order("rank:Q"),
        )
        .properties(width=WIDTH, height=ROW * len(order))
    )


def draw_scores(scores: pd.DataFrame) -> Chart:
    """Draw mIoU and oIoU of each split with their intervals.

    Args:
        scores: title (of the split), metric, value, low, high; percent.
    """
    order = list(dict.fromkeys(scores["title"]))
    colour = alt.Color(
        "metric:N", title=None, scale=alt.Scale(range=list(COLOURS[:2])), legend=alt.Legend(orient="bottom")
    )
    base = alt.Chart(scores).encode(
        y=alt.Y("title:N", sort=order, title=None), yOffset=alt.YOffset("metric:N"), color=colour
    )
    x = alt.X("value:Q", title="percent", scale=alt.Scale(domain=[0, 100]))
    dots = base.mark_point(filled=True, size=55, opacity=1).encode(
        x=x, shape=alt.Shape("metric:N", title=None, legend=None)
    )
    rules = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title="percent"), x2="high:Q")
    return (rules + dots).properties(width=WIDTH, height=ROW * len(order))


def draw_precision(precision: pd.DataFrame) -> Chart:
    """Draw P@X over X: one line per split.

    Args:
        precision: title (of the split), threshold, precision (percent).
    """
    return _lines(
        precision,
        alt.X("threshold:Q", title="IoU threshold X", scale=alt.Scale(domain=[0, 1])),
        alt.Y("precision:Q", title="P@X: expressions with IoU ≥ X (%)", scale=alt.Scale(domain=[0, 100])),
    )


def draw_calibration(calibration: pd.DataFrame) -> Chart:
    """Draw how often pixels of each predicted probability are foreground: one line per split.

    Args:
        calibration: title (of the split), probability and share (0…1).
    """
    return _reliability(
        calibration,
        x="probability",
        y="share",
        titles=("predicted probability of a pixel", "share of foreground"),
    )


def draw_confidence(confidence: pd.DataFrame) -> Chart:
    """Draw how good the masks of each predicted score are: one line per split.

    Args:
        confidence: title (of the split), score (0…1) and IoU (percent), means of the expressions of a bin.
    """
    return _reliability(
        confidence, x="score", y="IoU", titles=("score of the prediction", "mean IoU, %"), top=100
    )


def draw_training(history: pd.DataFrame, titles: dict[str, str]) -> Chart:
    """Draw the loss (left) and mIoU on the val splits (right) over the optimiser step.

    Args:
        history: as `load_history` returns it.
        titles: benchmark → title of its val split.
    """
    step = alt.X("step:Q", title="optimiser step", axis=alt.Axis(tickCount=5))
    loss = (
        alt.Chart(history[["step", "train/loss"]].rename(columns={"train/loss": "loss"}))
        .mark_line(point=True, color=COLOURS[0])
        .encode(
            x=step, y=alt.Y("loss:Q", title="training loss, mean over the epoch", scale=alt.Scale(zero=True))
        )
        .properties(width=WIDTH // 2, height=220)
    )
    columns = {f"val/{name}/mIoU": title for name, title in titles.items() if f"val/{name}/mIoU" in history}
    if not columns:  # no val split is evaluated
        return loss
    scores = (
        history[["step", *columns]].rename(columns=columns).melt("step", var_name="title", value_name="mIoU")
    )
    lines = _lines(
        scores,
        step,
        alt.Y("mIoU:Q", title="mIoU (%)", scale=alt.Scale(domain=[0, 100])),
        points=True,
        columns=1,
    )
    return loss | lines.properties(width=WIDTH // 2, height=220)


def _reliability(table: pd.DataFrame, *, x: str, y: str, titles: tuple[str, str], top: float = 1) -> Chart:
    """Draw lines of `y`, 0…`top`, over `x`, 0…1, and the diagonal, dashed: what would be perfect."""
    across = alt.X(f"{x}:Q", title=titles[0], scale=alt.Scale(domain=[0, 1]))
    up = alt.Y(f"{y}:Q", title=titles[1], scale=alt.Scale(domain=[0, top]))
    ends = pd.DataFrame({x: [0.0, 1.0], y: [0.0, top]})
    diagonal = alt.Chart(ends).mark_line(strokeDash=[4, 4], color="#888888").encode(x=across, y=up)
    return diagonal + _lines(table, across, up)


def _lines(table: pd.DataFrame, x: alt.X, y: alt.Y, *, points: bool = False, columns: int = 2) -> alt.Chart:
    order = list(dict.fromkeys(table["title"]))
    dashes = [[1, 0], [6, 3], [2, 2], [8, 2, 2, 2]]
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(order))]
    strokes = [dashes[i // len(COLOURS) % len(dashes)] for i in range(len(order))]
    legend = alt.Legend(orient="bottom", columns=columns, symbolType="stroke", symbolStrokeWidth=3)
    colour, dash = (alt.Scale(domain=order, range=values) for values in (colours, strokes))
    return (
        alt.Chart(table)
        .mark_line(point=points, strokeWidth=2)
        .encode(
            x=x,
            y=y,
            color=alt.Color("title:N", title=None, legend=legend, scale=colour),
            strokeDash=alt.StrokeDash("title:N", title=None, legend=legend, scale=dash),
        )
        .properties(width=WIDTH, height=260)
    )


def _specify(chart: Chart) -> dict[str, Any]:
    return chart.to_dict(context={"datasets": {}}) | {"config": CONFIG}


def _version() -> str:
    """Return the version of Vega-Lite that this Altair writes, as vl-convert names it."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
