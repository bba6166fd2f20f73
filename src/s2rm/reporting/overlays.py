"""Draw masks over images: one image for `s2rm predict`, a sheet of examples for the report."""

from dataclasses import dataclass

import numpy as np
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

TRUTH = (0, 158, 115)  # green
PREDICTION = (230, 97, 0)  # orange
_INK, _FAINT, _PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)

CELL = 280  # pixels, side of the square that an image is fitted into
GAP = 6  # between the three images of an example
MARGIN = 28  # around an example
LINE = 24  # height of a line of text
EXAMPLES_PER_ROW = 2
MOST_LINES = 3  # of an expression; the rest becomes an ellipsis

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Example:
    """An expression with its image, its true mask and its predicted mask."""

    image: Image.Image
    expression: str
    truth: NDArray[np.bool_]
    """(H, W), the image's own size."""
    predicted: NDArray[np.bool_]
    """(H, W)."""
    iou: float
    """At the image's size, 0…1."""
    title: str
    """Benchmark and split."""
    score: float = 0.0
    """The mean probability inside the predicted mask, 0…1."""
    kind: str = "good"
    """Of the error, one of `s2rm.scoring.error_kinds.KINDS`."""


def overlay(
    image: Image.Image, mask: NDArray[np.bool_], colour: Colour = PREDICTION, *, opacity: float = 0.4
) -> Image.Image:
    """Draw a mask over an image: filled in a translucent colour, and outlined.

    The outline is as wide as 1/120 of the longer side and has a white rim, so that it is visible on any
    background.

    Args:
        image: of any mode; it is not changed.
        mask: (H, W), the image's own size.
        colour: of the mask.
        opacity: of the filling, 0…1.

    Returns:
        An RGB image of the same size.

    Raises:
        ValueError: the mask has another size.
    """
    if mask.shape != (image.height, image.width):
        raise ValueError(f"the mask is {mask.shape}, the image (height, width) {(image.height, image.width)}")
    inside = _as_image(mask)
    width = max(1, round(max(image.size) / 120))
    painted = image.convert("RGB")
    ground = painted.copy()
    around = np.asarray(inside.filter(ImageFilter.BoxBlur(width // 2 + 1))) > 0
    painted.paste(_PAPER, mask=_as_image(around & ~mask))
    painted.paste(Image.blend(ground, Image.new("RGB", ground.size, colour), opacity), mask=inside)
    core = np.asarray(inside.filter(ImageFilter.BoxBlur(width))) == 255
    painted.paste(colour, mask=_as_image(mask & ~core))
    return painted


def draw_sheet(examples: list[Example]) -> Image.Image:
    """Draw image, truth and prediction of each example side by side, under its expression and IoU."""
    width = 3 * CELL + 2 * GAP
    columns = min(EXAMPLES_PER_ROW, len(examples))
    wrapped = [(example, _wrap(example.expression, _font(17), width)) for example in examples]
    rows = [wrapped[start : start + columns] for start in range(0, len(wrapped), columns)]
    texts = [LINE * (1 + max(len(lines) for _, lines in row)) + GAP for row in rows]
    height = MARGIN + sum(text + CELL + LINE + MARGIN for text in texts)
    sheet = Image.new("RGB", (MARGIN + columns * (width + MARGIN), height), _PAPER)
    top = MARGIN
    for row, text in zip(rows, texts, strict=True):
        for column, (example, lines) in enumerate(row):
            _draw_example(sheet, example, lines, (MARGIN + column * (width + MARGIN), top), text)
        top += text + CELL + LINE + MARGIN
    return sheet


def _draw_example(
    sheet: Image.Image, example: Example, lines: list[str], corner: tuple[int, int], text: int
) -> None:
    """Draw one example with its upper left corner at `corner`, its images `text` pixels below."""
    draw = ImageDraw.Draw(sheet)
    left, top = corner
    width = 3 * CELL + 2 * GAP
    draw.text((left, top), _wrap(example.title, _font(14), width - 120)[0], _FAINT, _font(14))
    draw.text((left + width, top), f"IoU {100 * example.iou:.1f} %", _INK, _font(15, bold=True), anchor="ra")
    for number, line in enumerate(lines, start=1):
        draw.text((left, top + number * LINE), line, _INK, _font(17))
    image = _fit(example.image.convert("RGB"), Image.Resampling.LANCZOS)
    for number, (name, mask, colour) in enumerate(
        (
            ("image", None, _FAINT),
            ("truth", example.truth, TRUTH),
            ("prediction", example.predicted, PREDICTION),
        )
    ):
        shown = image
        if mask is not None:
            fitted = _fit(_as_image(mask), Image.Resampling.NEAREST)
            shown = overlay(image, np.asarray(fitted) > 0, colour)
        x, y = left + number * (CELL + GAP), top + text
        draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), (238, 238, 238))
        sheet.paste(shown, (x + (CELL - shown.width) // 2, y + (CELL - shown.height) // 2))
        draw.text((x + CELL // 2, y + CELL + 4), name, colour, _font(14), anchor="ma")


def _as_image(mask: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)


def _fit(image: Image.Image, resampling: Image.Resampling) -> Image.Image:
    """Resize the image to fill the cell, keeping its aspect."""
    scale = CELL / max(image.size)
    return image.resize([max(1, round(side * scale)) for side in image.size], resampling)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Wrap text into at most MOST_LINES lines of `width` pixels; a word too long for a line is broken."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        lines.append("")
        for character in word:
            if font.getlength(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    lines = [line for line in lines if line] or [""]
    if len(lines) > MOST_LINES:
        last = lines[MOST_LINES - 1]
        while font.getlength(last + "…") > width:
            last = last[:-1]
        lines = [*lines[: MOST_LINES - 1], last + "…"]
    return lines


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, which ships with matplotlib and has more letters than Pillow's own font."""
    wanted = font_manager.FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return ImageFont.truetype(font_manager.findfont(wanted), size)
