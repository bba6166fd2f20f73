"""The raw layout that `prepare` reads, and how the images of a benchmark come into it.

<raw>/<benchmark>/refs(<split_by>).p, instances.json, origin.json
<raw>/<images>.zip                                                the mentioned images, as one zip
"""

from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from s2rm.config.benchmarks import Benchmark
from s2rm.data.image_zip import ImageFiles, ImageZipWriter, MissingFileError
from s2rm.refer import records
from s2rm.refer.issues import Issues
from s2rm.refer.referents import load_instances, load_refs


def annotation_files(benchmark: Benchmark) -> tuple[str, str]:
    return f"refs({benchmark.split_by}).p", "instances.json"


def mentioned_images(folder: Path, benchmark: Benchmark) -> set[str]:
    """File names of the images that the refs of the used splits mention, of the annotations in `folder`.

    Faulty records are left to `prepare`, but a name that leads out of the image folder ends it here
    (`UserError`).
    """
    refs_file, instances_file = annotation_files(benchmark)
    images = records.read_images(load_instances(folder / instances_file)["images"], Issues())
    refs = records.read_refs(load_refs(folder / refs_file), Issues())
    mentioned = {ref.image_id for ref in refs.values() if ref.split in benchmark.splits}
    return {images[image_id].file_name for image_id in mentioned & images.keys()}


def pack_images(files: ImageFiles, folder: str, names: Iterable[str], target: Path) -> None:
    """Packs `names` of the image folder `folder`; one that is missing is left to `prepare` to report."""
    with ImageZipWriter(target) as image_zip:
        for name in tqdm(sorted(names), desc=f"packing {target.name}", unit="image", disable=None):
            try:
                image_zip.add(name, files.read(f"{folder}/{name}"))
            except MissingFileError:
                continue
