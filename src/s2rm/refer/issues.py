"""The kinds of issues that REFER data may have, what is done about each, and a count of those found.

Every kind has one rule. With `preprocess.faults=repair` the rule is applied and the issue is counted with its
ids; with `refuse` the same issues end the stage (`Issues.refuse`).
"""

from collections import Counter
from typing import Any

from s2rm.core.errors import UserError

# kind → what is done about it
RULES = {
    "malformed_image": "the image is left out",
    "duplicate_image": "identical records: one is kept",
    "conflicting_image": "records with one id disagree: none is kept",
    "image_missing": "the refs of the image are left out",
    "image_unreadable": "the refs of the image are left out",
    "image_size": "the mask's pixel grid is unknown: the refs of the image are left out",
    "image_converted": "grey, CMYK or 16 bits: converted to RGB when it is read",
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
    "split_not_used": "not used: the benchmark has no such split",
    "dangling_image": "the record names an image that does not exist: it is left out",
    "dangling_annotation": "the ref names an annotation that does not exist: it is left out",
    "annotation_of_other_image": "the ref and its annotation name different images: the ref is left out",
    "ref_without_sentences": "the ref is left out",
    "malformed_sentence": "the sentence is left out",
    "expression_as_typed": "the cleaned sentence is empty: the sentence as typed is used",
    "empty_expression": "the sentence is left out",
    "duplicate_sentence": "identical records: one is kept",
    "conflicting_sentence": "records with one id disagree: none is kept",
    "polygon_points": "a polygon of fewer than 3 points has no area: it is left out of the mask",
    "polygon_clipped": "a polygon partly out of the image is cut at the border",
    "polygon_outside": "a polygon wholly out of the image is left out of the mask",
    "malformed_segmentation": "the mask would be a guess: the ref is left out",
    "mask_missing": "the mask's file is missing: the ref is left out",
    "mask_unreadable": "the mask's file does not hold a matrix of numbers: the ref is left out",
    "mask_size": "the mask's size is not the image's: the ref is left out",
    "mask_empty": "the mask has no pixel: the ref is left out",
}
# Counted, never refused: genuine data has them, and one file may hold several partitions.
HARMLESS = {"split_not_used", "image_converted", "image_not_turned", "expression_as_typed"}
LISTED = 20  # ids per kind in the report


class Issues:
    """The issues found while reading one benchmark."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._ids: dict[str, list[int | str]] = {}
        self._first = ""

    def add(self, kind: str, identifier: int | str, detail: str = "") -> None:
        """Count an issue.

        Args:
            kind: one of RULES.
            identifier: the record's id, or its position in the file where it has none.
            detail: what is wrong, for the message of `refuse`.
        """
        assert kind in RULES, kind
        self._counts[kind] += 1
        ids = self._ids.setdefault(kind, [])
        if len(ids) < LISTED:
            ids.append(identifier)
        if not self._first and kind not in HARMLESS:
            self._first = f"{kind} at {identifier}" + (f" ({detail})" if detail else "")

    def report(self) -> dict[str, dict[str, Any]]:
        """Return kind → {count, rule, ids} in the order of RULES, without the kinds that were not found."""
        return {
            kind: {"count": self._counts[kind], "rule": rule, "ids": self._ids[kind]}
            for kind, rule in RULES.items()
            if self._counts[kind]
        }

    def refuse(self, source: str) -> None:
        """End the stage if there is any issue, except harmless ones.

        Args:
            source: where the data is, for the message.

        Raises:
            UserError: names the first issue and the counts of all.
        """
        if self._first:
            counts = ", ".join(f"{kind} {issue['count']}" for kind, issue in self.report().items())
            raise UserError(
                f"{source}: {self._first}; in all: {counts}; repair the data or set preprocess.faults=repair"
            )
