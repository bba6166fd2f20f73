"""Reads predicted masks of any model from a file: JSON, JSON lines, CSV or Parquet.

A record names an expression and gives a mask:

    {"sent_id": 17, "segmentation": {"size": [480, 640], "counts": "…"}}
    {"ref_id": 5, "sentence": "left man", "segmentation": [[x, y, x, y, …]]}
    {"file_name": "COCO_train2014_000000581857.jpg", "expression": "left man", "mask": "masks/17.png"}

Keys have the names of COCO's results, of REFER and of the usual evaluation scripts (`ALIASES`).
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2rm.core.errors import UserError
from s2rm.refer.forms import show_value

# Ours → what files call it; the first that a record has is taken.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "sent_id": ("sent_id", "sentence_id"),
    "ref_id": ("ref_id",),
    "image": ("file_name", "image", "image_path", "img_name", "image_id"),
    "expression": ("expression", "sentence", "sent", "text", "phrase", "query", "caption"),
    "mask": ("segmentation", "mask", "mask_path", "rle", "pred_mask", "predicted_rle"),
    "score": ("score",),
}
# What an evaluation records of each prediction, see `s2rm.evaluation.scores`.
RECORDED = ("intersection_model", "union_model", "intersection_original", "union_original")
LISTS = ("predictions", "annotations", "results")  # keys of an object that holds the list of records
LARGEST = 4 * 2**30  # bytes of a file that is read at once


@dataclass(frozen=True)
class Prediction:
    """One record, as it was read."""

    place: str
    """Where it stands, for messages."""
    sent_id: int | None
    ref_id: int | None
    image: str | None
    """The name or the number of the image."""
    expression: str | None
    mask: Any
    """An RLE, polygons, or the path of an image file."""
    score: float | None
    """0…1."""
    recorded: Mapping[str, int] | None = None
    """`RECORDED` → pixels, where the record has all of them."""


class Repeated(dict[str, Any]):
    """An object of JSON that has a key twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def read_predictions(path: Path) -> Iterator[Prediction]:
    """Yield the records of a file.

    Args:
        path: ends in .json, .jsonl, .csv or .parquet.

    Raises:
        UserError: the file cannot be read, or a record names no expression or gives no mask.
    """
    readers = {".json": _read_json, ".jsonl": _read_lines, ".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"{path}: predictions are read from {', '.join(readers)}, not from {path.suffix or 'it'}"
        )
    try:
        if not path.is_file():
            raise UserError(f"{path} does not exist")
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path} has more than {LARGEST // 2**30} GiB: split it")
        for number, record in reader(path):
            yield _decode(record, f"{path.name}: record {number}")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def _read_json(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        content = _parse(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        raise UserError(
            f"{path} is not JSON: {error}; a file with one record per line is called .jsonl"
        ) from None
    if isinstance(content, dict):
        lists = [key for key in LISTS if isinstance(content.get(key), list)]
        if lists:
            content = content[lists[0]]
        else:  # sent_id → mask
            pairs = content.pairs if isinstance(content, Repeated) else content.items()
            content = [{"sent_id": key, "mask": value} for key, value in pairs]
    if not isinstance(content, list):
        raise UserError(f"{path} holds no list of predictions")
    yield from enumerate(content, start=1)


def _read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield number, _parse(line)
            except ValueError as error:
                raise UserError(f"{path}: line {number} is not JSON: {error}") from None


def _parse(text: str) -> Any:
    """Return the content of a JSON text, with a key that an object has twice noticed (`Repeated`)."""

    def gather(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        return found if len(found) == len(pairs) else Repeated(pairs)

    return json.loads(text, object_pairs_hook=gather)


def _read_csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        usual = csv.field_size_limit(LARGEST)  # by default no cell may have more than 131,072 characters
        try:
            for number, row in enumerate(csv.DictReader(lines), start=1):
                record = {key: value for key, value in row.items() if value not in (None, "")}
                for key in ALIASES["mask"]:
                    value = record.get(key)
                    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
                        record[key] = _parse(value)
                yield number, record
        except (csv.Error, ValueError) as error:
            if isinstance(error, UnicodeDecodeError):
                raise
            raise UserError(f"{path} cannot be read as CSV: {error}") from None
        finally:
            csv.field_size_limit(usual)


def _read_parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(4096):
                for record in batch.to_pylist():
                    number += 1
                    yield number, {key: value for key, value in record.items() if value is not None}
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise UserError(
            f"{path} is not a readable Parquet file: {' '.join(str(error).split())[:200]}"
        ) from None


def _decode(record: Any, place: str) -> Prediction:
    if not isinstance(record, dict):
        raise UserError(f"{place} is not an object with keys but {show_value(record)}")
    if isinstance(record, Repeated):
        raise UserError(f"{place} has a key twice: {', '.join(key for key, _ in record.pairs)[:80]}")
    found = {
        ours: next((record[key] for key in keys if record.get(key) is not None), None)
        for ours, keys in ALIASES.items()
    }
    if found["mask"] is not None and found["mask"] is record.get("predicted_rle"):
        found["mask"] = {"counts": found["mask"]}  # of our own tables of scores
    if found["mask"] is None:
        raise UserError(f"{place} gives no mask: it must have one of {', '.join(ALIASES['mask'])}")
    if found["sent_id"] is None and (
        found["expression"] is None or (found["ref_id"] is None and found["image"] is None)
    ):
        raise UserError(
            f"{place} names no expression: it must have sent_id, ref_id and sentence, or file_name and "
            "expression"
        )
    return Prediction(
        place=place,
        sent_id=_whole(found["sent_id"], "sent_id", place),
        ref_id=_whole(found["ref_id"], "ref_id", place),
        image=None if found["image"] is None else _name(found["image"]),
        expression=None if found["expression"] is None else str(found["expression"]),
        mask=found["mask"],
        score=_score(found["score"], place),
        recorded=_recorded(record, place),
    )


def _name(value: Any) -> str:
    """Return the name of an image, or its number, which some libraries write as 17.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _whole(value: Any, key: str, place: str) -> int | None:
    if value is None:
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, bool) or (isinstance(value, float) and number != value):
        raise UserError(f"{place}: {key} is {show_value(value)}, not a whole number")
    return number


def _score(value: Any, place: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if not 0 <= number <= 1:  # NaN is neither
        raise UserError(f"{place}: score is {show_value(value)}, not a number in 0…1")
    return number


def _recorded(record: Mapping[str, Any], place: str) -> Mapping[str, int] | None:
    found = {}
    for key in RECORDED:
        number = _whole(record.get(key), key, place)
        if number is None:
            return None
        found[key] = number
    return found
