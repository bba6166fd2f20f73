"""Draw the figure of the gates: what a trained model computes for one expression, per sweep direction.

For each role and direction there are two maps over the image: the update gate, and the share of the weighted
parsed semantic in the magnitude of all of them at each position. The balancing weight is below them.
"""

from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

from s2rm.model.fusion.sweeps import DIRECTIONS, ROLES, SWEEPS, name_sweep
from s2rm.reporting.examples import SweepView
from s2rm.reporting.figures import STYLE, save
from s2rm.reporting.inside.panels import (
    EXAMPLE,
    GAP,
    LINE,
    MARGIN,
    PANEL,
    SCALE,
    TITLE,
    Page,
    Scale,
    draw_example,
    draw_map,
    draw_scale,
    draw_title,
)

# Inches
LABELS = 0.85  # width of the rows' labels
DIRECTION = 0.42  # heights
WEIGHT = 0.36

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
    page = Page(
        left + directions * (PANEL + GAP) - GAP + MARGIN,
        TITLE + max(maps, 3 * shown + 2 * (SCALE + 2 * LINE)) + MARGIN,
    )
    gates = Scale(view.gates.min(), view.gates.max(), GATE_COLOURS)
    shares = Scale(100 * view.shares.min(), 100 * view.shares.max(), SHARE_COLOURS)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        draw_title(page, run, view)
        draw_example(page, view.example, (0, shown))
        y = TITLE + 3 * shown + LINE / 2
        draw_scale(page, gates, "update gate, mean over channels", (MARGIN, y))
        draw_scale(page, shares, "share of the weighted semantics (%)", (MARGIN, y + SCALE + 2 * LINE))
        for k, (role, rotation) in enumerate(view.places):
            x = left + rotation * (PANEL + GAP)
            y = TITLE + DIRECTION + roles.index(role) * (block + GAP)
            if role == roles[0]:
                _draw_direction(page, rotation, x + PANEL / 2)
            if rotation == 0:
                _draw_labels(page, role, (left, y), tall)
            draw_map(page, gates, view.gates[k], view.example, (x, y, PANEL, tall))
            y += tall + GAP
            draw_map(page, shares, 100 * view.shares[k], view.example, (x, y, PANEL, tall))
            _draw_weight(page, view.weights, k, (x, y + tall))
        return save(page.figure, path)


def _draw_weight(page: Page, weights: NDArray[np.float32], k: int, corner: tuple[float, float]) -> None:
    """Draw a bar as long as the weight, a line at equal weights, and the number."""
    x, y = corner
    bar = page.axes(x, y + 0.07, PANEL - 0.5, 0.11)
    bar.barh(0, weights[k], height=1, color="#555555")
    bar.axvline(1 / len(weights), color="black", linewidth=1)
    bar.set(xlim=(0, 1.05 * max(weights.max(), 1 / len(weights))), ylim=(-0.5, 0.5), xticks=[], yticks=[])
    bar.spines[["left", "bottom"]].set_visible(False)
    page.text(x + PANEL, y + 0.05, f"{100 * weights[k]:.1f} %", ha="right", fontsize=8.5)


def _draw_direction(page: Page, rotation: int, x: float) -> None:
    page.text(x, TITLE, name_sweep(rotation), ha="center", weight="bold", fontsize=10)
    page.text(x, TITLE + 0.18, DIRECTIONS[SWEEPS[rotation]], ha="center", fontsize=8.5, color="#555555")


def _draw_labels(page: Page, role: str, corner: tuple[float, float], tall: float) -> None:
    """Label the two rows of a role: the role, what each row shows, and the weight."""
    x, y = corner
    upright = {"rotation": 90, "ha": "center", "va": "center"}
    role = ROLES[role].replace(", ", ",\n")
    page.text(x - 0.58, y + tall + GAP / 2, role, weight="bold", fontsize=9, **upright)
    page.text(x - 0.16, y + tall / 2, "update gate", fontsize=8.5, **upright)
    page.text(x - 0.16, y + GAP + 1.5 * tall, "share", fontsize=8.5, **upright)
    page.text(x - 0.06, y + GAP + 2 * tall + 0.05, "weight", ha="right", fontsize=8.5)
