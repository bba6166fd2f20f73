"""The layout of raw data that `prepare` reads, and packing a benchmark's images into it.

<raw>/<benchmark>/refs(<split_by>).p, instances.json, origin.json
<raw>/<images>.zip                                                the mentioned images, as one zip
"""

import logging
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from s2rm.config.benchmarks import Benchmark
from s2rm.data.image_zip import ImageFiles, ImageZipWriter, MissingFileError
from s2rm.refer import records
from s2rm.refer.forms import name_images, read_split
from s2rm.refer.issues import Issues
from s2rm.refer.referents import load_instances, load_refs

logger = logging.getLogger(__name__)


def annotation_files(benchmark: Benchmark) -> tuple[str, str]:
    """Return the names of a benchmark's two annotation files: refs, then instances."""
    return f"refs({benchmark.split_by}).p", "instances.json"


def mentioned_images(folder: Path, benchmark: Benchmark) -> set[str]:
    """Return the file names of the images that the refs of the benchmark's splits mention.

    Records with issues are ignored here: `prepare` reports them.

    Args:
        folder: the folder of the annotation files.
        benchmark: names the files and the splits.

    Raises:
        UserError: an annotation file cannot be read, or an image's name leads out of the image folder.
    """
    refs_file, instances_file = annotation_files(benchmark)
    images = records.read_images(load_instances(folder / instances_file)["images"], Issues())
    names = name_images((image.id, image.file_name) for image in images.values())
    refs = records.read_refs(load_refs(folder / refs_file), names, Issues())
    splits = benchmark.splits
    mentioned = {ref.image_id for ref in refs.values() if read_split(ref.split, splits) in splits}
    return {images[image_id].file_name for image_id in mentioned & images.keys()}


def pack_images(files: ImageFiles, folder: str, names: Iterable[str], target: Path) -> None:
    """Write images into one zip; a missing one is left out here and reported by `prepare`.

    An image that is not there is looked for under its name without folders, and in another case (0.jpg for
    train2014/0.JPG); it is written under the name that the records use. One line says so.

    Args:
        files: the files to read from.
        folder: the image folder, relative to the root of `files`.
        names: the images' names in that folder.
        target: the zip to write.

    Raises:
        UserError: an image cannot be read.
    """
    others: dict[str, str] | None = None
    renamed = []
    with ImageZipWriter(target) as image_zip:
        for name in tqdm(sorted(names), desc=f"packing {target.name}", unit="image", disable=None):
            try:
                image_zip.add(name, files.read(f"{folder}/{name}"))
                continue
            except MissingFileError:
                others = _index_names(files.names(folder)) if others is None else others
            plain = name.lower()
            other = others.get(plain) or others.get(PurePosixPath(plain).name)
            if other is not None:
                image_zip.add(name, files.read(f"{folder}/{other}"))
                renamed.append(f"{name!r} is {other!r}")
    if renamed:
        logger.warning(
            "%s: %d × image found under another name (first: %s)", folder, len(renamed), renamed[0]
        )


def _index_names(names: Iterable[str]) -> dict[str, str]:
    """Map path and name of each file, in lower case, to the file; what fits two files is left out."""
    found: dict[str, str] = {}
    twice = set()
    for name in names:
        for plain in {name.lower(), PurePosixPath(name.lower()).name}:
            if found.setdefault(plain, name) != name:
                twice.add(plain)
    return {plain: name for plain, name in found.items() if plain not in twice}
