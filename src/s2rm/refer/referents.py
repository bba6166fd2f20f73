"""From REFER's records to referents: objects with an image, an annotation and expressions that refer to them.

The links of every record are checked: ref → image, annotation, category; annotation → image, category. What
is wrong is added to `Issues`, whose RULES say how it is treated. The image files are checked in
`check_images`, the masks in `prepare`, which makes them.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from s2rm.config.benchmarks import Benchmark
from s2rm.core.errors import UserError
from s2rm.core.files import load_json
from s2rm.refer import records
from s2rm.refer.forms import name_images, read_split
from s2rm.refer.issues import Issues
from s2rm.refer.pickles import load_pickle
from s2rm.refer.records import Annotation, Image, Ref
from s2rm.refer.sentences import Sentence, read_sentences


@dataclass(frozen=True, slots=True)
class Referent:
    """A ref whose image and annotation exist, with at least one expression."""

    ref_id: int
    split: str
    image: Image
    annotation: Annotation
    category: str  # "" where unknown
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class Instances:
    """The well-formed records of an `instances.json`, by id."""

    images: dict[int, Image]
    files: dict[str, int]  # names of image files → ids (`forms.name_images`)
    annotations: dict[int, Annotation]
    categories: dict[int | None, str]

    def category_of(self, annotation: Annotation) -> str:
        """Return the name of an annotation's category, "" where it is unknown."""
        return self.categories.get(annotation.category_id, "")


def load_refs(path: Path) -> list[Any]:
    """Return the raw refs of a `refs(<split_by>).p`.

    Raises:
        UserError: the file cannot be read, or does not hold a list of plain data.
    """
    refs = load_pickle(path)
    if not isinstance(refs, list | tuple):
        raise UserError(f"{path} holds {type(refs).__name__}, not REFER's list of refs")
    return list(refs)


def load_instances(path: Path) -> dict[str, list[Any]]:
    """Return the raw lists `images`, `annotations` and `categories` of an `instances.json`.

    Raises:
        UserError: the file cannot be read, or lacks one of the lists.
    """
    instances = load_json(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(instances, dict) or not isinstance(instances.get(key), list):
            raise UserError(f"{path} has no list {key!r}: not a REFER instances.json")
    return instances


def read_instances(raw: dict[str, list[Any]], issues: Issues) -> Instances:
    """Read the raw lists that `load_instances` returns; what is wrong with a record is added to `issues`.

    Raises:
        UserError: an image's file name leads out of the image folder.
    """
    images = records.read_images(raw["images"], issues)
    categories = records.read_categories(raw["categories"], issues)
    names: dict[int | None, str] = {category.id: category.name for category in categories.values()}
    files = name_images((image.id, image.file_name) for image in images.values())
    annotations = records.read_annotations(raw["annotations"], files, issues)
    instances = Instances(images, files, annotations, names)
    _check_annotations(instances, issues)
    return instances


def read_referents(
    refs: list[Any],
    instances: Instances,
    benchmark: Benchmark,
    sentence: Literal["sent", "raw"],
    issues: Issues,
) -> list[Referent]:
    """Return the usable refs of the benchmark's splits, in the file's order.

    Args:
        refs: the raw refs that `load_refs` returns.
        instances: the records that the refs link to.
        benchmark: its splits are used.
        sentence: which form of a sentence becomes the expression: `sent`, cleaned, or `raw`, as typed.
        issues: what is wrong with a record is added to it.
    """
    found = records.read_refs(refs, instances.files, issues)
    lengths = [len(ref.sentences) for ref in found.values()]
    starts = dict(zip(found, accumulate([0, *lengths]), strict=False))
    named = [_name_split(ref, benchmark, issues) for ref in found.values()]
    linked = [ref for ref in named if _check_links(ref, benchmark, instances, issues)]
    sentences = defaultdict(list)
    for each in read_sentences(linked, starts, sentence, issues):
        sentences[each.ref_id].append(each)

    referents = []
    for ref in linked:
        if ref.id not in sentences:
            issues.add("ref_without_sentences", ref.id, f"ref {ref.id}")
            continue
        annotation = instances.annotations[ref.ann_id]
        if ref.category_id != annotation.category_id:
            issues.add("category_conflict", ref.id, f"ref {ref.id} of category {ref.category_id}")
        image, category = instances.images[ref.image_id], instances.category_of(annotation)
        referents.append(Referent(ref.id, ref.split, image, annotation, category, tuple(sentences[ref.id])))
    return referents


def count_expressions(refs: list[Any], benchmark: Benchmark) -> int:
    """Return how many expressions the raw refs of the benchmark's splits hold, usable or not.

    A ref that cannot be read counts as one.
    """
    count = 0
    for ref in refs:
        split = ref.get("split") if isinstance(ref, dict) else None
        if isinstance(split, str) and read_split(split, benchmark.splits) not in benchmark.splits:
            continue
        sentences = ref.get("sentences") if isinstance(ref, dict) else None
        count += max(1, len(sentences)) if isinstance(sentences, list | tuple) else 1
    return count


def _check_annotations(instances: Instances, issues: Issues) -> None:
    for annotation in instances.annotations.values():
        place = f"annotation {annotation.id}"
        if annotation.image_id not in instances.images:
            issues.add("dangling_image", annotation.id, f"{place} of image {annotation.image_id}")
        if annotation.category_id not in instances.categories:
            issues.add("category_unknown", annotation.id, f"{place} of category {annotation.category_id}")
        if annotation.box is None:
            issues.add("box_unknown", annotation.id, f"{place}: bbox is not x, y, width, height")


def _name_split(ref: Ref, benchmark: Benchmark, issues: Issues) -> Ref:
    split = read_split(ref.split, benchmark.splits)
    if split == ref.split:
        return ref
    issues.add("split_form", ref.id, f"ref {ref.id}: {ref.split[:40]!r} is {split}")
    return replace(ref, split=split)


def _check_links(ref: Ref, benchmark: Benchmark, instances: Instances, issues: Issues) -> bool:
    """Return whether the ref's split is used, and its image and annotation exist and agree."""
    place = f"ref {ref.id} of image {ref.image_id}, annotation {ref.ann_id}"
    if ref.split not in benchmark.splits:  # by equality: REFER's own filter takes testAB for testA
        reason = f"ref {ref.id}: split {ref.split[:40]!r} is none of {', '.join(benchmark.splits)}"
        issues.add("split_not_used", ref.id, reason)
    elif ref.image_id not in instances.images:
        issues.add("dangling_image", ref.id, place)
    elif ref.ann_id not in instances.annotations:
        issues.add("dangling_annotation", ref.id, place)
    elif instances.annotations[ref.ann_id].image_id != ref.image_id:
        of = instances.annotations[ref.ann_id].image_id
        issues.add("annotation_of_other_image", ref.id, f"{place}, which is of image {of}")
    else:
        return True
    return False
