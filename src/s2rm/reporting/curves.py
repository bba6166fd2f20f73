"""Draw the curves of a run as PNG: precision over the IoU threshold, and training over the step.

The same numbers give the same bytes. The colours are those of Okabe and Ito, which colour-blind readers can
distinguish (https://jfly.uni-koeln.de/color/). A benchmark has the same colour and dash in every figure.
"""

from collections.abc import Iterable
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

DPI = 200
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
        ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00", "#56B4E9", "#666666"),
        ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2))),
        strict=True,
    )
}
MEAN: dict[str, Any] = {"color": "black", "linewidth": 2.2}


def draw_precision(path: Path, measured: Measured, ious: Ious) -> Path:
    """Draw P@X over X at the model's size: one panel per split, one line per benchmark.

    Args:
        path: the PNG file.
        measured: the run.
        ious: its IoUs.

    Returns:
        `path`.
    """
    splits = list(dict.fromkeys(split for benchmark in ALL_BENCHMARKS.values() for split in benchmark.splits))
    splits = [split for split in splits if any(split == name for _, name in ious)]
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
        add_legend(figure, panels)
        return save(figure, path)


def draw_training(path: Path, measured: Measured, history: pd.DataFrame) -> Path:
    """Draw the training loss (left) and the validation mIoU (right) over the optimiser step.

    Args:
        path: the PNG file.
        measured: the run.
        history: its history, as `load_history` returns it.

    Returns:
        `path`.
    """
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
        add_legend(figure, [score])
        return save(figure, path)


def add_legend(figure: Figure, panels: Iterable[Axes], columns: int = 3) -> None:
    """Add one legend below all panels, with each label once."""
    handles = {
        label: handle
        for panel in panels
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=columns, handlelength=3.5
    )


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as PNG and return the path; the same figure gives the same bytes."""
    return replace(
        path, lambda partial: figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    )
