"""Predictions find their expressions, and what contradicts them is refused."""

from typing import Any

import pandas as pd
import pytest

from s2rm.core.errors import UserError
from s2rm.scoring.matching import Matches, match
from s2rm.scoring.predictions import Prediction

COCO = "COCO_train2014_{:012d}.jpg"
TABLE = pd.DataFrame(
    [
        ("val", 11, 1, 20, COCO.format(20), "left man"),
        ("val", 12, 1, 20, COCO.format(20), "man in red, at the door"),
        ("val", 13, 2, 2, COCO.format(2), "left man"),
        ("val", 14, 3, 7, "7.jpg", "dog"),
        ("val", 15, 4, 7, "7.jpg", "dog"),
        ("testA", 16, 5, 9, COCO.format(9), "cat"),
    ],
    columns=["split", "sent_id", "ref_id", "image_id", "image_path", "expression"],
).assign(image_path=lambda table: "images/" + table["image_path"])
FIELDS: dict[str, Any] = dict.fromkeys(("sent_id", "ref_id", "image", "expression", "score"))


def predict(number: int = 1, **given: Any) -> Prediction:
    return Prediction(**{"place": f"record {number}", "mask": [], **FIELDS, **given})


def find(*given: dict[str, Any]) -> Matches:
    return match([predict(number, **each) for number, each in enumerate(given, start=1)], TABLE, "val")


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ({"sent_id": 12}, [1]),
        ({"ref_id": 1, "expression": " LEFT  man"}, [0]),
        ({"image": COCO.format(20), "expression": "left man"}, [0]),
        ({"image": "/data/coco/" + COCO.format(20), "expression": "left man"}, [0]),
        ({"image": "C:\\coco\\000000000020.jpg", "expression": "left man"}, [0]),
        ({"image": "20", "expression": "left man"}, [0]),
        # REFER's own file_name ends with the id of the annotation, which may be another image's number.
        ({"image": "COCO_train2014_000000000020_2.jpg", "expression": "left man"}, [0]),
        ({"image": "COCO_train2014_000000000020_900100000002.jpg", "expression": "left man"}, [0]),
        ({"image": "COCO_val2017_000000000002", "expression": "left man"}, [2]),
        ({"image": "crop_2.jpg", "expression": "left man"}, []),
        ({"image": "7", "expression": "dog"}, [3, 4]),
        ({"sent_id": 12, "ref_id": 1, "image": "20.png", "expression": "Man in red at the door."}, [1]),
    ],
)
def test_ways_to_name_an_expression(given: dict[str, Any], rows: list[int]) -> None:
    found = find(given)
    assert sorted(found.of_row) == rows
    assert len(found.unmatched) == (not rows)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"sent_id": 11, "ref_id": 2},
            "record 1 (sent_id 11): its ref_id is 2, but that of this expression is 1",
        ),
        ({"sent_id": 11, "image": COCO.format(2)}, "its image is 'COCO_train2014_000000000002.jpg', but"),
        ({"sent_id": 11, "image": "x.jpg"}, "its image is 'x.jpg', but"),
        (
            {"sent_id": 11, "expression": "right man"},
            "its text is 'right man', but that of this expression is 'l",
        ),
        ({"sent_id": 16, "expression": "dog"}, "its text is 'dog', but that of this expression is 'cat'"),
        ({"ref_id": 1, "expression": "left man", "image": "2"}, "its image is '2', but"),
    ],
)
def test_contradictions(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as raised:
        find(given)
    assert said in str(raised.value)


def test_duplicates_are_counted() -> None:
    again = {"ref_id": 1, "expression": "left man"}
    found = find(
        {"sent_id": 11}, again, {"sent_id": 16}, {"sent_id": 16}, {"image": "7", "expression": "dog"}, again
    )
    assert (found.duplicates, found.elsewhere, found.missing) == (2, 2, [1, 2])


@pytest.mark.parametrize("other", [{"mask": "a.png"}, {"score": 0.5}])
def test_duplicates_that_differ(other: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="record 1 and record 2 are two predictions for sent_id 11"):
        find({"sent_id": 11}, {"sent_id": 11, **other})
