"""One benchmark: raw REFER data → a table with a row an expression, and its statistics.

    <raw>/<benchmark>/refs(<split_by>).p        <output>/<benchmark>.parquet   table.SCHEMA
    <raw>/<benchmark>/instances.json        →   <output>/<benchmark>.json      counts, issues, provenance
    <raw>/<benchmark>/origin.json
    <raw>/images/….zip

The same input gives the same bytes. A mask is made once a ref, as run lengths; no bitmap is drawn.
"""

import json
import logging
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
from s2rm.data.table import SCHEMA
from s2rm.refer.check_images import keep_readable
from s2rm.refer.issues import Issues
from s2rm.refer.masks import Mask, rasterise
from s2rm.refer.provenance import read_provenance
from s2rm.refer.referents import Referent, load_instances, load_refs, read_referents
from s2rm.refer.referit import load_queries
from s2rm.refer.split_sizes import check_official

logger = logging.getLogger(__name__)


def prepare(benchmark: str, raw: Path, output: Path, params: Preprocess) -> dict[str, Any]:
    """Writes the table and the statistics of a benchmark, and returns the statistics.

    `UserError` where a file is missing or corrupt, where nothing usable is left, where the counts of
    genuine data are not the official ones (unless `params.statistics=warn`), and, with
    `params.faults=refuse`, where there is any issue; then nothing is written.
    """
    spec, issues = get_benchmark(benchmark), Issues()
    folder = raw / benchmark
    provenance = read_provenance(folder)
    if provenance.route == "queries":
        refs, instances = load_queries(folder, issues)
    else:
        refs = load_refs(folder / f"refs({spec.split_by}).p")
        instances = load_instances(folder / "instances.json")
    referents = read_referents(refs, instances, spec, params.sentence, issues)
    del refs, instances  # a gigabyte of full-size RefCOCO
    referents = keep_readable(referents, ImageFiles(raw), spec.images, issues)
    referents.sort(key=lambda ref: (spec.splits.index(ref.split), ref.image.id, ref.ref_id))
    masked = _rasterise_all(referents, issues)
    if params.faults == "refuse":
        issues.refuse(str(folder))
    found = issues.report()
    if not masked:
        kinds = ", ".join(f"{kind} {issue['count']}" for kind, issue in found.items())
        raise UserError(f"{folder}: no usable expression ({kinds or 'no refs'})")

    table = _tabulate(masked, spec)
    counts = _count(table.drop_columns(["box", "mask_rle"]).to_pandas(), spec)
    differences = []
    if provenance.genuine:
        refuse = params.statistics == "refuse"
        differences = check_official(benchmark, provenance.route, counts, refuse=refuse, issues=found)
    for kind, issue in found.items():
        logger.info("%s: %s %d (%s)", benchmark, kind, issue["count"], issue["rule"])
    for difference in differences:
        logger.warning("%s", difference)
    statistics = {
        "benchmark": benchmark,
        "origin": asdict(provenance),
        "sentence": params.sentence,
        "splits": counts,
        "official": differences,
        "faults": found,
    }
    replace(output / f"{benchmark}.parquet", lambda path: pq.write_table(table, path, compression="zstd"))
    text = json.dumps(statistics, indent=2, ensure_ascii=False) + "\n"
    replace_text(output / f"{benchmark}.json", text)
    return statistics


def _rasterise_all(referents: list[Referent], issues: Issues) -> list[tuple[Referent, Mask]]:
    """Each referent with its mask; those that have none are reported and left out."""
    masked = []
    for referent in tqdm(referents, desc="masks", unit="ref", disable=None):
        image, annotation = referent.image, referent.annotation
        detail = f"annotation of ref {referent.ref_id}"
        try:
            mask = rasterise(annotation.segmentation, image.height, image.width)
        except SegmentationError as error:
            repairs = error.repairs
            issues.add(error.kind, annotation.id, f"{detail}: {error}")
        else:
            repairs = mask.repairs
            masked.append((referent, mask))
        for kind in repairs:
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
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=SCHEMA)


def _count(table: pd.DataFrame, spec: Benchmark) -> dict[str, dict[str, int | float]]:
    """split → images, refs, expressions; tokens (words) per expression; over refs, the mean share of
    the image that the mask covers; over images, the share of those that are not square. Splits
    without an expression are absent.
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
