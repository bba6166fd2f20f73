"""Archives in the layout of the real ones, from data in the REFER layout, and a catalog that names them."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from s2rm.config.benchmarks import BENCHMARKS

FACTS = {"source": "tests", "licence": "none", "citation": "none"}
QUERIES = [
    "referit_query_train.json",
    "referit_query_val.json",
    "referit_query_test.json",
    "referit_imsize.json",
    "referit_bbox.json",
]
IMAGES = {"train2014.zip": "train2014", "saiapr_tc-12.zip": "saiapr_tc-12"}


def zip_of(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def tar_of(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def write_catalog(path: Path, url: str, archives: Mapping[str, bytes], **changes: Mapping[str, Any]) -> Path:
    """A catalog of these archives at `url`, with all checksums except ReferIt's; `changes` by file name."""
    entries: dict[str, Any] = {}
    for name, data in archives.items():
        needs = ["refs(unc).p", "refs(umd).p", "refs(google).p", "refs(berkeley).p", "instances.json"]
        entries[name] = {"mirrors": [f"{url}/{name.replace('+', '%2B')}"], "needs": needs, **FACTS}
        if not name.startswith("ref") or "coco" in name:
            entries[name] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        entries[name] |= changes.get(name, {})
    routes: dict[str, Any] = {}
    for benchmark in BENCHMARKS.values():
        images = "saiapr_tc-12.zip" if benchmark.dataset == "refclef" else "train2014.zip"
        files = {"annotations": [f"{benchmark.dataset}.zip"], "images": images}
        if {*files["annotations"], images} <= archives.keys():
            routes[benchmark.name] = {"refer": files}
    if "referitdata.tar.gz" in archives:
        queries = {"annotations": QUERIES, "images": "referitdata.tar.gz", "masks": "referitdata.tar.gz"}
        routes.setdefault("referit_berkeley", {})["queries"] = queries
    path.write_text(yaml.safe_dump({"archives": entries, "routes": routes, "weights": {}}))
    return path
