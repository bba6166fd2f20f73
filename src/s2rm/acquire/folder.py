"""Copies a user's folder of REFER data into the raw layout that `prepare` reads.

    <folder>/refcoco/refs(unc).p            <raw>/refcoco_unc/refs(unc).p
    <folder>/refcoco/instances.json    →    <raw>/refcoco_unc/instances.json
    <folder>/images/mscoco/images/…         <raw>/images/mscoco/images/….zip

The left side is the layout of the REFER API (github.com/lichengunc/refer); annotations in
`<folder>/refcoco_unc/` are preferred where they exist. Only the images that the refs mention are copied.
The user's files are never linked: DVC's cache would make them read-only.
"""

import shutil
from pathlib import Path

from s2rm.config.benchmarks import Benchmark, get_benchmark
from s2rm.core.errors import UserError
from s2rm.data.image_zip import ImageFiles
from s2rm.refer.provenance import Provenance, write_provenance
from s2rm.refer.raw_layout import annotation_files, mentioned_images, pack_images


def lay_out_folder(folder: Path, benchmarks: list[str], raw: Path) -> None:
    """Copy the benchmarks' annotations and images into the raw layout; repeating it is harmless.

    A single missing image is not an error here: `prepare` reports it. A leading ~ means the home folder.

    Args:
        folder: the user's folder.
        benchmarks: names of the benchmarks.
        raw: the folder to write into.

    Raises:
        UserError: an annotation file or a whole image folder is missing; the message says where each must be
            placed, and nothing is written.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise UserError(f"the data folder {folder} is missing: set data.folder to a folder of REFER data")
    specs = [get_benchmark(name) for name in benchmarks]
    missing = [place for spec in specs for place in _find_missing(folder, spec)]
    if missing:
        raise UserError(f"{folder} lacks REFER data: place " + " and ".join(map(str, dict.fromkeys(missing))))
    mentioned: dict[str, set[str]] = {}
    for spec in specs:
        source, target = _annotation_folder(folder, spec), raw / spec.name
        mentioned.setdefault(spec.images, set()).update(mentioned_images(source, spec))
        target.mkdir(parents=True, exist_ok=True)
        for name in annotation_files(spec):
            _copy(source / name, target / name)
        write_provenance(target, Provenance("folder"))
    for images, names in mentioned.items():
        pack_images(ImageFiles(folder), images, names, raw / f"{images}.zip")


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise UserError(f"{source} cannot be copied to {target}: {error.strerror}") from None


def _annotation_folder(folder: Path, spec: Benchmark) -> Path:
    own = folder / spec.name
    return own if own.is_dir() else folder / spec.dataset


def _find_missing(folder: Path, spec: Benchmark) -> list[Path]:
    """Return the missing paths, files first."""
    source = _annotation_folder(folder, spec)
    files = [source / name for name in annotation_files(spec) if not (source / name).is_file()]
    images = folder / spec.images
    return files if images.is_dir() or images.with_name(f"{images.name}.zip").is_file() else [*files, images]
