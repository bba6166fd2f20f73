"""Prepares one benchmark: raw REFER data → a table with one row per expression, one of objects, statistics.

    <raw>/<benchmark>/refs(<split_by>).p       <output>/<benchmark>.parquet          table.SCHEMA
    <raw>/<benchmark>/instances.json       →   <output>/<benchmark>-objects.parquet  table.OBJECT_SCHEMA
    <raw>/<benchmark>/origin.json              <output>/<benchmark>.json             counts, issues, origin
    <raw>/images/….zip

The same input gives the same bytes. Each annotation is rasterised once, to run lengths; no bitmap is drawn.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from s2rm.config.benchmarks import Benchmark, get_benchmark
from s2rm.config.params import Preprocess
from s2rm.core.errors import UserError
from s2rm.core.files import replace, replace_text
from s2rm.data.image_zip import ImageFiles
from s2rm.data.rle import SegmentationError
from s2rm.data.table import OBJECT_SCHEMA, SCHEMA
from s2rm.refer.check_images import keep_readable
from s2rm.refer.issues import Issues
from s2rm.refer.masks import Mask, rasterise
from s2rm.refer.provenance import read_provenance
from s2rm.refer.records import Annotation, Image
from s2rm.refer.referents import (
    Instances,
    Referent,
    count_expressions,
    load_instances,
    load_refs,
    read_instances,
    read_referents,
)
from s2rm.refer.referit import load_queries, mentioned_crops
from s2rm.refer.split_sizes import COUNTS_STAND, check_official

logger = logging.getLogger(__name__)

MOST_LEFT_OUT = 0.5  # of the expressions: beyond it the data are refused
SAID_LEFT_OUT = 0.05  # beyond it the stage's last line says so


def prepare(benchmark: str, raw: Path, output: Path, params: Preprocess) -> dict[str, Any]:
    """Write the two tables and the statistics of a benchmark, and return the statistics.

    Args:
        benchmark: its name.
        raw: the folder of raw data (`s2rm.refer.raw_layout`).
        output: the folder of prepared data.
        params: which sentences are taken, and what is refused.

    Raises:
        UserError: a file is missing or corrupt; most expressions are unusable; the counts of genuine data are
            not the official ones (unless `params.statistics` is "warn"); or there is any issue (with
            `params.faults` "refuse"). Nothing is written then.
    """
    spec, issues = get_benchmark(benchmark), Issues()
    folder = raw / benchmark
    provenance = read_provenance(folder)
    if provenance.route == "queries":
        refs, lists = load_queries(folder, issues)
        given = sum(len(crop.sentences) for crop in mentioned_crops(folder))
    else:
        refs = load_refs(folder / f"refs({spec.split_by}).p")
        lists = load_instances(folder / "instances.json")
        given = count_expressions(refs, spec)
    instances = read_instances(lists, issues)
    referents = read_referents(refs, instances, spec, params.sentence, issues)
    del refs, lists  # hundreds of megabytes at RefCOCO's full size
    referents = keep_readable(referents, ImageFiles(raw), spec.images, issues)
    referents.sort(key=lambda ref: (spec.splits.index(ref.split), ref.image.id, ref.ref_id))
    masks = _Masks()
    masked = _rasterise_all(referents, masks, issues)
    if params.faults == "refuse":
        issues.refuse(str(folder))
    found = issues.report()
    if not masked:
        reasons = issues.summarise(COUNTS_STAND) or "no refs"
        raise UserError(f"{folder}: no usable expression: {reasons}")

    table = _tabulate(masked, spec)
    left_out = given - len(table)
    share = f"{left_out:,} of {given:,} expressions ({100 * left_out / given:.1f} %)"
    if left_out > MOST_LEFT_OUT * given:
        raise UserError(
            f"{folder}: {share} cannot be used, more than half: {issues.summarise(COUNTS_STAND)}; correct "
            "these records, or take them out of the data"
        )
    counts = _count(table.drop_columns(["box", "mask_rle"]).to_pandas(), spec)
    differences = []
    if provenance.genuine:
        refuse = params.statistics == "refuse"
        differences = check_official(benchmark, provenance.route, counts, refuse=refuse, issues=found)
    for kind, issue in found.items():
        logger.info(
            "%s: %d × %s (first: %s): %s", benchmark, issue["count"], kind, issue["first"], issue["rule"]
        )
    for difference in differences:
        logger.warning("%s", difference)
    images = {ref.image.id: ref.image for ref, _ in masked}
    objects, without_mask = _tabulate_objects(instances, images, masks, spec)
    statistics = {
        "benchmark": benchmark,
        "origin": asdict(provenance),
        "sentence": params.sentence,
        "splits": counts,
        "left_out": left_out,
        "objects": {"objects": len(objects), "without_mask": without_mask},
        "official": differences,
        "faults": found,
    }
    for name, written in ((benchmark, table), (f"{benchmark}-objects", objects)):
        _write(output / f"{name}.parquet", written)
    text = json.dumps(statistics, indent=2, ensure_ascii=False) + "\n"
    replace_text(output / f"{benchmark}.json", text)
    if left_out > SAID_LEFT_OUT * given:
        logger.warning("%s: %s are left out: %s", benchmark, share, issues.summarise(COUNTS_STAND))
    return statistics


class _Masks:
    """Rasterises each annotation once, however many refs and tables need its mask."""

    def __init__(self) -> None:
        self._made: dict[int, Mask | SegmentationError] = {}

    def of(self, annotation: Annotation, image: Image) -> Mask | SegmentationError:
        """Return the mask of an annotation of that image, or the error that says why there is none."""
        if annotation.id not in self._made:
            try:
                self._made[annotation.id] = rasterise(annotation.segmentation, image.height, image.width)
            except SegmentationError as error:
                self._made[annotation.id] = error.with_traceback(None)  # which would keep the frames alive
        return self._made[annotation.id]


def _rasterise_all(referents: list[Referent], masks: _Masks, issues: Issues) -> list[tuple[Referent, Mask]]:
    """Return each referent with its mask; those that have none are reported and left out."""
    masked = []
    for referent in tqdm(referents, desc="masks", unit="ref", disable=None):
        annotation, detail = (
            referent.annotation,
            f"annotation {referent.annotation.id} of ref {referent.ref_id}",
        )
        mask = masks.of(annotation, referent.image)
        if isinstance(mask, SegmentationError):
            issues.add(mask.kind, annotation.id, f"{detail}: {mask}")
        else:
            masked.append((referent, mask))
        for kind in mask.repairs:
            issues.add(kind, annotation.id, detail)
    return masked


def _tabulate(masked: list[tuple[Referent, Mask]], spec: Benchmark) -> pa.Table:
    rows = [
        (
            spec.name,
            ref.split,
            ref.image.id,
            f"{spec.images}/{ref.image.file_name}",
            ref.image.height,
            ref.image.width,
            ref.ref_id,
            ref.annotation.id,
            sentence.id,
            sentence.expression,
            ref.category,
            ref.annotation.box or mask.box,
            mask.counts,
            mask.area,
        )
        for ref, mask in masked
        for sentence in ref.sentences
    ]
    return _to_arrow(rows, SCHEMA)


def _tabulate_objects(
    instances: Instances, images: Mapping[int, Image], masks: _Masks, spec: Benchmark
) -> tuple[pa.Table, int]:
    """Return the table of all objects on these images, and how many more there are that have no mask.

    An object that nothing refers to never makes the data refused, whatever is wrong with it.
    """
    annotations = [each for each in instances.annotations.values() if each.image_id in images]
    annotations.sort(key=lambda annotation: (annotation.image_id, annotation.id))
    rows = []
    for annotation in tqdm(annotations, desc="objects", unit="object", disable=None):
        image = images[annotation.image_id]
        mask = masks.of(annotation, image)
        if isinstance(mask, SegmentationError):
            continue
        rows.append(
            (
                spec.name,
                image.id,
                f"{spec.images}/{image.file_name}",
                image.height,
                image.width,
                annotation.id,
                instances.category_of(annotation),
                annotation.box or mask.box,
                mask.counts,
                mask.area,
            )
        )
    return _to_arrow(rows, OBJECT_SCHEMA), len(annotations) - len(rows)


def _to_arrow(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema)


def _write(path: Path, table: pa.Table) -> None:
    replace(path, lambda partial: pq.write_table(table, partial, compression="zstd"))


def _count(table: pd.DataFrame, spec: Benchmark) -> dict[str, dict[str, int | float]]:
    """Return the counts of each split that has an expression.

    Per split: images, refs, expressions; tokens (words) per expression; over refs, the mean share of the
    image that the mask covers; over images, the share of those that are not square.
    """
    counts: dict[str, dict[str, int | float]] = {}
    for split in spec.splits:
        rows = table[table["split"] == split]
        if rows.empty:
            continue
        tokens = rows["expression"].map(lambda expression: len(expression.split()))
        refs, images = rows.drop_duplicates("ref_id"), rows.drop_duplicates("image_id")
        counts[split] = {
            "images": len(images),
            "refs": len(refs),
            "expressions": len(rows),
            "tokens_mean": round(float(tokens.mean()), 4),
            "tokens_max": int(tokens.max()),
            "mask_share_mean": round(float((refs["mask_area"] / (refs["height"] * refs["width"])).mean()), 6),
            "not_square_share": round(float((images["height"] != images["width"]).mean()), 6),
        }
    return counts
