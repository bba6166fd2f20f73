"""Masks drawn over images."""

import numpy as np
import pytest
from PIL import Image
from report_inputs import make_example

from s2rm.reporting.overlays import (
    CELL,
    GAP,
    MARGIN,
    MOST_LINES,
    PREDICTION,
    _font,
    _wrap,
    draw_sheet,
    overlay,
)


def test_overlay_paints_the_mask_and_leaves_the_rest():
    image = Image.new("RGB", (300, 200), (40, 60, 80))
    mask = np.zeros((200, 300), dtype=bool)
    mask[50:150, 100:200] = True
    painted = np.asarray(overlay(image, mask, PREDICTION))
    assert painted.shape == (200, 300, 3)
    assert tuple(painted[50, 150]) == PREDICTION  # the outline
    assert painted[100, 150].tolist() == pytest.approx([116, 74.8, 48], abs=1)  # 60 % image, 40 % colour
    assert (painted[:40] == (40, 60, 80)).all()
    assert (np.asarray(image) == (40, 60, 80)).all()  # the original is untouched


def test_overlay_of_nothing_is_the_image():
    image = Image.effect_noise((30, 20), 50).convert("RGB")
    assert (np.asarray(overlay(image, np.zeros((20, 30), dtype=bool))) == np.asarray(image)).all()


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"the mask is \(30, 20\)"):
        overlay(Image.new("RGB", (30, 20)), np.zeros((30, 20), dtype=bool))


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (5, 2)])
def test_sheet_has_cells_of_one_size(count, columns):
    sheet = draw_sheet([make_example(height=40 + 30 * number) for number in range(count)])
    assert sheet.width == MARGIN + columns * (3 * CELL + 2 * GAP + MARGIN)


def test_long_expressions_are_wrapped_and_cut():
    font = _font(17)
    assert _wrap("the red square", font, 500) == ["the red square"]
    lines = _wrap("a word " * 200, font, 200)
    assert len(lines) == MOST_LINES
    assert lines[-1].endswith("…")
    broken = _wrap("x" * 300 + " end", font, 200)
    assert all(font.getlength(line) <= 200 for line in lines + broken)
    assert _wrap("", font, 200) == [""]
