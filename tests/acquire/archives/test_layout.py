"""Archives become the raw layout: only what is needed, once, from whatever folders an archive has."""

import json
import logging
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty_server import FaultyServer
from PIL import Image
from served import QUERIES, tar_of, write_catalog, zip_of
from tiny_queries import TinyQueries
from tiny_refer import TinyRefer

from s2rm.acquire.archives.catalog import load_catalog
from s2rm.acquire.archives.layout import lay_out_archives
from s2rm.acquire.archives.store import ArchiveStore
from s2rm.config.params import Preprocess
from s2rm.core.errors import UserError
from s2rm.data.image_zip import ZipImages
from s2rm.data.table import load_table
from s2rm.refer.prepare import prepare
from s2rm.refer.provenance import read_provenance
from s2rm.transfer.fetch import Patience

PARAMS = Preprocess(sentence="sent", faults="repair", statistics="warn")
QUICK = Patience(connect=2, stall=1, attempts=2, first_wait=0.01, longest_wait=0.02)


class Served:
    """Archives of the tiny data on a server; `lay_out` is what the download stage does."""

    def __init__(self, root: Path, tiny: TinyRefer, server: FaultyServer) -> None:
        self.root, self.server, self.raw = root, server, root / "out"
        tiny.write()
        refs = (tiny.folder / "refs(unc).p").read_bytes()
        instances = (tiny.folder / "instances.json").read_bytes()
        images = {path.name: path.read_bytes() for path in tiny.images.iterdir()}
        self.images = {**images, "unused.png": images["1.png"]}
        self.archives = {
            "refcoco.zip": zip_of({"refcoco/refs(unc).p": refs, "refcoco/instances.json": instances}),
            "refcocog.zip": zip_of(
                {
                    "refcocog/": b"",
                    "refcocog/refs(umd).p": refs,
                    "refcocog/refs(google).p": refs,
                    "__MACOSX/refcocog/._instances.json": b"resource fork",
                    "refcocog/instances.json": instances,
                }
            ),
            "train2014.zip": zip_of({f"train2014/{name}": data for name, data in self.images.items()}),
        }
        self.publish()

    def publish(self, **changes: dict[str, Any]) -> None:
        for name, data in self.archives.items():
            (self.server.folder / name).write_bytes(data)
        self.catalog = write_catalog(self.root / "archives.yaml", self.server.url, self.archives, **changes)

    def lay_out(self, *benchmarks: str, referit: Any = "refer", **options: Any) -> ArchiveStore:
        shutil.rmtree(self.raw, ignore_errors=True)
        keep = options.pop("keep_archives", False)
        store = ArchiveStore(self.root / "store", load_catalog(self.catalog), patience=QUICK, **options)
        lay_out_archives(store, list(benchmarks), self.raw, referit=referit, keep_archives=keep)
        return store

    @property
    def image_zip(self) -> Path:
        return self.raw / "images/mscoco/images/train2014.zip"


@pytest.fixture
def served(tmp_path: Path, tiny_refer: TinyRefer, faulty_server: FaultyServer) -> Served:
    return Served(tmp_path, tiny_refer, faulty_server)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_archives_become_what_prepare_reads(served: Served, tmp_path: Path) -> None:
    served.lay_out("refcoco_unc", "refcocog_umd", "refcocog_google")
    assert files(served.raw) == {
        *(f"{name}/instances.json" for name in ("refcoco_unc", "refcocog_umd", "refcocog_google")),
        *(f"{name}/origin.json" for name in ("refcoco_unc", "refcocog_umd", "refcocog_google")),
        "refcoco_unc/refs(unc).p",
        "refcocog_umd/refs(umd).p",
        "refcocog_google/refs(google).p",
        "images/mscoco/images/train2014.zip",
    }
    image_zip = ZipImages(served.image_zip)
    assert {name: image_zip.read(name) for name in image_zip.names()} == {
        name: served.images[name] for name in ("1.png", "2.png")
    }
    for benchmark in ("refcoco_unc", "refcocog_umd"):
        statistics = prepare(benchmark, served.raw, tmp_path / "prepared", PARAMS)
        assert statistics["faults"] == {}
        assert statistics["origin"]["source"] == "archives"
        assert statistics["origin"]["archives"].keys() == {f"{benchmark.split('_')[0]}.zip", "train2014.zip"}
        assert "refcoco" in statistics["official"][0], "tiny data is not the official benchmark"


def test_the_official_counts_are_asked_for_by_default(served: Served, tmp_path: Path) -> None:
    served.lay_out("refcoco_unc")
    params = Preprocess(sentence="sent", faults="repair", statistics="refuse")
    with pytest.raises(UserError, match=r"train +refs +42,404 +2"):
        prepare("refcoco_unc", served.raw, tmp_path / "prepared", params)
    assert not (tmp_path / "prepared").exists()


def test_nothing_is_there_twice(served: Served) -> None:
    store = served.lay_out("refcocog_umd", "refcocog_google")
    first, second = (served.raw / name / "instances.json" for name in ("refcocog_umd", "refcocog_google"))
    assert first.samefile(second)
    assert not store.path("train2014.zip").exists(), "its images are packed"
    held = list((store.folder / "packs").rglob("*.zip"))
    assert len(held) == 1
    assert held[0].samefile(served.image_zip)


def test_a_repetition_fetches_nothing_and_gives_the_same_bytes(served: Served) -> None:
    served.lay_out("refcoco_unc")
    before = {name: (served.raw / name).read_bytes() for name in files(served.raw)}
    asked = len(served.server.requests)
    served.lay_out("refcoco_unc", offline=True)
    assert {name: (served.raw / name).read_bytes() for name in files(served.raw)} == before
    assert len(served.server.requests) == asked


def test_another_benchmark_that_needs_more_images_fetches_their_archive_again(served: Served) -> None:
    refs = pickle.loads((served.root / "raw/refcoco_unc/refs(unc).p").read_bytes())
    few = pickle.dumps([ref for ref in refs if ref["image_id"] == 1], protocol=2)
    instances = (served.root / "raw/refcoco_unc/instances.json").read_bytes()
    served.archives["refcoco.zip"] = zip_of({"refs(unc).p": few, "instances.json": instances})
    served.publish()
    served.lay_out("refcoco_unc")
    assert list(ZipImages(served.image_zip).names()) == ["1.png"]
    served.lay_out("refcoco_unc", "refcocog_umd")
    assert list(ZipImages(served.image_zip).names()) == ["1.png", "2.png"]
    served.lay_out("refcoco_unc", offline=True)
    assert list(ZipImages(served.image_zip).names()) == ["1.png", "2.png"], "more than are needed do no harm"


def test_what_earlier_benchmarks_asked_for_stays_in_the_zip(served: Served) -> None:
    refs = pickle.loads((served.root / "raw/refcoco_unc/refs(unc).p").read_bytes())
    instances = (served.root / "raw/refcoco_unc/instances.json").read_bytes()
    for name, split_by, image in (("refcoco.zip", "unc", 1), ("refcocog.zip", "umd", 2)):
        few = pickle.dumps([ref for ref in refs if ref["image_id"] == image], protocol=2)
        served.archives[name] = zip_of({f"refs({split_by}).p": few, "instances.json": instances})
    served.publish()
    served.lay_out("refcoco_unc")
    served.lay_out("refcocog_umd")
    served.lay_out("refcoco_unc", offline=True)
    assert list(ZipImages(served.image_zip).names()) == ["1.png", "2.png"]


def test_image_archives_are_kept_if_asked_and_those_placed_by_hand_always(served: Served) -> None:
    store = served.lay_out("refcoco_unc", keep_archives=True)
    assert store.path("train2014.zip").exists()
    shutil.rmtree(store.folder)
    store.folder.mkdir()
    store.path("train2014.zip").write_bytes(served.archives["train2014.zip"])
    assert served.lay_out("refcoco_unc").path("train2014.zip").exists()


def test_an_image_that_the_archive_lacks_is_logged_and_left_to_prepare(
    served: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    served.archives["train2014.zip"] = zip_of({"train2014/2.png": served.images["2.png"]})
    served.publish()
    served.lay_out("refcoco_unc")
    assert "lacks 1 of the 2 files" in caplog.text
    issues = prepare("refcoco_unc", served.raw, tmp_path / "prepared", PARAMS)["faults"]
    assert issues["image_missing"]["ids"] == [1]
    asked = len(served.server.requests)
    served.lay_out("refcoco_unc")
    assert len(served.server.requests) == asked, "it would lack it again"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"refs(unc).p": b"x"}, r"lacks instances\.json"),
        (
            {"a/refs(unc).p": b"x", "b/refs(unc).p": b"x", "instances.json": b"{}"},
            r"two files refs\(unc\)\.p",
        ),
        ({"../refs(unc).p": b"x", "instances.json": b"{}"}, "do not trust this file"),
    ],
)
@pytest.mark.hostile
def test_an_annotation_archive_that_is_another_one(
    served: Served, members: dict[str, bytes], message: str
) -> None:
    served.archives["refcoco.zip"] = zip_of(members)
    served.publish()
    with pytest.raises(UserError, match=message):
        served.lay_out("refcoco_unc")
    assert not served.image_zip.exists()


@pytest.mark.hostile
def test_two_images_of_one_name_are_refused(served: Served) -> None:
    served.archives["train2014.zip"] = zip_of({"a/1.png": b"x", "b/1.png": b"x", "2.png": b"x"})
    served.publish()
    with pytest.raises(UserError, match=r"two files 1\.png"):
        served.lay_out("refcoco_unc")
    assert not served.image_zip.exists()


@pytest.mark.hostile
def test_a_pickle_that_runs_code_is_never_run(served: Served, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return Path.touch, (tmp_path / "executed",)  # type: ignore[return-value]

    instances = (served.root / "raw/refcoco_unc/instances.json").read_bytes()
    served.archives["refcoco.zip"] = zip_of(
        {"refs(unc).p": pickle.dumps(Evil()), "instances.json": instances}
    )
    served.publish()
    with pytest.raises(UserError, match="not a pickle of plain data"):
        served.lay_out("refcoco_unc")
    assert not (tmp_path / "executed").exists()


def test_referit_by_its_original_files(served: Served, tmp_path: Path) -> None:
    queries = TinyQueries(tmp_path / "queries")
    queries.write()
    jpeg = {}
    for name, (width, height) in json.loads((queries.folder / "referit_imsize.json").read_text()).items():
        path = tmp_path / name
        Image.fromarray(np.zeros((height, width, 3), dtype=np.uint8)).save(path)
        jpeg[name] = path.read_bytes()
    masks = ZipImages(queries.folder / "masks.zip")
    members = {f"./mask/{name}": masks.read(name) for name in masks.names()}
    members |= {f"./images/{name}": data for name, data in jpeg.items()} | {"./images/999.jpg": b"unused"}
    served.archives = {name: (queries.folder / name).read_bytes() for name in QUERIES}
    served.archives["referitdata.tar.gz"] = tar_of(members)
    served.publish()
    served.lay_out("referit_berkeley", referit="queries")
    assert read_provenance(served.raw / "referit_berkeley").route == "queries"
    image_zip = ZipImages(served.raw / "images/saiapr_tc-12.zip")
    assert "999.jpg" not in image_zip
    statistics = prepare("referit_berkeley", served.raw, tmp_path / "prepared", PARAMS)
    assert statistics["faults"] == {}
    table = load_table(tmp_path / "prepared/referit_berkeley.parquet")
    assert set(table["mask_area"]) == {24}, "the foreground of a .mat is 0"
    asked = len(served.server.requests)
    served.lay_out("referit_berkeley", referit="queries", offline=True)
    assert len(served.server.requests) == asked


def test_two_clones_that_share_a_folder_of_archives_take_turns(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stores = [
        ArchiveStore(served.root / "shared", load_catalog(served.catalog), patience=QUICK) for _ in range(3)
    ]

    def lay_out(number: int) -> None:
        lay_out_archives(
            stores[number], ["refcoco_unc"], served.root / f"{number}", referit="refer", keep_archives=False
        )

    with ThreadPoolExecutor(3) as clones:
        list(clones.map(lay_out, range(3)))
    assert [request.path for request in served.server.requests].count("/train2014.zip") == 1
    assert "another process is using" in caplog.text
    zips = [served.root / f"{number}" / "images/mscoco/images/train2014.zip" for number in range(3)]
    assert all(image_zip.samefile(zips[0]) for image_zip in zips)
