"""The records of REFER's two files as typed objects, each checked when it is read.

`refs(<split_by>).p` is a list of refs; `instances.json` has lists of images, annotations and categories, as
COCO's. A record that lacks a key, or has a value of the wrong type, is reported and left out; so are records
that share an id. Keys that are not needed are ignored.

https://github.com/lichengunc/refer/blob/master/refer.py
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeVar

from s2rm.core.errors import UserError
from s2rm.refer.issues import Issues

LARGEST_ID = 2**63 - 1  # the table's ids are int64
LARGEST_SIDE = 2**31 - 1  # its heights and widths are int32


class MalformedError(ValueError):
    """A record lacks a key or has a value of the wrong type; the message says which."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image, its size in pixels."""

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


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence that refers to the object of a ref."""

    id: int
    ref_id: int
    expression: str  # white space stripped, single spaces between words


Record = TypeVar("Record", Image, Annotation, Category, Ref, Sentence)


def read_images(records: list[Any], issues: Issues) -> dict[int, Image]:
    """Return the images by id.

    Raises:
        UserError: a file name leads out of the image folder.
    """
    return _read(records, "image", "id", _image, issues)


def read_annotations(records: list[Any], issues: Issues) -> dict[int, Annotation]:
    """Return the annotations by id."""
    return _read(records, "annotation", "id", _annotation, issues)


def read_categories(records: list[Any], issues: Issues) -> dict[int, Category]:
    """Return the categories by id."""
    return _read(records, "category", "id", _category, issues)


def read_refs(records: list[Any], issues: Issues) -> dict[int, Ref]:
    """Return the refs by id."""
    return _read(records, "ref", "ref_id", _ref, issues)


def read_sentences(refs: Iterable[Ref], key: str, issues: Issues) -> dict[int, Sentence]:
    """Return the sentences of all refs by sent_id, which is unique in the file.

    Args:
        refs: the refs whose sentences are read.
        key: the form that becomes the expression, `sent` or `raw`.
        issues: what is wrong with a sentence is added to it.
    """
    sentences = []
    for ref in refs:
        for index, record in enumerate(ref.sentences):
            try:
                sentence = Sentence(_integer(record, "sent_id"), ref.id, _expression(record, key))
            except MalformedError as error:
                place = f"sentence #{index} of ref {ref.id}"
                issues.add("malformed_sentence", _name(record, "sent_id", place), f"{place}: {error}")
                continue
            if not sentence.expression:
                issues.add("empty_expression", sentence.id, f"sentence of ref {ref.id}")
                continue
            if not record[key].strip():
                issues.add("expression_as_typed", sentence.id, f"sentence of ref {ref.id}")
            sentences.append(sentence)
    return _keep_unique(sentences, "sentence", issues)


def _read(
    records: list[Any], what: str, id_key: str, parse: Callable[[dict[str, Any]], Record], issues: Issues
) -> dict[int, Record]:
    """Return the well-formed records with a unique id, by id, in the file's order."""
    parsed = []
    for index, record in enumerate(records):
        try:
            parsed.append(parse(record))
        except MalformedError as error:
            place = f"{what} #{index}"
            issues.add(f"malformed_{what}", _name(record, id_key, place), f"{place}: {error}")
    return _keep_unique(parsed, what, issues)


def _keep_unique(records: Iterable[Record], what: str, issues: Issues) -> dict[int, Record]:
    """Return the records by id: one of identical records, none of records that disagree."""
    kept: dict[int, Record] = {}
    conflicting = set()
    for record in records:
        first = kept.setdefault(record.id, record)
        if first is record:
            continue
        if first == record:
            issues.add(f"duplicate_{what}", record.id)
        else:
            issues.add(f"conflicting_{what}", record.id)
            conflicting.add(record.id)
    return {key: record for key, record in kept.items() if key not in conflicting}


def _image(record: dict[str, Any]) -> Image:
    height, width = (_integer(record, key, 1, LARGEST_SIDE) for key in ("height", "width"))
    return Image(_integer(record, "id"), _file_name(record), height, width)


def _file_name(record: dict[str, Any]) -> str:
    name = _text(record, "file_name")
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or ".." in path.parts
        or str(path) != name
        or name == "."
        or set(name) & set("\\:\0")
    ):
        raise UserError(
            f"instances.json names the image file {name[:80]!r}: it must lie in the image folder; "
            "do not trust this file"
        )
    return name


def _annotation(record: dict[str, Any]) -> Annotation:
    segmentation = _get(record, "segmentation")
    if not isinstance(segmentation, list | dict):
        raise MalformedError(f"segmentation is {type(segmentation).__name__}")
    return Annotation(
        _integer(record, "id"),
        _integer(record, "image_id"),
        _category_id(record),
        _box(record),
        segmentation,
    )


def _category(record: dict[str, Any]) -> Category:
    return Category(_integer(record, "id"), _text(record, "name"))


def _ref(record: dict[str, Any]) -> Ref:
    sentences = _get(record, "sentences")
    if not isinstance(sentences, list):
        raise MalformedError(f"sentences is {type(sentences).__name__}")
    return Ref(
        _integer(record, "ref_id"),
        _integer(record, "image_id"),
        _integer(record, "ann_id"),
        _category_id(record),
        _text(record, "split"),
        sentences,
    )


def _get(record: Any, key: str) -> Any:
    if not isinstance(record, dict):
        raise MalformedError(f"it is {type(record).__name__}, not a record")
    return record.get(key)


def _integer(record: dict[str, Any], key: str, least: int = 0, most: int = LARGEST_ID) -> int:
    value = _get(record, key)
    if type(value) is not int:  # bool is an int, but not an id
        raise MalformedError(f"{key} is {type(value).__name__}")
    if not least <= value <= most:
        raise MalformedError(f"{key} is out of range")
    return value


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


def _text(record: dict[str, Any], key: str) -> str:
    value = _get(record, key)
    if not isinstance(value, str):
        raise MalformedError(f"{key} is {type(value).__name__}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise MalformedError(f"{key} has half a surrogate pair: it is not valid text")
    return value


def _expression(record: dict[str, Any], key: str) -> str:
    """Return the sentence, stripped; where REFER's cleaning left nothing of it, the sentence as typed."""
    text = " ".join(_text(record, key).split())
    if text or not isinstance(record.get("raw"), str):
        return text
    return " ".join(_text(record, "raw").split())


def _name(record: Any, id_key: str, place: str) -> int | str:
    """Return what identifies a malformed record in the report: its id, if it has one, or its position."""
    value = record.get(id_key) if isinstance(record, dict) else None
    return value if type(value) is int and 0 <= value <= LARGEST_ID else place
