"""The figure of the gates: where its panels are, and that its directions are true."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from report_inputs import make_example, make_view

from s2rm.model.fusion.sweeps import DIRECTIONS, ROLES, SWEEPS, name_sweep
from s2rm.reporting.examples import SweepView
from s2rm.reporting.figures import DPI
from s2rm.reporting.inside import gates, panels
from s2rm.reporting.inside.gates import draw_gates
from s2rm.scan import sweep


def pixels_of(path: Path) -> NDArray[np.int16]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.int16)


@pytest.mark.parametrize("rotation", range(4))
def test_a_direction_is_named_after_its_sweep(rotation: int) -> None:
    """A value at one position is carried to the positions that the sweep reads afterwards."""
    candidates = torch.zeros(5, 7)
    candidates[2, 3] = 1
    dim, reverse = SWEEPS[rotation]
    states = sweep(torch.full((1, 1, 5, 7), 0.5), candidates[None, None], dim, (reverse,))[0][0, 0]
    rows, columns = states.nonzero(as_tuple=True)
    name = next(
        name
        for name, there in {
            "rows ↓": (columns == 3).all() and rows.tolist() == [2, 3, 4],
            "rows ↑": (columns == 3).all() and rows.tolist() == [0, 1, 2],
            "columns →": (rows == 2).all() and columns.tolist() == [3, 4, 5, 6],
            "columns ←": (rows == 2).all() and columns.tolist() == [0, 1, 2, 3],
        }.items()
        if there
    )
    names = {"↓": "top to bottom", "↑": "bottom to top", "→": "left to right", "←": "right to left"}
    assert name_sweep(rotation) == name
    assert DIRECTIONS[SWEEPS[rotation]] == names[name[-1]]


def test_the_same_view_gives_the_same_bytes(tmp_path: Path) -> None:
    view = make_view()
    first = draw_gates(tmp_path / "first.png", "tiny", view).read_bytes()
    assert first == draw_gates(tmp_path / "again.png", "tiny", view).read_bytes()
    assert b"Software" not in first


@pytest.mark.parametrize(
    ("roles", "rotations", "size"),
    [pytest.param(2, 4, (60, 40), marks=pytest.mark.slow), (1, 2, (30, 90))],
    ids=["whole", "reduced"],
)
def test_each_sweep_has_its_own_panel(
    tmp_path: Path, roles: int, rotations: int, size: tuple[int, int]
) -> None:
    """Changing one map changes one panel: rotations are side by side, roles below each other."""
    view = make_view(make_example(width=size[0], height=size[1]), tuple(ROLES)[:roles], rotations)
    panel = np.array([panels.PANEL * size[1] / size[0], panels.PANEL])
    drawn = pixels_of(draw_gates(tmp_path / "gates.png", "joint", view))
    beside = 2 * panels.MARGIN + panels.EXAMPLE + gates.LABELS - panels.GAP
    assert drawn.shape[1] == pytest.approx(DPI * (beside + rotations * (panels.PANEL + panels.GAP)), abs=2)
    centres = []
    for k in range(len(view.places)):
        maps = view.gates.copy()
        maps[k] = maps[k, ::-1, ::-1]  # the colour scale stays the same
        changed = pixels_of(
            draw_gates(tmp_path / "gates.png", "joint", dataclasses.replace(view, gates=maps))
        )
        pixels = np.argwhere(np.abs(changed - drawn).max(2) > 30)
        low, high = pixels.min(0) / DPI, pixels.max(0) / DPI
        assert high - low == pytest.approx(panel, abs=0.15)
        centres.append((low + high) / 2)
    rows, columns = np.moveaxis(np.reshape(centres, (roles, rotations, 2)), 2, 0)
    np.testing.assert_allclose(np.diff(columns, axis=1), panels.PANEL + panels.GAP, atol=0.15)
    np.testing.assert_allclose(np.ptp(rows, axis=1), 0, atol=0.15)
    assert (np.diff(rows, axis=0) > 2 * panel[0]).all()


@pytest.mark.parametrize("expression", ["the one for $5 not $6_", "$\\frac$", "a word " * 60, "x" * 300, ""])
def test_any_expression_is_drawn_literally(tmp_path: Path, expression: str) -> None:
    assert draw_gates(tmp_path / "gates.png", "joint", make_view(make_example(expression))).is_file()


@pytest.mark.parametrize("fill", [True, False])
def test_a_truth_without_an_outline_and_flat_maps(tmp_path: Path, fill: bool) -> None:
    view: SweepView = make_view()
    example = dataclasses.replace(view.example, truth=np.full((40, 60), fill))
    flat = dataclasses.replace(view, example=example, gates=np.full_like(view.gates, 0.5))
    assert draw_gates(tmp_path / "gates.png", "joint", flat).is_file()
