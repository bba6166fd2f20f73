"""Pictures of the expressions that one model finds and the other does not."""

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from s2rm.compare.paired import RIGHT, Paired
from s2rm.compare.sources import Source, SplitKey
from s2rm.core.errors import UserError
from s2rm.data.image_zip import ImageFiles
from s2rm.data.images import decode_image
from s2rm.data.rle import decode
from s2rm.data.table import load_table
from s2rm.reporting.overlays import PREDICTION, TRUTH, overlay

EACH = 6  # pictures of either kind, over all splits
SIDE = 320  # pixels of the longer side
COLUMNS = ["split", "sent_id", "ref_id", "image_path", "height", "width", "expression", "mask_rle"]


@dataclass(frozen=True)
class Picture:
    """An expression with the true mask and both predictions."""

    expression: str
    title: str
    iou: tuple[float, float]
    """Percent, of the first trainings."""
    images: tuple[str, str, str]
    """Truth, first, second, as WebP in data URLs."""


def draw_differences(
    paired: list[Paired],
    first: Source,
    second: Source,
    *,
    titles: Mapping[SplitKey, str],
    prepared: Path,
    raw: Path,
) -> tuple[list[Picture], list[Picture]]:
    """Draw what the first model alone finds, and what the second alone finds.

    The rule: of all splits those with the largest difference of IoU, one for each referent.

    Args:
        paired: the comparison.
        first: the first training of the first model.
        second: that of the second.
        titles: the names of the splits, for people.
        prepared: folder of the prepared tables.
        raw: the folder that image paths start from.
    """
    tables = {
        each.key: load_table(prepared / f"{each.key[0]}.parquet", COLUMNS, splits=[each.key[1]]).set_index(
            "sent_id"
        )
        for each in paired
    }
    for each in paired:
        if not np.isin(each.sent_id, tables[each.key].index).all():
            raise UserError(
                f"{first.name} was scored on other expressions of {'-'.join(each.key)} than {prepared} has: "
                "pictures need those data"
            )
    images = ImageFiles(raw)
    return (
        list(_draw(paired, (first, second), 0, titles, tables, images)),
        list(_draw(paired, (first, second), 1, titles, tables, images)),
    )


def _draw(
    paired: list[Paired],
    sources: tuple[Source, Source],
    winner: int,
    titles: Mapping[SplitKey, str],
    tables: Mapping[SplitKey, pd.DataFrame],
    images: ImageFiles,
) -> Iterator[Picture]:
    candidates = []
    for number, each in enumerate(paired):
        own, other = each.iou_first[winner], each.iou_first[1 - winner]
        for found in np.flatnonzero((own >= RIGHT) & (other < RIGHT)).tolist():
            candidates.append((float(own[found] - other[found]), number, found))
    candidates.sort(key=lambda each: (-each[0], each[1], each[2]))
    seen: set[tuple[str, int]] = set()
    for _, number, place in candidates:
        if len(seen) == EACH:
            return
        each = paired[number]
        row = tables[each.key].loc[each.sent_id[place]]
        referent = str(row["image_path"]), int(row["ref_id"])
        if referent in seen:
            continue
        seen.add(referent)
        image = decode_image(images.read(row["image_path"]), row["image_path"])
        size = int(row["height"]), int(row["width"])
        masks = [decode(row["mask_rle"], *size)]
        for source in sources:
            masks.append(_decode(source, each.key, place, size))
        colours = (TRUTH, PREDICTION, PREDICTION)
        drawn = [_encode(overlay(image, mask, colour)) for mask, colour in zip(masks, colours, strict=True)]
        yield Picture(
            expression=str(row["expression"]),
            title=titles[each.key],
            iou=(100 * float(each.iou_first[0][place]), 100 * float(each.iou_first[1][place])),
            images=(drawn[0], drawn[1], drawn[2]),
        )


def _decode(source: Source, key: SplitKey, place: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        return decode(source.scores[key]["predicted_rle"].iloc[place], *size)
    except (ValueError, TypeError, AttributeError) as error:
        sent_id = source.scores[key]["sent_id"].iloc[place]
        raise UserError(f"{source.name}: the mask of sent_id {sent_id} cannot be read: {error}") from None


def _encode(image: Image.Image) -> str:
    image.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
