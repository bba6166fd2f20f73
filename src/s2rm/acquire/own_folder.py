"""Where one's own data (data.source=folder) lie. It is read at each `dvc repro`, so it loads no library."""

import os
from collections.abc import Sequence
from pathlib import Path

from s2rm.config.benchmarks import Benchmark, get_benchmark
from s2rm.config.params import Data
from s2rm.core.errors import UserError
from s2rm.core.project import RAW

VARIABLE = "S2RM_REAL_DATA"


def find_folder(data: Data, root: Path) -> Path:
    """Return the folder that `$S2RM_REAL_DATA` or `data.folder` names, relative to the project `root`.

    Raises:
        UserError: it lies in data/raw, which the download stage deletes before it copies.
    """
    folder = root / Path(os.environ.get(VARIABLE) or str(data.folder)).expanduser()
    if folder.resolve().is_relative_to((root / RAW).resolve()):
        raise UserError(f"the data folder {folder} lies in {RAW}, which DVC deletes: move it elsewhere")
    return folder


def name_setting() -> str:
    """Return the name of the setting that `find_folder` takes the folder from."""
    return f"${VARIABLE}" if os.environ.get(VARIABLE) else "data.folder"


def list_sources(folder: Path, benchmarks: Sequence[str]) -> list[Path]:
    """Return the files and folders of `folder` that `lay_out_folder` may read, whether or not they exist."""
    sources = []
    for spec in map(get_benchmark, benchmarks):
        images = folder / spec.images
        sources += [annotation_folder(folder, spec), images, images.with_name(f"{images.name}.zip")]
    return list(dict.fromkeys(sources))


def annotation_folder(folder: Path, spec: Benchmark) -> Path:
    """Return the folder of a benchmark's annotations: ours, or else that of the REFER API."""
    own = folder / spec.name
    return own if own.is_dir() else folder / spec.dataset
