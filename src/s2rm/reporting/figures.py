"""The look of matplotlib's figures, and how they are saved: the same numbers give the same bytes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from s2rm.core.files import replace

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
