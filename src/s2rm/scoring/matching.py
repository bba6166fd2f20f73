"""Finds the expression that each prediction is for.

The rule: by `sent_id`, if the prediction has one; else by `ref_id` and the text; else by the image and the
text.
Texts are compared without regard to case and spaces. Where an image has one text for two referents, a
prediction by image and text counts for both, since no model could tell them apart.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from s2rm.core.errors import UserError
from s2rm.scoring.predictions import Prediction

NAMED = 5  # predictions that a message names at most
NUMBER = re.compile(r"(\d+)(?:\.[A-Za-z]+)?$")  # at the end of COCO's file names


@dataclass
class Matches:
    """Which prediction belongs to each expression."""

    of_row: dict[int, Prediction]
    """Row of the table → its prediction."""
    missing: list[int]
    """Rows without a prediction."""
    elsewhere: int = 0
    """Predictions for other splits of the benchmark, which are left out."""
    unmatched: list[Prediction] = field(default_factory=list)
    """Predictions that name no expression of the benchmark."""


def match(predictions: Iterable[Prediction], table: pd.DataFrame, split: str) -> Matches:
    """Match predictions with the expressions of one split.

    Args:
        predictions: of any number of splits.
        table: a prepared table, with all splits.
        split: the one that is scored.

    Returns:
        The matches; rows are numbered as in the split.

    Raises:
        UserError: two predictions for one expression give different masks.
    """
    chosen = (table["split"] == split).to_numpy()
    row_of = chosen.cumsum() - 1
    by_sentence = dict(zip(table["sent_id"], range(len(table)), strict=True))
    by_ref, by_image = defaultdict(list), defaultdict(list)
    texts = [fold(text) for text in table["expression"]]
    for place, (ref, path, image, text) in enumerate(
        zip(table["ref_id"], table["image_path"], table["image_id"], texts, strict=True)
    ):
        by_ref[ref, text].append(place)
        by_image[path.rsplit("/", 1)[-1], text].append(place)
        by_image[int(image), text].append(place)

    matches = Matches({}, [])
    for prediction in predictions:
        places = _places(prediction, by_sentence, by_ref, by_image)
        if not places:
            matches.unmatched.append(prediction)
        elif not any(chosen[place] for place in places):
            matches.elsewhere += 1
        for place in places:
            if not chosen[place]:
                continue
            other = matches.of_row.setdefault(int(row_of[place]), prediction)
            if other is not prediction and other.mask != prediction.mask:
                raise UserError(
                    f"{other.place} and {prediction.place} are two predictions for sent_id "
                    f"{table['sent_id'].iloc[place]} ({table['expression'].iloc[place]!r}): keep one"
                )
    matches.missing = [row for row in range(int(chosen.sum())) if row not in matches.of_row]
    return matches


def describe_unmatched(unmatched: list[Prediction]) -> str:
    """Name the first predictions that match no expression."""
    named = [f"{each.place} ({_describe(each)})" for each in unmatched[:NAMED]]
    more = len(unmatched) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "")


def fold(text: str) -> str:
    """Return a text in the form in which texts are compared."""
    return " ".join(text.casefold().split())


def _places(
    prediction: Prediction,
    by_sentence: dict[int, int],
    by_ref: dict[tuple[int, str], list[int]],
    by_image: dict[tuple[str | int, str], list[int]],
) -> list[int]:
    if prediction.sent_id is not None:
        place = by_sentence.get(prediction.sent_id)
        return [] if place is None else [place]
    text = fold(prediction.expression or "")
    if prediction.ref_id is not None:
        return by_ref.get((prediction.ref_id, text), [])
    name = (prediction.image or "").replace("\\", "/").rsplit("/", 1)[-1]
    found = by_image.get((name, text))
    if found is None and (number := NUMBER.search(name)):
        found = by_image.get((int(number[1]), text))
    return found or []


def _describe(prediction: Prediction) -> str:
    if prediction.sent_id is not None:
        return f"sent_id {prediction.sent_id}"
    where = f"ref_id {prediction.ref_id}" if prediction.ref_id is not None else prediction.image
    return f"{where}, {prediction.expression!r}"
