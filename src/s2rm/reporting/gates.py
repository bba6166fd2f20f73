"""Draw the figure of the gates: what a trained model computes for one expression, per sweep direction.

For each role and direction there are two maps over the image: the update gate, and the share of the weighted
parsed semantic in the magnitude of all of them at each position. The balancing weight is below them.
"""

import textwrap
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from s2rm.model.fusion.sweeps import DIRECTIONS, ROLES, SWEEPS, name_sweep
from s2rm.reporting.curves import STYLE, save
from s2rm.reporting.examples import SweepView
from s2rm.reporting.overlays import PREDICTION, TRUTH, Colour, Example, overlay

# Inches
MARGIN = 0.15
EXAMPLE = 1.85  # width of the example's images
LABELS = 0.85  # width of the rows' labels
PANEL = 1.6  # width of a map
GAP = 0.1
TITLE = 0.85  # heights
DIRECTION = 0.42
LINE = 0.24
WEIGHT = 0.36
SCALE = 0.13

OPACITY = 0.75  # of a map over the grey image
GATE_COLOURS, SHARE_COLOURS = "viridis", "magma"  # perceptually uniform, also for the colour-blind


def draw_gates(path: Path, run: str, view: SweepView) -> Path:
    """Draw one column per sweep direction and two rows per role, beside the example and the colour scales.

    Args:
        path: the PNG file.
        run: name of the run.
        view: what one stage computes.

    Returns:
        `path`.
    """
    aspect = view.example.image.height / view.example.image.width
    roles = list(dict.fromkeys(role for role, _ in view.places))
    directions = len(view.places) // len(roles)
    tall = PANEL * aspect
    block = tall + GAP + tall + WEIGHT
    shown = EXAMPLE * aspect + LINE
    left = MARGIN + EXAMPLE + LABELS
    maps = DIRECTION + len(roles) * (block + GAP) - GAP
    page = _Page(
        left + directions * (PANEL + GAP) - GAP + MARGIN,
        TITLE + max(maps, 3 * shown + 2 * (SCALE + 2 * LINE)) + MARGIN,
    )
    gates, shares = _Scale(view.gates, GATE_COLOURS), _Scale(100 * view.shares, SHARE_COLOURS)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        _draw_title(page, run, view)
        _draw_example(page, view.example, aspect)
        y = TITLE + 3 * shown + LINE / 2
        _draw_scale(page, gates, "update gate, mean over channels", y)
        _draw_scale(page, shares, "share of the weighted semantics (%)", y + SCALE + 2 * LINE)
        for k, (role, rotation) in enumerate(view.places):
            x = left + rotation * (PANEL + GAP)
            y = TITLE + DIRECTION + roles.index(role) * (block + GAP)
            if role == roles[0]:
                _draw_direction(page, rotation, x + PANEL / 2)
            if rotation == 0:
                _draw_labels(page, role, (left, y), tall)
            _draw_map(page, gates, view.gates[k], view.example, (x, y, PANEL, tall))
            y += tall + GAP
            _draw_map(page, shares, 100 * view.shares[k], view.example, (x, y, PANEL, tall))
            _draw_weight(page, view.weights, k, (x, y + tall))
        return save(page.figure, path)


class _Page:
    """A figure whose parts are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Add axes."""
        box = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Add text literally: a dollar sign starts no formula."""
        whole: dict[str, Any] = {"va": "top", "parse_math": False} | style
        self.figure.text(x / self.width, 1 - y / self.height, text, **whole)


class _Scale(ScalarMappable):
    """Maps numbers to colours, from the smallest to the largest of all `values`."""

    def __init__(self, values: NDArray[np.float32], colours: str) -> None:
        super().__init__(Normalize(float(values.min()), float(values.max())), colours)


def _draw_title(page: _Page, run: str, view: SweepView) -> None:
    letters = int(8 * page.width)  # as many as fit
    title = f"“{textwrap.shorten(view.example.expression, letters, placeholder=' …')}”"
    page.text(MARGIN, MARGIN, title, fontsize=12, weight="bold")
    origin = f"{view.example.title}, IoU {100 * view.example.iou:.1f} % (the split's median)"
    stage = f"run {run}, stage {view.stage} (stride {2 ** (view.stage + 1)})"
    page.text(MARGIN, MARGIN + LINE, f"{origin}\n{stage}", fontsize=8.5, color="#555555")


def _draw_example(page: _Page, example: Example, aspect: float) -> None:
    image = example.image.convert("RGB")
    rows = (
        ("image", image, "#555555"),
        ("truth", overlay(image, example.truth, TRUTH), _hex(TRUTH)),
        ("prediction", overlay(image, example.predicted, PREDICTION), _hex(PREDICTION)),
    )
    for number, (name, picture, colour) in enumerate(rows):
        y = TITLE + number * (EXAMPLE * aspect + LINE)
        _show(page.axes(MARGIN, y, EXAMPLE, EXAMPLE * aspect), picture)
        page.text(
            MARGIN + EXAMPLE / 2, y + EXAMPLE * aspect + 0.03, name, ha="center", color=colour, fontsize=8.5
        )


def _draw_map(
    page: _Page,
    scale: _Scale,
    values: NDArray[np.float32],
    example: Example,
    box: tuple[float, float, float, float],
) -> None:
    """Draw a map (h, w) over the image in grey, with the true mask outlined."""
    size = example.image.size
    smooth = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BICUBIC))
    grey = 0.5 + np.asarray(example.image.convert("L"))[..., None] / 510  # pale: colours keep their lightness
    panel = page.axes(*box)
    _show(panel, OPACITY * scale.to_rgba(smooth)[..., :3] + (1 - OPACITY) * grey)
    panel.contour(example.truth, levels=[0.5], colors="white", linewidths=0.9)


def _draw_weight(page: _Page, weights: NDArray[np.float32], k: int, corner: tuple[float, float]) -> None:
    """Draw a bar as long as the weight, a line at equal weights, and the number."""
    x, y = corner
    bar = page.axes(x, y + 0.07, PANEL - 0.5, 0.11)
    bar.barh(0, weights[k], height=1, color="#555555")
    bar.axvline(1 / len(weights), color="black", linewidth=1)
    bar.set(xlim=(0, 1.05 * max(weights.max(), 1 / len(weights))), ylim=(-0.5, 0.5), xticks=[], yticks=[])
    bar.spines[["left", "bottom"]].set_visible(False)
    page.text(x + PANEL, y + 0.05, f"{100 * weights[k]:.1f} %", ha="right", fontsize=8.5)


def _draw_scale(page: _Page, scale: _Scale, label: str, y: float) -> None:
    bar = page.figure.colorbar(
        scale, cax=page.axes(MARGIN, y, EXAMPLE, SCALE), orientation="horizontal", alpha=OPACITY
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7.5, length=2, pad=2)
    bar.set_label(label, fontsize=8, labelpad=2)


def _draw_direction(page: _Page, rotation: int, x: float) -> None:
    page.text(x, TITLE, name_sweep(rotation), ha="center", weight="bold", fontsize=10)
    page.text(x, TITLE + 0.18, DIRECTIONS[SWEEPS[rotation]], ha="center", fontsize=8.5, color="#555555")


def _draw_labels(page: _Page, role: str, corner: tuple[float, float], tall: float) -> None:
    """Label the two rows of a role: the role, what each row shows, and the weight."""
    x, y = corner
    upright = {"rotation": 90, "ha": "center", "va": "center"}
    role = ROLES[role].replace(", ", ",\n")
    page.text(x - 0.58, y + tall + GAP / 2, role, weight="bold", fontsize=9, **upright)
    page.text(x - 0.16, y + tall / 2, "update gate", fontsize=8.5, **upright)
    page.text(x - 0.16, y + GAP + 1.5 * tall, "share", fontsize=8.5, **upright)
    page.text(x - 0.06, y + GAP + 2 * tall + 0.05, "weight", ha="right", fontsize=8.5)


def _show(panel: Axes, picture: Any) -> None:
    panel.imshow(picture, aspect="auto", interpolation="nearest")
    panel.set_axis_off()


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
