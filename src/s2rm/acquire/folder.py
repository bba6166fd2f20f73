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

from s2rm.acquire.own_folder import annotation_folder, name_setting
from s2rm.config.benchmarks import Benchmark, get_benchmark
from s2rm.core.errors import UserError
from s2rm.data.image_zip import ImageFiles
from s2rm.refer.provenance import Provenance, write_provenance
from s2rm.refer.raw_layout import annotation_files, mentioned_images, pack_images


def lay_out_folder(folder: Path, benchmarks: list[str], raw: Path) -> None:
    """Copy the benchmarks' annotations and images into the raw layout; repeating it is harmless.

    A single missing image is not an error here: `prepare` reports it.

    Args:
        folder: the user's folder.
        benchmarks: names of the benchmarks.
        raw: the folder to write into.

    Raises:
        UserError: see `require_folder`; nothing is written.
    """
    require_folder(folder, benchmarks)
    specs = [get_benchmark(name) for name in benchmarks]
    mentioned: dict[str, set[str]] = {}
    for spec in specs:
        source, target = annotation_folder(folder, spec), raw / spec.name
        mentioned.setdefault(spec.images, set()).update(mentioned_images(source, spec))
        target.mkdir(parents=True, exist_ok=True)
        for name in annotation_files(spec):
            _copy(source / name, target / name)
        write_provenance(target, Provenance("folder"))
    for images, names in mentioned.items():
        pack_images(ImageFiles(folder), images, names, raw / f"{images}.zip")


def require_folder(folder: Path, benchmarks: list[str]) -> None:
    """Check that a folder has the annotation files and the image folders of the benchmarks.

    Args:
        folder: the user's folder.
        benchmarks: names of the benchmarks.

    Raises:
        UserError: the folder, an annotation file or a whole image folder is missing; the message says where
            each must be placed.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: set {name_setting()} to a folder of REFER data")
    missing = [place for name in benchmarks for place in _find_missing(folder, get_benchmark(name))]
    if missing:
        raise UserError(f"{folder} lacks REFER data: place " + " and ".join(map(str, dict.fromkeys(missing))))


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise UserError(f"{source} cannot be copied to {target}: {error.strerror}") from None


def _find_missing(folder: Path, spec: Benchmark) -> list[Path]:
    """Return the missing paths, files first."""
    source = annotation_folder(folder, spec)
    files = [source / name for name in annotation_files(spec) if not (source / name).is_file()]
    images = folder / spec.images
    return files if images.is_dir() or images.with_name(f"{images.name}.zip").is_file() else [*files, images]
