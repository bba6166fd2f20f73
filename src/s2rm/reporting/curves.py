"""The curves of a run as PNG: precision over the IoU threshold, and training by step.

The same numbers give the same bytes. Colours are Okabe and Ito's, which the colour-blind tell
apart (https://jfly.uni-koeln.de/color/); a benchmark keeps its colour and dash in every figure.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from s2rm.config.benchmarks import ALL_BENCHMARKS
from s2rm.core.files import replace
from s2rm.reporting.plots import Ious, share_above
from s2rm.reporting.run_metrics import Measured

DPI = 200  # twice the 100 of a page
STYLE: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
}
LINES: dict[str, dict[str, Any]] = {
    name: {"color": colour, "linestyle": dash}
    for name, colour, dash in zip(
        ALL_BENCHMARKS,
        ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00", "#56B4E9"),
        ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1))),
        strict=True,
    )
}
MEAN: dict[str, Any] = {"color": "black", "linewidth": 2.2}


def draw_precision(path: Path, measured: Measured, ious: Ious) -> Path:
    """A panel a split name, a line a benchmark: expressions with IoU ≥ X, at the model's size."""
    splits = list(dict.fromkeys(split for benchmark in ALL_BENCHMARKS.values() for split in benchmark.splits))
    splits = [split for split in splits if any(split == place[1] for place in ious)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(2.7 * len(splits), 5.0), 3.7), layout="constrained")
        panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
        thresholds = np.linspace(0, 1, 201).round(3)
        for panel, split in zip(panels, splits, strict=True):
            for name in ALL_BENCHMARKS:
                if (name, split) in ious:
                    share = share_above(ious[name, split]["model"], thresholds)
                    panel.plot(thresholds, share, label=measured.title(name), **LINES[name])
            panel.set(title=split, xlabel="IoU threshold X", xlim=(0, 1), ylim=(0, 100))
            panel.set_xticks(np.linspace(0, 1, 6))
        panels[0].set_ylabel("P@X: expressions with IoU ≥ X (%)")
        figure.suptitle(f"Precision of run {measured.run}, at {measured.resolution('model')} pixels")
        _legend(figure, panels)
        return save(figure, path)


def draw_training(path: Path, measured: Measured, history: pd.DataFrame) -> Path:
    """Left the training loss, right the validation mIoU, by optimiser step."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 3.7), layout="constrained")
        loss, score = figure.subplots(1, 2)
        loss.plot(history["step"], history["train/loss"], marker="o", markersize=3, **MEAN)
        loss.set(title="training loss", ylabel="mean over the epoch", ylim=(0, None))
        names = [name for name in ALL_BENCHMARKS if f"val/{name}/mIoU" in history]
        for name in names:
            score.plot(
                history["step"], history[f"val/{name}/mIoU"], label=measured.title(name), **LINES[name]
            )
        if len(names) > 1:
            score.plot(history["step"], history["val/mean/mIoU"], label="mean", **MEAN)
        score.set(
            title="validation mIoU", ylabel=f"mIoU at {measured.resolution('model')} (%)", ylim=(0, 100)
        )
        for panel in (loss, score):
            panel.set_xlabel("optimiser step")
            panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        figure.suptitle(f"Training of run {measured.run}")
        _legend(figure, [score])
        return save(figure, path)


def _legend(figure: Figure, panels: list[Axes]) -> None:
    """One legend below all panels, each benchmark once."""
    handles = {
        label: handle
        for panel in panels
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, handlelength=3.5)


def save(figure: Figure, path: Path) -> Path:
    """As PNG; the same figure gives the same bytes."""
    return replace(
        path, lambda partial: figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    )
