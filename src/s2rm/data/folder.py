"""A user's folder of REFER data → the raw layout that `prepare` reads.

    <folder>/refcoco/refs(unc).p            <raw>/refcoco_unc/refs(unc).p
    <folder>/refcoco/instances.json    →    <raw>/refcoco_unc/instances.json
    <folder>/images/mscoco/images/…         <raw>/images/mscoco/images/…

The left side is the layout of the REFER API (github.com/lichengunc/refer); annotations that already
lie in `<folder>/refcoco_unc/` are taken first. Of the images, only those that the refs mention come
over, as copies: a hard link would let DVC's cache make the user's own files read-only.
"""

import shutil
from pathlib import Path

from tqdm import tqdm

from s2rm.benchmarks import Benchmark, get_benchmark
from s2rm.data import records
from s2rm.data.faults import Faults
from s2rm.data.refer import load_instances, load_refs
from s2rm.errors import UserError


def lay_out_folder(folder: Path, benchmarks: list[str], raw: Path) -> None:
    """Brings the benchmarks' annotations and images from `folder` into `raw`; a repetition is harmless.

    `UserError` where an annotation file or a whole image folder is missing, saying where each must be
    placed; then nothing is written. A single missing image is left to `prepare`, which reports it.
    """
    if not folder.is_dir():
        raise UserError(f"the data folder {folder} is missing: set data.folder to a folder of REFER data")
    specs = [get_benchmark(name) for name in benchmarks]
    missing = [place for spec in specs for place in _find_missing(folder, spec)]
    if missing:
        raise UserError(f"{folder} lacks REFER data: place " + " and ".join(map(str, dict.fromkeys(missing))))
    for spec in specs:
        source, target = _annotation_folder(folder, spec), raw / spec.name
        target.mkdir(parents=True, exist_ok=True)
        names = _mentioned_images(source, spec)
        for name in _annotation_files(spec):
            _bring(source / name, target / name)
        for name in tqdm(names, desc=f"images of {spec.name}", unit="image", disable=None):
            if (folder / spec.images / name).is_file():
                _bring(folder / spec.images / name, raw / spec.images / name)


def _annotation_files(spec: Benchmark) -> tuple[str, str]:
    return f"refs({spec.split_by}).p", "instances.json"


def _annotation_folder(folder: Path, spec: Benchmark) -> Path:
    own = folder / spec.name
    return own if own.is_dir() else folder / spec.dataset


def _find_missing(folder: Path, spec: Benchmark) -> list[Path]:
    """The places, files first, where something must be put."""
    source = _annotation_folder(folder, spec)
    files = [source / name for name in _annotation_files(spec) if not (source / name).is_file()]
    images = folder / spec.images
    return files if images.is_dir() else [*files, images]


def _mentioned_images(source: Path, spec: Benchmark) -> list[str]:
    """File names of the images that the refs of the used splits mention, sorted. Faulty records are left to
    `prepare`, but a name that leads out of the image folder ends it here (`UserError`).
    """
    refs_file, instances_file = _annotation_files(spec)
    images = records.read_images(load_instances(source / instances_file)["images"], Faults())
    refs = records.read_refs(load_refs(source / refs_file), Faults())
    mentioned = {ref.image_id for ref in refs.values() if ref.split in spec.splits}
    return sorted(images[image_id].file_name for image_id in mentioned & images.keys())


def _bring(source: Path, target: Path) -> None:
    """Puts `source` at `target`, replacing what is there."""
    source = source.resolve()  # a link to the file, not to a link to it
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
