"""The figure of the words: one panel per token in reading order, the special tokens last."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from report_inputs import make_example, make_words

from s2rm.reporting.figures import DPI
from s2rm.reporting.inside import panels, words
from s2rm.reporting.inside.words import draw_words


def pixels_of(path: Path) -> NDArray[np.int16]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.int16)


def test_the_same_view_gives_the_same_bytes(tmp_path: Path) -> None:
    first = draw_words(tmp_path / "first.png", "tiny", make_words()).read_bytes()
    assert first == draw_words(tmp_path / "again.png", "tiny", make_words()).read_bytes()
    assert b"Software" not in first


def test_each_token_has_its_own_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changing one map changes one panel: words in reading order, three in a row, then [CLS] and [SEP]."""
    monkeypatch.setattr(words, "MOST_PER_ROW", 3)
    view = make_words(make_example(width=40, height=50))
    panel = np.array([panels.PANEL * 50 / 40, panels.PANEL])
    drawn = pixels_of(draw_words(tmp_path / "words.png", "joint", view))
    centres = []
    for token in (1, 2, 3, 4, 0, 5):
        maps = view.affinity.copy()
        maps[token] = maps[token, ::-1, ::-1]  # the colour scale stays the same
        changed = pixels_of(
            draw_words(tmp_path / "words.png", "joint", dataclasses.replace(view, affinity=maps))
        )
        pixels = np.argwhere(np.abs(changed - drawn).max(2) > 30)
        low, high = pixels.min(0) / DPI, pixels.max(0) / DPI
        assert high - low == pytest.approx(panel, abs=0.15)
        centres.append((low + high) / 2)
    rows, columns = np.moveaxis(np.reshape(centres, (2, 3, 2)), 2, 0)
    np.testing.assert_allclose(np.diff(columns, axis=1), panels.PANEL + panels.GAP, atol=0.15)
    np.testing.assert_allclose(np.ptp(rows, axis=1), 0, atol=0.15)
    np.testing.assert_allclose(np.diff(rows, axis=0), panel[0] + panels.LINE + panels.GAP, atol=0.15)


def test_all_maps_have_one_colour_scale_from_zero(tmp_path: Path) -> None:
    """Where one token alone has a large affinity, the map of another looks as if it had none."""
    small = np.full_like(make_words().affinity, 1e-6)
    small[1] = 0.9
    view = dataclasses.replace(make_words(), affinity=small)
    nothing = dataclasses.replace(view, affinity=np.where(small < 0.5, np.float32(0), small))
    first, second = (pixels_of(draw_words(tmp_path / "words.png", "joint", each)) for each in (view, nothing))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("kind", "tokens"),
    [("sigmoid", ()), ("softmax", ("$5", "$\\frac$", "x" * 300)), ("sigmoid", ("a",) * 30)],
    ids=["none", "odd", "many"],
)
def test_any_tokens_are_drawn(tmp_path: Path, kind: str, tokens: tuple[str, ...]) -> None:
    view = dataclasses.replace(make_words(tokens=tokens), kind=kind)
    assert draw_words(tmp_path / "words.png", "joint", view).is_file()


@pytest.mark.parametrize("fill", [True, False])
def test_a_truth_without_an_outline_and_flat_maps(tmp_path: Path, fill: bool) -> None:
    view = make_words()
    example = dataclasses.replace(view.example, truth=np.full((40, 60), fill))
    flat = dataclasses.replace(view, example=example, affinity=np.zeros_like(view.affinity))
    assert draw_words(tmp_path / "words.png", "joint", flat).is_file()
