"""From REFER's records to referents: objects with an image, a mask and the expressions that refer to them.

The links of every record are checked: ref → image, annotation, category; annotation → image, category.
What is amiss is reported to a `Issues`, whose RULES say what becomes of it. The image files are checked
in `readable`, the masks where they are made, in `prepare`.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from s2rm.config.benchmarks import Benchmark
from s2rm.core.errors import UserError
from s2rm.core.files import load_json
from s2rm.refer import records
from s2rm.refer.issues import Issues
from s2rm.refer.pickles import load_pickle
from s2rm.refer.records import Annotation, Image, Ref, Sentence


@dataclass(frozen=True, slots=True)
class Referent:
    """A ref whose image and annotation exist, with at least one expression."""

    ref_id: int
    split: str
    image: Image
    annotation: Annotation
    category: str  # "" where unknown
    sentences: tuple[Sentence, ...]


def load_refs(path: Path) -> list[Any]:
    """The raw refs of a `refs(<split_by>).p`."""
    refs = load_pickle(path)
    if not isinstance(refs, list):
        raise UserError(f"{path} holds {type(refs).__name__}, not REFER's list of refs")
    return refs


def load_instances(path: Path) -> dict[str, list[Any]]:
    """The raw lists `images`, `annotations` and `categories` of an `instances.json`."""
    instances = load_json(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(instances, dict) or not isinstance(instances.get(key), list):
            raise UserError(f"{path} has no list {key!r}: it is no instances.json of REFER")
    return instances


def read_referents(
    refs: list[Any],
    instances: dict[str, list[Any]],
    benchmark: Benchmark,
    sentence: Literal["sent", "raw"],
    issues: Issues,
) -> list[Referent]:
    """The usable refs of the benchmark's splits, in the file's order.

    `refs` and `instances` are as `load_refs` and `load_instances` give them; `sentence`
    is what becomes the expression: `sent`, cleaned, or `raw`, as typed.
    """
    images = records.read_images(instances["images"], issues)
    categories: dict[int | None, str] = {
        category.id: category.name
        for category in records.read_categories(instances["categories"], issues).values()
    }
    annotations = records.read_annotations(instances["annotations"], issues)
    _check_annotations(annotations, images, categories, issues)
    linked = [
        ref
        for ref in records.read_refs(refs, issues).values()
        if _check_links(ref, benchmark, images, annotations, issues)
    ]
    sentences = defaultdict(list)
    for found in records.read_sentences(linked, sentence, issues).values():
        sentences[found.ref_id].append(found)

    referents = []
    for ref in linked:
        if ref.id not in sentences:
            issues.add("ref_without_sentences", ref.id)
            continue
        annotation = annotations[ref.ann_id]
        if ref.category_id != annotation.category_id:
            issues.add("category_conflict", ref.id, f"{ref.category_id} in the ref")
        category = categories.get(annotation.category_id, "")
        referents.append(
            Referent(ref.id, ref.split, images[ref.image_id], annotation, category, tuple(sentences[ref.id]))
        )
    return referents


def _check_annotations(
    annotations: dict[int, Annotation],
    images: dict[int, Image],
    categories: dict[int | None, str],
    issues: Issues,
) -> None:
    for annotation in annotations.values():
        if annotation.image_id not in images:
            issues.add("dangling_image", annotation.id, f"annotation of image {annotation.image_id}")
        if annotation.category_id not in categories:
            issues.add("category_unknown", annotation.id, f"annotation of category {annotation.category_id}")
        if annotation.box is None:
            issues.add("box_unknown", annotation.id, "bbox is no x, y, width, height")


def _check_links(
    ref: Ref,
    benchmark: Benchmark,
    images: dict[int, Image],
    annotations: dict[int, Annotation],
    issues: Issues,
) -> bool:
    """Whether the ref is of a split that is used, and its image and annotation are there and agree."""
    if ref.split not in benchmark.splits:  # equality: REFER's own filter takes testAB for testA
        issues.add("split_not_used", ref.id)
    elif ref.image_id not in images:
        issues.add("dangling_image", ref.id, f"ref of image {ref.image_id}")
    elif ref.ann_id not in annotations:
        issues.add("dangling_annotation", ref.id, f"ref of annotation {ref.ann_id}")
    elif annotations[ref.ann_id].image_id != ref.image_id:
        issues.add("annotation_of_other_image", ref.id, f"ref of annotation {ref.ann_id}")
    else:
        return True
    return False
