"""The catalog: what is listed, how a mistake in it is reported, what is pinned."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from s2rm.acquire.archives.catalog import load_catalog
from s2rm.config.benchmarks import BENCHMARKS
from s2rm.core.errors import UserError

OURS = Path(__file__).parents[3] / "archives.yaml"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(OURS, tmp_path / "archives.yaml"))


def change(path: Path, key: str, value: Any) -> None:
    tree = yaml.safe_load(path.read_text())
    *sections, last = (part.replace("~", "/") for part in key.split("/"))
    place = tree
    for section in sections:
        place = place[section]
    place[last] = value
    path.write_text(yaml.safe_dump(tree))


def test_ours_has_every_benchmark_with_sources_licences_and_citations() -> None:
    catalog = load_catalog(OURS)
    for benchmark in BENCHMARKS:
        for name in catalog.files(benchmark, "refer").all:
            archive = catalog.archive(name)
            assert archive.source
            assert archive.licence
            assert archive.citation
    assert "referitdata.tar.gz" in catalog.files("referit_berkeley", "queries").all
    assert catalog.archive("train2014.zip").checksum == ("md5", "0da8c0bd3d6becc4dcb32757491aca88")
    assert {"timm/swin_base_patch4_window12_384.ms_in22k", "google-bert/bert-base-uncased"} <= set(
        yaml.safe_load(OURS.read_text())["weights"]
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("archives/refcoco.zip/mirrors", [], r"archives\.refcoco\.zip\.mirrors"),
        ("archives/refcoco.zip/mirrors", ["ftp://a.org/x"], r"is not an http\(s\) URL"),
        ("archives/refcoco.zip/mirrors", ["file:///etc/passwd"], r"is not an http\(s\) URL"),
        ("archives/refcoco.zip/sha256", "abc", r"refcoco\.zip\.sha256"),
        ("archives/refcoco.zip/size", -1, r"refcoco\.zip\.size"),
        ("archives/refcoco.zip/licence", None, r"refcoco\.zip\.licence"),
        ("archives/refcoco.zip/sha265", "abc", r"refcoco\.zip\.sha265: Extra inputs"),
        ("archives/..%2Fpasswd", {}, "archives"),
        ("routes/refcoco_unc/refer/images", "train2015.zip", r"names train2015\.zip, which archives lacks"),
        ("routes/refcoco_unc/refer/annotations", ["refclef.zip"], r"refclef\.zip lack refs\(unc\)\.p"),
        ("routes/refcoco_cnu", {}, "refcoco_cnu"),
        (
            "weights/google-bert~bert-base-uncased/revision",
            "main",
            r"weights\.google-bert/bert-base-uncased\.revision",
        ),
    ],
)
def test_a_mistake_is_named_in_one_line(path: Path, key: str, value: Any, message: str) -> None:
    change(path, key, value)
    with pytest.raises(UserError, match=message) as caught:
        load_catalog(path)
    assert "\n" not in str(caught.value)


def test_credentials_in_an_address_are_refused_and_not_repeated(path: Path) -> None:
    change(path, "archives/refcoco.zip/mirrors", ["https://me:hunter2@example.org/refcoco.zip"])
    with pytest.raises(UserError, match="holds credentials: write") as caught:
        load_catalog(path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["[", "- a\n- b\n", "\xff", ""])
def test_a_file_that_is_not_a_catalog_is_named(path: Path, text: str) -> None:
    path.write_text(text, encoding="latin1")
    with pytest.raises(UserError, match=r"archives\.yaml"):
        load_catalog(path)
    path.unlink()
    with pytest.raises(UserError, match="cannot read the catalog"):
        load_catalog(path)


def test_a_route_that_is_not_there(path: Path) -> None:
    with pytest.raises(UserError, match="no route 'queries' for refcoco_unc"):
        load_catalog(path).files("refcoco_unc", "queries")


def test_pins_are_kept_beside_the_catalog_and_enforced(path: Path) -> None:
    catalog = load_catalog(path)
    assert catalog.archive("refclef.zip").checksum is None
    catalog.pin("refclef.zip", "ab" * 32, 7)
    catalog.pin_revision("some/model", "cd" * 20)
    for each in (catalog, load_catalog(path)):
        assert each.archive("refclef.zip").checksum == ("sha256", "ab" * 32)
        assert each.archive("refclef.zip").size == 7
        assert each.revisions()["some/model"] == "cd" * 20
    assert json.loads((path.parent / "archives.lock").read_text())["archives"]["refclef.zip"]["size"] == 7


def test_what_the_catalog_knows_takes_precedence_over_a_pin(path: Path) -> None:
    catalog = load_catalog(path)
    catalog.pin("refcoco.zip", "ab" * 32, 7)
    change(path, "weights/google-bert~bert-base-uncased/revision", "ef" * 20)
    catalog.pin_revision("google-bert/bert-base-uncased", "cd" * 20)
    known = load_catalog(path)
    assert known.archive("refcoco.zip").checksum == catalog.archive("refcoco.zip").checksum
    assert known.archive("refcoco.zip").sha256 != "ab" * 32
    assert known.revisions()["google-bert/bert-base-uncased"] == "ef" * 20


def test_pins_of_many_threads_are_all_kept(path: Path) -> None:
    catalog = load_catalog(path)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: catalog.pin_revision(f"model/{i}", f"{i:040x}"), range(50)))
    assert len(json.loads(path.with_suffix(".lock").read_text())["weights"]) == 50


@pytest.mark.parametrize("text", ["[]", "{", '{"other": {}}', '{"archives": []}'])
def test_a_broken_lock_is_named(path: Path, text: str) -> None:
    path.with_suffix(".lock").write_text(text)
    with pytest.raises(UserError, match=r"archives\.lock"):
        load_catalog(path)
