"""Finds the expression that each prediction is for.

The rule: by `sent_id`, if the prediction has one; else by `ref_id` and the text; else by the image and the
text. What a prediction says besides must agree: otherwise it belongs to other data.
Texts are compared without regard to case and spaces. Where an image has one text for two referents, a
prediction by image and text counts for both, since no model could tell them apart.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pandas as pd

from s2rm.core.errors import UserError
from s2rm.refer.forms import show_value
from s2rm.scoring.predictions import Prediction

NAMED = 5  # predictions that a message names at most
# COCO's file names, to which REFER appends an annotation's id: COCO_train2014_000000000020_2.jpg is image 20.
COCO_NAME = re.compile("COCO_[A-Za-z0-9]+_([0-9]{12})(?![0-9])")
NUMBER = re.compile("([0-9]{1,18})")


@dataclass
class Matches:
    """Which prediction belongs to each expression."""

    of_row: dict[int, Prediction]
    """Row of the table → its prediction."""
    missing: list[int]
    """Rows without a prediction."""
    elsewhere: int = 0
    """Predictions for other splits of the benchmark, which are left out."""
    duplicates: int = 0
    """Predictions that repeat the mask of an earlier one for the same expression."""
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
        UserError: two predictions for one expression give different masks or scores, or a prediction
            contradicts the expression that it names.
    """
    chosen = (table["split"] == split).to_numpy()
    row_of = (chosen.cumsum() - 1).tolist()
    expressions = _Expressions(table)
    matches = Matches({}, [])
    for prediction in predictions:
        places = expressions.find(prediction)
        for place in places:
            expressions.check(prediction, place)
        here = [place for place in places if chosen[place]]
        if not places:
            matches.unmatched.append(prediction)
        elif not here:
            matches.elsewhere += 1
        repeats = False
        for place in here:
            other = matches.of_row.setdefault(row_of[place], prediction)
            if other is prediction:
                continue
            if (other.mask, other.score) != (prediction.mask, prediction.score):
                raise UserError(
                    f"{other.place} and {prediction.place} are two predictions for sent_id "
                    f"{expressions.sent_id[place]} ({show_value(expressions.text[place])}): keep one"
                )
            repeats = True
        matches.duplicates += repeats
    matches.missing = [row for row in range(int(chosen.sum())) if row not in matches.of_row]
    return matches


def describe_unmatched(unmatched: list[Prediction]) -> str:
    """Name the first predictions that match no expression."""
    named = [f"{each.place} ({describe(each)})" for each in unmatched[:NAMED]]
    more = len(unmatched) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "")


def describe(prediction: Prediction) -> str:
    """Say which expression a prediction names."""
    if prediction.sent_id is not None:
        return f"sent_id {show_value(prediction.sent_id)}"
    of_ref = prediction.ref_id is not None
    where = f"ref_id {show_value(prediction.ref_id)}" if of_ref else prediction.image
    return f"{where}, {prediction.expression!r}"


def fold(text: str) -> str:
    """Return a text in the form in which texts are compared."""
    return " ".join(text.casefold().split())


class _Expressions:
    """The expressions of a prepared table, by each of the ways to name them."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.sent_id, self.ref_id, self.text = (
            table[name].tolist() for name in ("sent_id", "ref_id", "expression")
        )
        self.image = [path.rsplit("/", 1)[-1] for path in table["image_path"]]
        self.image_id = table["image_id"].tolist()
        self.by_sentence = {sent_id: place for place, sent_id in enumerate(self.sent_id)}
        self.by_ref: dict[tuple[int, str], list[int]] = defaultdict(list)
        self.by_image: dict[tuple[str | int, str], list[int]] = defaultdict(list)
        for place, text in enumerate(map(fold, self.text)):
            self.by_ref[self.ref_id[place], text].append(place)
            self.by_image[self.image[place], text].append(place)
            self.by_image[self.image_id[place], text].append(place)

    def find(self, prediction: Prediction) -> list[int]:
        """Return the rows of the expressions that a prediction names."""
        if prediction.sent_id is not None:
            place = self.by_sentence.get(prediction.sent_id)
            return [] if place is None else [place]
        text = fold(prediction.expression or "")
        if prediction.ref_id is not None:
            return self.by_ref.get((prediction.ref_id, text), [])
        found = (self.by_image.get((name, text)) for name in _names(prediction.image or ""))
        return next((places for places in found if places), [])

    def check(self, prediction: Prediction, place: int) -> None:
        """Check that nothing that a prediction says contradicts its expression."""
        image, text = prediction.image, prediction.expression
        known = {self.image[place], self.image_id[place]}
        for key, agrees, said, true in (
            (
                "ref_id",
                prediction.ref_id in (None, self.ref_id[place]),
                prediction.ref_id,
                self.ref_id[place],
            ),
            ("image", image is None or not known.isdisjoint(_names(image)), image, self.image[place]),
            ("text", text is None or _letters(text) == _letters(self.text[place]), text, self.text[place]),
        ):
            if not agrees:
                raise UserError(
                    f"{prediction.place} ({describe(prediction)}): its {key} is {show_value(said)}, but that "
                    f"of this expression is {show_value(true)}; correct the record: it may be for other data"
                )


def _names(image: str) -> list[str | int]:
    """Return the ways in which the table may know an image: by the name of its file, or by its number."""
    name = image.replace("\\", "/").rsplit("/", 1)[-1]
    stem = PurePosixPath(name).stem
    number = COCO_NAME.match(stem) or NUMBER.fullmatch(stem)
    return [name, int(number[1])] if number else [name]


def _letters(text: str) -> str:
    """Return a text without case, spaces and punctuation, in which REFER's `raw` and `sent` differ."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())
