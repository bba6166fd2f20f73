"""Parts of the figures in this folder: a page in inches, the example, maps over its image, a colour scale."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from s2rm.reporting.examples import StageView
from s2rm.reporting.overlays import PREDICTION, TRUTH, Colour, Example, overlay

# Inches
MARGIN = 0.15
EXAMPLE = 1.85  # width of the example's images
PANEL = 1.6  # width of a map
GAP = 0.1
TITLE = 0.85  # heights
LINE = 0.24
SCALE = 0.13

OPACITY = 0.75  # of a map over the grey image


class Page:
    """A figure whose parts are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        """Make an empty figure of this size."""
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


class Scale(ScalarMappable):
    """Maps numbers from `low` to `high` to colours."""

    def __init__(self, low: float, high: float, colours: str) -> None:
        """Take the name of matplotlib's colour map."""
        super().__init__(Normalize(float(low), float(high)), colours)


def draw_title(page: Page, run: str, view: StageView) -> None:
    """Write the expression, where it comes from, and what is shown of which run."""
    letters = int(8 * page.width)  # as many as fit
    title = f"“{textwrap.shorten(view.example.expression, letters, placeholder=' …')}”"
    page.text(MARGIN, MARGIN, title, fontsize=12, weight="bold")
    origin = f"{view.example.title}, IoU {100 * view.example.iou:.1f} % (the split's median)"
    stage = f"run {run}, stage {view.stage} (stride {2 ** (view.stage + 1)})"
    page.text(MARGIN, MARGIN + LINE, f"{origin}\n{stage}", fontsize=8.5, color="#555555")


def draw_example(page: Page, example: Example, step: tuple[float, float]) -> None:
    """Draw image, truth and prediction below the title, each `step` inches from the one before."""
    image = example.image.convert("RGB")
    tall = EXAMPLE * image.height / image.width
    pictures = (
        ("image", image, "#555555"),
        ("truth", overlay(image, example.truth, TRUTH), _hex(TRUTH)),
        ("prediction", overlay(image, example.predicted, PREDICTION), _hex(PREDICTION)),
    )
    for number, (name, picture, colour) in enumerate(pictures):
        x, y = MARGIN + number * step[0], TITLE + number * step[1]
        _show(page.axes(x, y, EXAMPLE, tall), picture)
        page.text(x + EXAMPLE / 2, y + tall + 0.03, name, ha="center", color=colour, fontsize=8.5)


def draw_map(
    page: Page,
    scale: Scale,
    values: NDArray[np.float32],
    example: Example,
    box: tuple[float, float, float, float],
) -> None:
    """Draw a map (h, w) over the image in grey, with the true mask outlined; `box` is as for `Page.axes`."""
    size = example.image.size
    smooth = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BICUBIC))
    grey = 0.5 + np.asarray(example.image.convert("L"))[..., None] / 510  # pale: colours keep their lightness
    panel = page.axes(*box)
    _show(panel, OPACITY * scale.to_rgba(smooth)[..., :3] + (1 - OPACITY) * grey)
    panel.contour(example.truth, levels=[0.5], colors="white", linewidths=0.9)


def draw_scale(page: Page, scale: Scale, label: str, corner: tuple[float, float]) -> None:
    """Draw a colour scale as wide as an image of the example, above its label."""
    bar = page.figure.colorbar(
        scale, cax=page.axes(*corner, EXAMPLE, SCALE), orientation="horizontal", alpha=OPACITY
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7.5, length=2, pad=2)
    bar.set_label(label, fontsize=8, labelpad=2)


def _show(panel: Axes, picture: Any) -> None:
    panel.imshow(picture, aspect="auto", interpolation="nearest")
    panel.set_axis_off()


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
