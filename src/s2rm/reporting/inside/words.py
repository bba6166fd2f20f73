"""Draw the figure of the words: the affinity of each word of one expression to each position, map by map."""

from math import ceil
from pathlib import Path

import matplotlib

from s2rm.reporting.examples import WordView
from s2rm.reporting.figures import STYLE, save
from s2rm.reporting.inside.panels import (
    EXAMPLE,
    GAP,
    LINE,
    MARGIN,
    PANEL,
    TITLE,
    Page,
    Scale,
    draw_example,
    draw_map,
    draw_scale,
    draw_title,
)

MOST_PER_ROW = 7
MOST_LETTERS = 18  # of a token above its map; the rest becomes an ellipsis
COLOURS = "viridis"
KINDS = {
    "sigmoid": "affinity: each word for itself",
    "softmax": "affinity: sums to 1 over the tokens",
}


def draw_words(path: Path, run: str, view: WordView) -> Path:
    """Draw one map per token in reading order, then those of [CLS] and [SEP], below the example.

    Args:
        path: the PNG file.
        run: name of the run.
        view: where the words go.

    Returns:
        `path`.
    """
    aspect = view.example.image.height / view.example.image.width
    order = sorted(range(len(view.tokens)), key=lambda token: token in view.special)
    rows = ceil(len(order) / MOST_PER_ROW)
    per_row = ceil(len(order) / rows)  # the rows are about equally long
    beside = MARGIN + 3 * (EXAMPLE + GAP) + GAP  # of the example: the colour scale
    top, block = TITLE + EXAMPLE * aspect + 1.5 * LINE, LINE + PANEL * aspect + GAP
    page = Page(
        MARGIN + max(beside + EXAMPLE, MARGIN + per_row * (PANEL + GAP) - GAP),
        top + rows * block - GAP + MARGIN,
    )
    scale = Scale(0, view.affinity.max(), COLOURS)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        draw_title(page, run, view)
        draw_example(page, view.example, (EXAMPLE + GAP, 0))
        draw_scale(page, scale, KINDS[view.kind], (beside, TITLE))
        for place, token in enumerate(order):
            x, y = MARGIN + place % per_row * (PANEL + GAP), top + place // per_row * block
            _draw_token(page, view, token, x, y)
            box = (x, y + LINE, PANEL, PANEL * aspect)
            draw_map(page, scale, view.affinity[token], view.example, box)
        return save(page.figure, path)


def _draw_token(page: Page, view: WordView, token: int, x: float, y: float) -> None:
    """Write a token above its map; a special one is grey and says so."""
    text = view.tokens[token]
    if len(text) > MOST_LETTERS:
        text = text[: MOST_LETTERS - 1] + "…"
    middle = {"ha": "center", "va": "center"}
    if token in view.special:
        page.text(x + PANEL / 2, y + LINE / 2, f"{text} (special)", fontsize=8.5, color="#555555", **middle)
    else:
        page.text(x + PANEL / 2, y + LINE / 2, text, fontsize=9, weight="bold", **middle)
