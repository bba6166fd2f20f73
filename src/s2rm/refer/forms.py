"""Reads the values of raw records, also in the other forms in which label tools and scripts write them.

A `read_…` function returns what the strict form would have been; its caller reports that something was read
in another form, so that nobody is surprised. What has two meanings is not guessed.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

LARGEST_ID = 2**63 - 1  # the table's ids are int64
NUMBERS = ("id", "image_id", "ann_id", "ref_id", "sent_id", "category_id", "height", "width")
WHOLE = re.compile("[0-9]{1,19}")
AT_END = re.compile("(?:^|[^0-9])([0-9]{1,18})$")  # of a file name without its ending
MOST_EXACT = 2**53  # above it floats skip whole numbers
SPLITS = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}


class MalformedError(ValueError):
    """A record lacks a key or has a value of the wrong type; the message says which."""


def read_numbers(record: Any) -> tuple[Any, list[str]]:
    """Return a record whose ids and sizes are integers where they were texts ("12") or whole floats (12.0).

    Args:
        record: any value of the raw files; what is not a mapping is returned as it is.

    Returns:
        The record, a copy if anything changes, and the keys that were read.
    """
    if not isinstance(record, dict):
        return record, []
    read = {key: _to_integer(record[key]) for key in NUMBERS if type(record.get(key)) in (str, float)}
    read = {key: value for key, value in read.items() if value is not None}
    return ({**record, **read}, list(read)) if read else (record, [])


def _to_integer(value: str | float) -> int | None:
    if isinstance(value, str):
        return int(value) if WHOLE.fullmatch(value.strip()) else None
    return int(value) if value.is_integer() and abs(value) <= MOST_EXACT else None


def number_of_image(file_name: str) -> int | None:
    """Return the number at the end of an image's file name, as in COCO_train2014_000000000009.jpg."""
    found = AT_END.search(PurePosixPath(file_name).stem)
    return int(found[1]) if found else None


def name_images(images: Iterable[tuple[int, str]]) -> dict[str, int]:
    """Map the ways to name an image by its file to its id; a name that fits two images is left out.

    Args:
        images: id and file name of each.

    Returns:
        Path, name and name without its ending → id.
    """
    ids: dict[str, int] = {}
    twice = set()
    for image_id, file_name in images:
        path = PurePosixPath(file_name)
        for name in {file_name, path.name, path.stem}:
            if ids.setdefault(name, image_id) != image_id:
                twice.add(name)
    return {name: image_id for name, image_id in ids.items() if name not in twice}


def read_image_id(record: Any, names: Mapping[str, int]) -> tuple[Any, list[str]]:
    """Return a record whose `image_id` is a number where it was the name of the image's file."""
    if not isinstance(record, dict) or not isinstance(record.get("image_id"), str):
        return record, []
    image_id = names.get(record["image_id"])
    return (record, []) if image_id is None else ({**record, "image_id": image_id}, ["image_id"])


def read_split(split: str, used: Iterable[str]) -> str:
    """Return the split that is meant: in another case, or as "validation" for val; else `split` itself."""
    plain = split.strip().lower()
    plain = SPLITS.get(plain, plain)
    return next((name for name in used if name.lower() == plain), split)


def read_polygons(segmentation: list[Any]) -> list[Any]:
    """Return a segmentation as a list of flat polygons [x, y, x, y, …]; RLEs stay as they are.

    Read are also one flat polygon [x, y, …], one of points [[x, y], …], and several of these.
    """
    if segmentation and all(type(value) in (int, float) for value in segmentation):
        return [segmentation]
    if _are_points(segmentation):
        return [_flatten(segmentation)]
    return [_flatten(part) if _are_points(part) else part for part in segmentation]


def _are_points(part: Any) -> bool:
    return (
        isinstance(part, list)
        and bool(part)
        and all(
            isinstance(point, list)
            and len(point) == 2
            and all(type(value) in (int, float) for value in point)
            for point in part
        )
    )


def _flatten(points: list[list[float]]) -> list[float]:
    return [value for point in points for value in point]


def get_value(record: Any, key: str) -> Any:
    """Return the value of a key, None where it is missing.

    Raises:
        MalformedError: `record` is not a mapping.
    """
    if not isinstance(record, dict):
        raise MalformedError(f"it is {show_value(record)}, not a record")
    return record.get(key)


def get_integer(record: dict[str, Any], key: str, least: int = 0, most: int = LARGEST_ID) -> int:
    """Return the integer of a key.

    Raises:
        MalformedError: it is missing, is not an integer, or lies outside of least … most.
    """
    value = get_value(record, key)
    if type(value) is not int:  # bool is an int, but not an id
        raise MalformedError(f"{key} is {show_value(value)}")
    if not least <= value <= most:
        raise MalformedError(f"{key} is {show_value(value)}, out of range")
    return value


def get_text(record: dict[str, Any], key: str) -> str:
    """Return the text of a key.

    Raises:
        MalformedError: it is missing, or not a valid text.
    """
    value = get_value(record, key)
    if not isinstance(value, str):
        raise MalformedError(f"{key} is {show_value(value)}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise MalformedError(f"{key} has half a surrogate pair: it is not valid text")
    return value


def name_record(record: Any, id_key: str, place: str) -> int | str:
    """Return what identifies a record in the report: its id, if it has one, or its position."""
    value = record.get(id_key) if isinstance(record, dict) else None
    return value if type(value) is int and 0 <= value <= LARGEST_ID else place


def show_value(value: Any) -> str:
    """Return a value for messages: short, without line breaks."""
    if value is None:
        return "missing"
    if isinstance(value, int) and abs(value) > 10**30:  # Python refuses to write very long ones
        return "a very large number"
    if isinstance(value, str | int | float):
        shown = ascii(value)
        return shown if len(shown) <= 40 else f"{shown[:40]}…"
    return f"a {type(value).__name__}"
