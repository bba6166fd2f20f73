"""The store: archives that exist, are verified, placed by hand or missing, and what is reported."""

import hashlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from faulty_server import Answer, FaultyServer

from s2rm.acquire.archives.catalog import Catalog, load_catalog
from s2rm.acquire.archives.store import ArchiveStore
from s2rm.core.errors import UserError
from s2rm.transfer.fetch import Patience

QUICK = Patience(connect=2, stall=1, attempts=2, first_wait=0.01, longest_wait=0.02)
FACTS = {"needs": ["it"], "source": "tests", "licence": "none", "citation": "none"}

pytestmark = pytest.mark.faults


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


CONTENT = {f"{name}.zip": zipped(content=name.encode() * 5000) for name in ("a", "b", "c")}
MakeStore = Callable[..., ArchiveStore]


@pytest.fixture
def make_catalog(tmp_path: Path, faulty_server: FaultyServer) -> Callable[..., Catalog]:
    """a.zip and b.zip with checksums, c.zip without; `changes` by archive."""
    for name, data in CONTENT.items():
        (faulty_server.folder / name).write_bytes(data)

    def make(**changes: dict[str, Any]) -> Catalog:
        archives: dict[str, Any] = {
            name: {
                "mirrors": [f"{faulty_server.url}/gone/{name}", f"{faulty_server.url}/{name}"],
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                **FACTS,
            }
            for name, data in CONTENT.items()
        }
        del archives["c.zip"]["sha256"], archives["c.zip"]["size"]
        for name, change in changes.items():
            archives[f"{name}.zip"] |= change
        path = tmp_path / "archives.yaml"
        path.write_text(yaml.safe_dump({"archives": archives, "routes": {}, "weights": {}}))
        return load_catalog(path)

    return make


@pytest.fixture
def make_store(tmp_path: Path, make_catalog: Callable[..., Catalog]) -> MakeStore:
    def make(catalog: Catalog | None = None, **options: Any) -> ArchiveStore:
        return ArchiveStore(tmp_path / "store", catalog or make_catalog(), patience=QUICK, **options)

    return make


def held(store: ArchiveStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.folder.glob("*.zip")}


def test_archives_come_from_the_first_mirror_that_has_them(
    make_store: MakeStore, faulty_server: FaultyServer
) -> None:
    store = make_store()
    store.fetch(CONTENT)
    assert held(store) == CONTENT
    asked = len(faulty_server.requests)
    store.fetch(CONTENT)
    make_store().fetch(CONTENT)
    assert len(faulty_server.requests) == asked, "what is verified is not asked for again"


def test_what_has_no_checksum_is_pinned_and_then_enforced(
    make_store: MakeStore, faulty_server: FaultyServer, tmp_path: Path
) -> None:
    store = make_store()
    store.fetch(["c.zip"])
    pinned = json.loads((tmp_path / "archives.lock").read_text())["archives"]["c.zip"]
    assert pinned == {"sha256": hashlib.sha256(CONTENT["c.zip"]).hexdigest(), "size": len(CONTENT["c.zip"])}
    other = zipped(content=b"o" * 5000)
    (faulty_server.folder / "c.zip").write_bytes(other)
    elsewhere = ArchiveStore(tmp_path / "elsewhere", load_catalog(tmp_path / "archives.yaml"), patience=QUICK)
    with pytest.raises(UserError, match="expected"):
        elsewhere.fetch(["c.zip"])
    assert held(elsewhere) == {}


@pytest.mark.parametrize(
    "content", [b"<html>please log in</html>", b"", CONTENT["c.zip"][:-40], b"\x1f\x8b" + b"a" * 99]
)
def test_a_file_that_is_not_an_archive_is_never_pinned(
    make_store: MakeStore, faulty_server: FaultyServer, tmp_path: Path, content: bytes
) -> None:
    faulty_server.always("c.zip", Answer(content=content))
    with pytest.raises(UserError, match=r"c\.zip \(size not known, no checksum known"):
        make_store().fetch(["c.zip"])
    assert not (tmp_path / "archives.lock").exists()


def test_one_that_cannot_be_fetched_leaves_the_others_and_says_what_to_place_where(
    make_store: MakeStore, faulty_server: FaultyServer
) -> None:
    faulty_server.always("b.zip", Answer(status=503))
    store = make_store()
    with pytest.raises(UserError) as caught:
        store.fetch(CONTENT)
    assert held(store).keys() == {"a.zip", "c.zip"}
    message = str(caught.value)
    assert "1 of 3 archives could not be fetched" in message
    digest = hashlib.sha256(CONTENT["b.zip"]).hexdigest()
    assert f"b.zip ({len(CONTENT['b.zip']):,} bytes, sha256:{digest})" in message
    assert f"{faulty_server.url}/gone/b.zip: answers 404 Not Found" in message
    assert f"{faulty_server.url}/b.zip: answers 503 Service Unavailable" in message
    assert f"place it by hand as {store.folder / 'b.zip'}" in message


def test_offline_takes_what_is_placed_by_hand_and_lists_what_is_missing(
    make_store: MakeStore, faulty_server: FaultyServer
) -> None:
    store = make_store(offline=True)
    store.folder.mkdir()
    (store.folder / "a.zip").write_bytes(CONTENT["a.zip"])
    store.fetch(["a.zip"])
    with pytest.raises(UserError, match="offline, and these archives are missing") as caught:
        store.fetch(CONTENT)
    assert "a.zip (" not in str(caught.value)
    assert f"place it by hand as {store.folder / 'c.zip'}" in str(caught.value)
    (store.folder / "b.zip").write_bytes(CONTENT["b.zip"])
    (store.folder / "c.zip").write_bytes(CONTENT["c.zip"])
    store.fetch(CONTENT)
    assert store.checksum("c.zip") == f"sha256:{hashlib.sha256(CONTENT['c.zip']).hexdigest()}"
    assert faulty_server.requests == []


def test_a_wrong_file_placed_by_hand_is_set_aside_not_used_nor_lost(make_store: MakeStore) -> None:
    store = make_store()
    store.folder.mkdir()
    wrong = b"x" * len(CONTENT["a.zip"])
    (store.folder / "a.zip").write_bytes(wrong)
    store.fetch(["a.zip"])
    assert held(store) == {"a.zip": CONTENT["a.zip"]}
    assert (store.folder / "a.zip.wrong").read_bytes() == wrong


def test_a_file_that_was_changed_after_it_was_verified_is_verified_again(make_store: MakeStore) -> None:
    store = make_store()
    store.fetch(["a.zip"])
    path = store.path("a.zip")
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(0, 0))
    store.fetch(["a.zip"])
    assert held(store) == {"a.zip": CONTENT["a.zip"]}


def test_a_changed_checksum_in_the_catalog_asks_again(
    make_store: MakeStore, make_catalog: Callable[..., Catalog], faulty_server: FaultyServer
) -> None:
    make_store().fetch(["a.zip"])
    newer = zipped(content=b"newer" * 3000)
    (faulty_server.folder / "a.zip").write_bytes(newer)
    sha256 = hashlib.sha256(newer).hexdigest()
    store = make_store(make_catalog(a={"sha256": sha256, "size": len(newer)}))
    store.fetch(["a.zip"])
    assert held(store) == {"a.zip": newer}


def test_md5_is_enforced_too(make_store: MakeStore, make_catalog: Callable[..., Catalog]) -> None:
    right = hashlib.md5(CONTENT["c.zip"]).hexdigest()
    make_store(make_catalog(c={"md5": right})).fetch(["c.zip"])
    store = make_store(make_catalog(c={"md5": right[::-1]}))
    store.path("c.zip").unlink()
    with pytest.raises(UserError, match=f"md5 is {right}"):
        store.fetch(["c.zip"])


def test_a_full_disk_is_reported_before_anything_is_requested(
    make_store: MakeStore, make_catalog: Callable[..., Catalog], faulty_server: FaultyServer
) -> None:
    with pytest.raises(UserError, match=r"is too small: 1000000\.\d GB are needed") as caught:
        make_store(make_catalog(a={"size": 10**15})).fetch(CONTENT)
    assert "S2RM_ARCHIVES" in str(caught.value)
    with pytest.raises(UserError, match="is too small"):
        make_store().fetch(CONTENT, kept=10**15)
    assert faulty_server.requests == []


def test_the_need_is_stated_first(make_store: MakeStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    make_store().fetch(CONTENT, kept=3_000_000_000)
    first = caplog.messages[0]
    assert first.startswith("to fetch: 0.00 GB in 3 archives (the size of c.zip is not known)")
    assert "space for the images: about 3.0 GB; free in" in first


def test_the_users_own_mirror_is_tried_first_with_its_secret(
    make_store: MakeStore,
    make_catalog: Callable[..., Catalog],
    faulty_server: FaultyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    (faulty_server.folder / "own").mkdir()
    (faulty_server.folder / "own" / "a.zip").write_bytes(CONTENT["a.zip"])
    monkeypatch.setenv("S2RM_MIRROR", f"{faulty_server.url}/own/")
    monkeypatch.setenv("S2RM_MIRROR_TOKEN", "hunter2")
    monkeypatch.setenv("S2RM_ARCHIVES", str(tmp_path / "elsewhere"))
    store = ArchiveStore.from_environment(tmp_path / "default", make_catalog(), offline=False)
    assert store.folder == tmp_path / "elsewhere"
    store.patience = QUICK
    store.fetch(["a.zip", "b.zip"])
    by_path = {request.path: request.headers.get("authorization") for request in faulty_server.requests}
    assert by_path == {
        "/own/a.zip": "Bearer hunter2",
        "/own/b.zip": "Bearer hunter2",
        "/gone/b.zip": None,
        "/b.zip": None,
    }
    assert "hunter2" not in caplog.text + repr(store)


def test_a_mirror_of_the_catalog_may_name_its_secret(
    make_store: MakeStore,
    make_catalog: Callable[..., Catalog],
    faulty_server: FaultyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mirrors = [{"url": f"{faulty_server.url}/a.zip?key=abc", "token": "LAB_TOKEN"}]
    faulty_server.always("a.zip", Answer(status=403))
    monkeypatch.setenv("LAB_TOKEN", "hunter2")
    with pytest.raises(UserError, match="answers 403") as caught:
        make_store(make_catalog(a={"mirrors": mirrors})).fetch(["a.zip"])
    assert faulty_server.requests[0].headers["authorization"] == "Bearer hunter2"
    assert "hunter2" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_only_what_was_fetched_is_removed(make_store: MakeStore) -> None:
    store = make_store()
    store.folder.mkdir()
    (store.folder / "a.zip").write_bytes(CONTENT["a.zip"])
    store.fetch(["a.zip", "b.zip"])
    store.remove_fetched("a.zip")
    store.remove_fetched("b.zip")
    assert held(store).keys() == {"a.zip"}
