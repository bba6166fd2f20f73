"""A user's folder in the layout of the REFER API, or in ours, is copied into the raw layout."""

from pathlib import Path

import pytest
from tiny_refer import TinyRefer

from s2rm.acquire.folder import lay_out_folder
from s2rm.acquire.own_folder import find_folder
from s2rm.config.benchmarks import COCO_IMAGES
from s2rm.config.params import Data, Preprocess
from s2rm.core.errors import UserError
from s2rm.data.image_zip import ImageFiles
from s2rm.refer.prepare import prepare


@pytest.fixture
def user_folder(tiny_refer: TinyRefer) -> Path:
    """RefCOCO and both partitions of RefCOCOg as the REFER API lays them out, and an unused image."""
    tiny_refer.sizes["3.png"] = (30, 20)
    tiny_refer.instances["images"].append({"id": 3, "file_name": "3.png", "height": 20, "width": 30})
    tiny_refer.refs.append({**tiny_refer.refs[0], "ref_id": 9, "split": "unused", "image_id": 3})
    tiny_refer.write()
    folder = tiny_refer.raw.rename(tiny_refer.raw.parent / "user")
    refs = (folder / "refcoco_unc" / "refs(unc).p").read_bytes()
    (folder / "refcoco_unc").rename(folder / "refcoco")
    (folder / "refcocog").mkdir()
    (folder / "refcocog" / "refs(umd).p").write_bytes(refs)
    (folder / "refcocog" / "refs(google).p").write_bytes(refs)
    (folder / "refcocog" / "instances.json").write_bytes((folder / "refcoco" / "instances.json").read_bytes())
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


RAW = {
    "refcoco_unc/refs(unc).p",
    "refcoco_unc/instances.json",
    "refcocog_umd/refs(umd).p",
    "refcocog_umd/instances.json",
    "refcocog_google/refs(google).p",
    "refcocog_google/instances.json",
    f"{COCO_IMAGES}.zip",
    *(f"{name}/origin.json" for name in ("refcoco_unc", "refcocog_umd", "refcocog_google")),
}
BENCHMARKS = ["refcoco_unc", "refcocog_umd", "refcocog_google"]


def test_the_refer_layout_becomes_ours(user_folder: Path, tmp_path: Path) -> None:
    raw = tmp_path / "out"
    lay_out_folder(user_folder, BENCHMARKS, raw)
    assert files(raw) == RAW
    for benchmark in BENCHMARKS:
        prepare(
            benchmark,
            raw,
            tmp_path / "prepared",
            Preprocess(sentence="sent", faults="refuse", statistics="warn"),
        )


def test_files_are_copied_not_linked(user_folder: Path, tmp_path: Path) -> None:
    lay_out_folder(user_folder, ["refcoco_unc"], tmp_path / "out")
    image = f"{COCO_IMAGES}/1.png"
    assert ImageFiles(tmp_path / "out").read(image) == (user_folder / image).read_bytes()
    assert not (tmp_path / "out/refcoco_unc/instances.json").samefile(user_folder / "refcoco/instances.json")


def test_a_linked_image_folder_is_followed(user_folder: Path, tmp_path: Path) -> None:
    images = (user_folder / "images").rename(tmp_path / "disk")
    (user_folder / "images").symlink_to(images)
    linked = images.joinpath(*Path(COCO_IMAGES).parts[1:], "1.png")
    linked.rename(tmp_path / "1.png")
    linked.symlink_to(tmp_path / "1.png")
    lay_out_folder(user_folder, ["refcoco_unc"], tmp_path / "out")
    image = ImageFiles(tmp_path / "out").read(f"{COCO_IMAGES}/1.png")
    assert image == (tmp_path / "1.png").read_bytes()


def test_a_repetition_takes_what_has_changed(user_folder: Path, tmp_path: Path) -> None:
    raw = tmp_path / "out"
    lay_out_folder(user_folder, BENCHMARKS, raw)
    refs = user_folder / "refcoco" / "refs(unc).p"
    refs.write_bytes(refs.read_bytes() + b"ignored after the end")
    (raw / f"{COCO_IMAGES}.zip").write_bytes(b"stale")
    lay_out_folder(user_folder, BENCHMARKS, raw)
    assert (raw / "refcoco_unc" / "refs(unc).p").read_bytes() == refs.read_bytes()
    image = f"{COCO_IMAGES}/1.png"
    assert ImageFiles(raw).read(image) == (user_folder / image).read_bytes()


def test_our_own_layout_is_taken_as_it_is(user_folder: Path, tmp_path: Path) -> None:
    lay_out_folder(user_folder, BENCHMARKS, tmp_path / "ours")
    lay_out_folder(tmp_path / "ours", BENCHMARKS, tmp_path / "out")
    assert files(tmp_path / "out") == RAW


@pytest.mark.parametrize(
    "missing", ["refcoco/refs(unc).p", "refcoco/instances.json", "refcocog/refs(google).p", COCO_IMAGES]
)
def test_what_is_missing_is_asked_for_by_its_place(user_folder: Path, tmp_path: Path, missing: str) -> None:
    (user_folder / missing).rename(tmp_path / "away")
    with pytest.raises(UserError) as caught:
        lay_out_folder(user_folder, BENCHMARKS, tmp_path / "out")
    assert str(caught.value).endswith(f"place {user_folder / missing}")
    assert not (tmp_path / "out").exists()


def test_all_that_is_missing_is_listed_once(
    user_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("S2RM_REAL_DATA", raising=False)
    with pytest.raises(UserError) as caught:
        lay_out_folder(tmp_path / "user" / "images", BENCHMARKS, tmp_path / "out")
    assert str(caught.value).count("instances.json") == 2
    with pytest.raises(UserError, match=r"no folder .*nowhere: set data\.folder"):
        lay_out_folder(tmp_path / "nowhere", BENCHMARKS, tmp_path / "out")
    with pytest.raises(UserError, match="unknown benchmark 'refcoco'"):
        lay_out_folder(user_folder, ["refcoco"], tmp_path / "out")


def test_a_missing_image_is_left_to_prepare(user_folder: Path, tmp_path: Path) -> None:
    (user_folder / COCO_IMAGES / "1.png").unlink()
    lay_out_folder(user_folder, ["refcoco_unc"], tmp_path / "out")
    params = Preprocess(sentence="sent", faults="repair", statistics="warn")
    issues = prepare("refcoco_unc", tmp_path / "out", tmp_path / "prepared", params)["faults"]
    assert issues["image_missing"]["ids"] == [1]


@pytest.mark.hostile
def test_no_file_outside_the_image_folder_is_copied(user_folder: Path, tmp_path: Path) -> None:
    instances = user_folder / "refcoco" / "instances.json"
    (user_folder / COCO_IMAGES).parent.joinpath("secret.png").write_bytes(b"secret")
    instances.write_text(instances.read_text().replace('"1.png"', '"../secret.png"'))
    with pytest.raises(UserError, match="must lie in the image folder"):
        lay_out_folder(user_folder, ["refcoco_unc"], tmp_path / "out")
    assert files(tmp_path) - files(user_folder.parent) == set()
    assert not list((tmp_path / "out").rglob("*.zip"))


@pytest.mark.parametrize(
    ("recorded", "stored"),
    [
        ("train2014/1.png", "1.png"),
        ("1.PNG", "1.png"),
        ("1.png", "1.Png"),
        ("a/b c/1.png", "1.PNG"),
        ("1.png", "batch 2/1.png"),
        ("Photo 1.png", "photo 1.PNG"),
    ],
)
def test_an_image_is_found_under_another_folder_or_case(
    user_folder: Path, tmp_path: Path, recorded: str, stored: str, caplog: pytest.LogCaptureFixture
) -> None:
    images = user_folder / COCO_IMAGES
    (images / stored).parent.mkdir(parents=True, exist_ok=True)
    (images / "1.png").rename(images / stored)
    instances = user_folder / "refcoco" / "instances.json"
    instances.write_text(instances.read_text().replace('"1.png"', f'"{recorded}"'))
    lay_out_folder(user_folder, ["refcoco_unc"], tmp_path / "out")
    assert caplog.messages == [
        f"{COCO_IMAGES}: 1 × image found under another name (first: {recorded!r} is {stored!r})"
    ]
    params = Preprocess(sentence="sent", faults="refuse", statistics="warn")
    assert prepare("refcoco_unc", tmp_path / "out", tmp_path / "prepared", params)["left_out"] == 0


def test_an_image_that_two_files_may_be_is_missing(user_folder: Path, tmp_path: Path) -> None:
    images = user_folder / COCO_IMAGES
    (images / "1.png").rename(images / "1.PNG")
    (images / "a").mkdir()
    (images / "a" / "1.Png").write_bytes(b"another")
    instances = user_folder / "refcoco" / "instances.json"
    instances.write_text(instances.read_text().replace('"1.png"', '"b/1.png"'))
    lay_out_folder(user_folder, ["refcoco_unc"], tmp_path / "out")
    params = Preprocess(sentence="sent", faults="repair", statistics="warn")
    issues = prepare("refcoco_unc", tmp_path / "out", tmp_path / "prepared", params)["faults"]
    assert issues["image_missing"]["ids"] == [1]


def test_a_link_that_leads_nowhere_is_a_missing_image(user_folder: Path, tmp_path: Path) -> None:
    image = user_folder / COCO_IMAGES / "1.png"
    image.unlink()
    image.symlink_to(tmp_path / "away.png")
    lay_out_folder(user_folder, ["refcoco_unc"], tmp_path / "out")
    params = Preprocess(sentence="sent", faults="repair", statistics="warn")
    issues = prepare("refcoco_unc", tmp_path / "out", tmp_path / "prepared", params)["faults"]
    assert "does not exist" in issues["image_missing"]["first"]


def test_an_image_that_is_a_folder_or_links_to_itself_is_named(user_folder: Path, tmp_path: Path) -> None:
    image = user_folder / COCO_IMAGES / "1.png"
    image.unlink()
    image.symlink_to(image)
    with pytest.raises(UserError, match=r"1\.png cannot be read: "):
        lay_out_folder(user_folder, ["refcoco_unc"], tmp_path / "out")
    image.unlink()
    image.mkdir()
    with pytest.raises(UserError, match=r"1\.png cannot be read: Is a directory"):
        lay_out_folder(user_folder, ["refcoco_unc"], tmp_path / "out")


def test_a_tilde_is_the_home_folder(
    user_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("S2RM_REAL_DATA", raising=False)
    monkeypatch.setenv("HOME", str(user_folder.parent))
    data = Data(source="folder", folder=f"~/{user_folder.name}", benchmarks=BENCHMARKS)
    lay_out_folder(find_folder(data, tmp_path), BENCHMARKS, tmp_path / "out")
    assert files(tmp_path / "out") == RAW
