"""The kinds of issues that REFER data may have, what is done about each, and a count of those found.

Every kind has one rule. With `preprocess.faults=repair` the rule is applied and the issue is counted with its
ids and the first record that has it; with `refuse` the same issues end the stage (`Issues.refuse`).
"""

from collections import Counter
from collections.abc import Collection
from typing import Any

from s2rm.core.errors import UserError

# kind → what is done about it
RULES = {
    "number_form": "an id or a size is a text, a whole float or the name of an image: read as the number",
    "malformed_image": "the image is left out",
    "duplicate_image": "identical records: one is kept",
    "conflicting_image": "records with one id disagree: none is kept",
    "size_from_image": "height or width is missing: taken from the image file",
    "image_missing": "the refs of the image are left out",
    "image_unreadable": "the refs of the image are left out",
    "image_size": "the mask's pixel grid is unknown: the refs of the image are left out",
    "image_converted": "not RGB with 8 bits: converted when it is read",
    "image_frames": "several frames or pages: the first is used",
    "image_not_turned": "EXIF asks for a rotation: not applied, as the masks match the stored pixels",
    "malformed_annotation": "the annotation is left out",
    "duplicate_annotation": "identical records: one is kept",
    "conflicting_annotation": "records with one id disagree: none is kept",
    "malformed_category": "the category is left out",
    "duplicate_category": "identical records: one is kept",
    "conflicting_category": "records with one id disagree: none is kept",
    "category_unknown": "the category is left empty, the record is kept",
    "category_conflict": "the annotation's category is used, not the ref's",
    "box_unknown": "the mask's bounding box is used",
    "malformed_ref": "the ref is left out",
    "duplicate_ref": "identical records: one is kept",
    "conflicting_ref": "records with one id disagree: none is kept",
    "split_form": "the split is spelt otherwise: read as the benchmark's",
    "split_not_used": "not used: the benchmark has no such split",
    "dangling_image": "the record names an image that does not exist: it is left out",
    "dangling_annotation": "the ref names an annotation that does not exist: it is left out",
    "annotation_of_other_image": "the ref and its annotation name different images: the ref is left out",
    "ref_without_sentences": "the ref is left out",
    "malformed_sentence": "the sentence is left out",
    "sentence_form": "a plain text, or only one of sent and raw: that one is used",
    "expression_as_typed": "the cleaned sentence is empty: the sentence as typed is used",
    "empty_expression": "the sentence is left out",
    "duplicate_sentence": "identical records: one is kept",
    "sentence_numbered": "no sent_id of its own: all sentences are numbered by their position in the file",
    "polygon_form": "a flat list, or points [x, y]: read as polygons",
    "polygon_points": "a polygon of fewer than 3 points has no area: it is left out of the mask",
    "polygon_clipped": "a polygon partly out of the image is cut at the border",
    "polygon_outside": "a polygon wholly out of the image is left out of the mask",
    "malformed_segmentation": "the mask would be a guess: the ref is left out",
    "mask_missing": "the mask's file is missing: the ref is left out",
    "mask_unreadable": "the mask's file does not hold a matrix of numbers: the ref is left out",
    "mask_size": "the mask's size is not the image's: the ref is left out",
    "mask_empty": "the mask has no pixel: the ref is left out",
}
# Counted, never refused: genuine data has them, one file may hold several partitions, or the form was clear.
HARMLESS = {
    *("split_not_used", "image_converted", "image_frames", "image_not_turned", "expression_as_typed"),
    *("number_form", "size_from_image", "split_form", "sentence_form", "sentence_numbered", "polygon_form"),
}
LISTED = 20  # ids per kind in the report
LONGEST_DETAIL = 200  # characters
MOST_KINDS = 6  # in one line


class Issues:
    """The issues found while reading one benchmark."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._ids: dict[str, list[int | str]] = {}
        self._first: dict[str, str] = {}

    def add(self, kind: str, identifier: int | str, detail: str) -> None:
        """Count an issue.

        Args:
            kind: one of RULES.
            identifier: the record's id, or its position in the file where it has none.
            detail: names the record and says what is wrong with it.
        """
        assert kind in RULES, kind
        self._counts[kind] += 1
        ids = self._ids.setdefault(kind, [])
        if len(ids) < LISTED:
            ids.append(identifier)
        if kind not in self._first:
            plain = " ".join(detail.split()).encode("utf-8", "backslashreplace").decode("utf-8")
            self._first[kind] = plain if len(plain) <= LONGEST_DETAIL else f"{plain[:LONGEST_DETAIL]}…"

    def report(self) -> dict[str, dict[str, Any]]:
        """Return kind → {count, rule, ids, first}, in the order of RULES; kinds not found are left out."""
        return {
            kind: {
                "count": self._counts[kind],
                "rule": rule,
                "ids": self._ids[kind],
                "first": self._first[kind],
            }
            for kind, rule in RULES.items()
            if self._counts[kind]
        }

    def summarise(self, without: Collection[str] = HARMLESS) -> str:
        """Return one line that names the kinds, each with its count and its first record, "" for none.

        Args:
            without: kinds that are not named.
        """
        kinds = [kind for kind, _ in self._counts.most_common() if kind not in without]
        named = [
            f"{self._counts[kind]:,} × {kind} (first: {self._first[kind]})" for kind in kinds[:MOST_KINDS]
        ]
        named += [f"{self._counts[kind]:,} × {kind}" for kind in kinds[MOST_KINDS:]]
        return "; ".join(named)

    def refuse(self, source: str) -> None:
        """End the stage if there is any issue, except harmless ones.

        Args:
            source: where the data is, for the message.

        Raises:
            UserError: names the kinds, each with its count and its first record.
        """
        found = self.summarise()
        if found:
            raise UserError(f"{source}: {found}; repair the data or set preprocess.faults=repair")
