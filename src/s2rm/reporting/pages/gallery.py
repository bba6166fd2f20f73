"""Write reports/examples.html: pictures of expressions, failures first, to be filtered by split and slice."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from s2rm.core.files import replace_text
from s2rm.reporting.examples import StoredExample
from s2rm.reporting.overlays import TRUTH, Example, overlay
from s2rm.reporting.pages.templating import environment
from s2rm.reporting.run_results import RunResults
from s2rm.scoring.error_kinds import KINDS
from s2rm.scoring.lexicon import find_kinds
from s2rm.scoring.slices import is_confident_error

SIDE = 320  # pixels of the longer side of a picture
QUALITY = 70  # of WebP
MOST_BYTES = 11_000_000  # of all pictures, so that the page with them as text stays below 15 MB
CONFIDENT = "confident and wrong"
ON_PAGE = 6  # pictures on the page itself
RULE = (
    "Failures first: in each split, of each kind of error the expressions with the lowest IoU, the most "
    "confident of those with an IoU below 10 %, one for each referent; then expressions at even quantiles of "
    "IoU."
)


@dataclass(frozen=True)
class Card:
    """A picture with what is said of it."""

    run: str
    """"" where there is only one."""
    title: str
    expression: str
    kind: str
    """Of the error, for people."""
    outcomes: tuple[str, ...]
    """What it can be filtered by: its kind, and whether it is confident and wrong."""
    words: tuple[str, ...]
    """Kinds of words in the expression."""
    iou: float
    score: float
    image: str
    """A data URL."""
    width: int
    height: int

    @property
    def alt(self) -> str:
        """Describe the picture."""
        return f"masks for “{self.expression}”: truth in green, prediction in orange"


def make_cards(runs: Sequence[RunResults]) -> tuple[list[Card], int]:
    """Draw the examples of all runs until the page is full: failures first, alternating between the splits.

    Returns:
        The cards, and how many were left out.
    """
    several = len(runs) > 1
    chosen = [
        [(run.name if several else "", example) for example in examples]
        for failures in (True, False)
        for run in runs
        for examples in _by_split(run, failures)
    ]
    turns = [each for each in chain.from_iterable(zip_longest(*chosen)) if each is not None]
    turns.sort(key=lambda each: each[1].kind == "good")  # stable: failures come first
    cards, size = [], 0
    for run_name, stored in turns:
        example = stored.load()
        picture = draw(example)
        data = encode(picture, QUALITY)
        size += len(data)
        if size > MOST_BYTES:
            break
        cards.append(_make_card(run_name, example, picture, data))
    return cards, len(turns) - len(cards)


def write_gallery(path: Path, cards: list[Card], left_out: int, *, title: str, synthetic: bool) -> Path:
    """Write the page; return `path`."""
    filters = {
        "run": {"label": "run", "choices": list(dict.fromkeys(card.run for card in cards if card.run))},
        "split": {"label": "split", "choices": list(dict.fromkeys(card.title for card in cards))},
        "kind": {"label": "outcome", "choices": [*KINDS.values(), CONFIDENT]},
        "words": {"label": "words of", "choices": sorted({word for card in cards for word in card.words})},
    }
    html = (
        environment()
        .get_template("examples.html.j2")
        .render(
            title=title,
            synthetic=synthetic,
            rule=RULE,
            cards=cards,
            left_out=left_out,
            filters={name: about for name, about in filters.items() if about["choices"]},
        )
    )
    return replace_text(path, html)


def draw(example: Example) -> Image.Image:
    """Draw both masks over the image, and make it as small as a card."""
    size = [max(1, round(side * min(1.0, SIDE / max(example.image.size)))) for side in example.image.size]
    image = example.image.convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=2)
    truth, predicted = (
        np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        for mask in (example.truth, example.predicted)
    )
    return overlay(overlay(image, truth, TRUTH, opacity=0.15), predicted)


def encode(picture: Image.Image, quality: int) -> bytes:
    """Return the picture as WebP."""
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=quality, method=4)
    return stream.getvalue()


def to_url(data: bytes) -> str:
    """Return a WebP picture as a data URL."""
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")


def _by_split(run: RunResults, failures: bool) -> list[list[StoredExample]]:
    by_title: dict[str, list[StoredExample]] = {}
    for example in run.inspection.pictures:
        if (example.kind != "good") is failures:
            by_title.setdefault(example.title, []).append(example)
    return list(by_title.values())


def _make_card(run: str, example: Example, picture: Image.Image, data: bytes) -> Card:
    return Card(
        run=run,
        title=example.title,
        expression=example.expression,
        kind=KINDS[example.kind],
        outcomes=(
            KINDS[example.kind],
            *([CONFIDENT] if is_confident_error(example.score, example.iou) else []),
        ),
        words=tuple(sorted(find_kinds(example.expression))) or ("none of these",),
        iou=example.iou,
        score=example.score,
        image=to_url(data),
        width=picture.width,
        height=picture.height,
    )
