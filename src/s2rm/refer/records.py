"""The records of REFER's two files as typed objects, each checked when it is read.

`refs(<split_by>).p` is a list of refs; `instances.json` has lists of images, annotations and categories, as
COCO's. Other common forms of a value are read too (`s2rm.refer.forms`) and reported. A record that lacks a
key, or has a value of the wrong type, is reported and left out; so are records that share an id. Keys that
are not needed are ignored.

https://github.com/lichengunc/refer/blob/master/refer.py
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeVar

from s2rm.core.errors import UserError
from s2rm.refer.forms import (
    MalformedError,
    get_integer,
    get_text,
    get_value,
    name_record,
    number_of_image,
    read_image_id,
    read_numbers,
    show_value,
)
from s2rm.refer.issues import Issues

LARGEST_SIDE = 2**31 - 1  # its heights and widths are int32


@dataclass(frozen=True, slots=True)
class Image:
    """An image, its size in pixels; 0 where the record lacks it and the image file is to tell it."""

    id: int
    file_name: str  # relative to the benchmark's image folder, posix
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """An annotated object. `iscrowd` is ignored: the loaders of RefCOCO's authors do not filter by it."""

    id: int
    image_id: int
    category_id: int | None
    box: tuple[float, ...] | None  # x, y, width, height as annotated; None where missing
    segmentation: Any  # checked by `masks.rasterise`


@dataclass(frozen=True, slots=True)
class Category:
    """A category of objects."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Ref:
    """A referred object.

    Two keys of the record are ignored: `file_name`, which is not the image's (the annotation's id is
    appended), and `sent_ids`, which repeat what the sentences hold.
    """

    id: int
    image_id: int
    ann_id: int
    category_id: int | None
    split: str
    sentences: list[Any]


Record = TypeVar("Record", Image, Annotation, Category, Ref)
FOUND_IN = {"ref": " in the file of refs"} | dict.fromkeys(
    ("image", "annotation", "category"), " in instances.json"
)
Form = Callable[[Any], tuple[Any, list[str]]]  # a record → the record in its strict form, and what was read


def read_images(records: list[Any], issues: Issues) -> dict[int, Image]:
    """Return the images by id.

    Raises:
        UserError: a file name leads out of the image folder.
    """
    return _read(records, "image", "id", _image, issues, [_read_own_id])


def read_annotations(records: list[Any], names: Mapping[str, int], issues: Issues) -> dict[int, Annotation]:
    """Return the annotations by id.

    Args:
        records: the raw records.
        names: names of image files → ids, as `forms.name_images` returns.
        issues: what is wrong with a record is added to it.
    """
    return _read(records, "annotation", "id", _annotation, issues, [lambda each: read_image_id(each, names)])


def read_categories(records: list[Any], issues: Issues) -> dict[int, Category]:
    """Return the categories by id."""
    return _read(records, "category", "id", _category, issues)


def read_refs(records: list[Any], names: Mapping[str, int], issues: Issues) -> dict[int, Ref]:
    """Return the refs by id; the arguments are those of `read_annotations`."""
    return _read(records, "ref", "ref_id", _ref, issues, [lambda each: read_image_id(each, names)])


def _read(
    records: list[Any],
    what: str,
    id_key: str,
    parse: Callable[[dict[str, Any]], Record],
    issues: Issues,
    forms: Iterable[Form] = (),
) -> dict[int, Record]:
    """Return the well-formed records with a unique id, by id, in the file's order."""
    parsed = []
    for index, record in enumerate(records):
        place, read = f"{what} #{index}", list[str]()
        for form in (read_numbers, *forms):
            record, keys = form(record)
            read += keys
        named = name_record(record, id_key, place)
        place = (place if named == place else f"{what} {named}") + FOUND_IN[what]
        try:
            parsed.append(parse(record))
        except MalformedError as error:
            issues.add(f"malformed_{what}", named, f"{place}: {error}")
            continue
        if read:
            given = ", ".join(f"{key} {show_value(records[index].get(key))}" for key in read)
            issues.add("number_form", named, f"{place}: {given}")
    return _keep_unique(parsed, what, issues)


def _keep_unique(records: Iterable[Record], what: str, issues: Issues) -> dict[int, Record]:
    """Return the records by id: one of identical records, none of records that disagree."""
    kept: dict[int, Record] = {}
    conflicting = set()
    for record in records:
        first = kept.setdefault(record.id, record)
        if first is record:
            continue
        if _equal(first, record):
            issues.add(f"duplicate_{what}", record.id, f"{what} {record.id}")
        else:
            issues.add(f"conflicting_{what}", record.id, f"{what} {record.id}")
            conflicting.add(record.id)
    return {key: record for key, record in kept.items() if key not in conflicting}


def _equal(first: object, second: object) -> bool:
    try:
        return first == second
    except RecursionError:  # lists nested too deeply, or in themselves
        return False


def _read_own_id(record: Any) -> tuple[Any, list[str]]:
    """Return an image's record with the number in its file's name as its id, where it has no number."""
    if not isinstance(record, dict) or not isinstance(record.get("id"), str | None):
        return record, []
    number = number_of_image(record["file_name"]) if isinstance(record.get("file_name"), str) else None
    return (record, []) if number is None else ({**record, "id": number}, ["id"])


def _image(record: dict[str, Any]) -> Image:
    sides = [get_value(record, key) for key in ("height", "width")]
    if not all(sides):  # None, or 0 as some tools write
        sides = [0, 0]
    else:
        sides = [get_integer(record, key, 1, LARGEST_SIDE) for key in ("height", "width")]
    return Image(get_integer(record, "id"), _file_name(record), *sides)


def _file_name(record: dict[str, Any]) -> str:
    name = get_text(record, "file_name")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.name in ("", ".") or set(name) & set("\\:\0"):
        raise UserError(
            f"instances.json names the image file {name[:80]!r}: it must lie in the image folder, and be "
            "written relative to it with / between folders; do not trust such a file from somebody else"
        )
    return str(path)


def _annotation(record: dict[str, Any]) -> Annotation:
    segmentation = get_value(record, "segmentation")
    if segmentation is None and _box(record):
        raise MalformedError("it has a bbox but no segmentation, and a box is not a mask")
    if not isinstance(segmentation, list | dict):
        raise MalformedError(f"segmentation is {show_value(segmentation)}")
    return Annotation(
        get_integer(record, "id"),
        get_integer(record, "image_id"),
        _category_id(record),
        _box(record),
        segmentation,
    )


def _category(record: dict[str, Any]) -> Category:
    return Category(get_integer(record, "id"), get_text(record, "name"))


def _ref(record: dict[str, Any]) -> Ref:
    sentences = get_value(record, "sentences")
    if not isinstance(sentences, list | tuple):
        raise MalformedError(f"sentences is {show_value(sentences)}")
    return Ref(
        get_integer(record, "ref_id"),
        get_integer(record, "image_id"),
        get_integer(record, "ann_id"),
        _category_id(record),
        get_text(record, "split"),
        list(sentences),
    )


def _category_id(record: dict[str, Any]) -> int | None:
    """Return the category's id; None where it is missing or not an id, as a mask needs no category."""
    value = record.get("category_id")
    return value if type(value) is int else None


def _box(record: dict[str, Any]) -> tuple[float, ...] | None:
    """Return the box; None where it is missing or not a box, as the mask's bounding box replaces it."""
    box = record.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(type(value) in (int, float) for value in box):
        return None
    sound = all(-LARGEST_SIDE <= value <= LARGEST_SIDE for value in box) and box[2] > 0 and box[3] > 0
    return tuple(map(float, box)) if sound else None
