"""`s2rm check` on a sound set-up and on many broken ones: each is named, and nothing else is."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hub_server import HubServer, publish
from huggingface_hub import constants

from s2rm import cli
from s2rm.checks import machine
from s2rm.checks.findings import Finding
from s2rm.core import memory
from s2rm.core.devices import find_gpu_obstacle
from s2rm.data.table import SCHEMA, load_table

Break = Callable[[Path, pytest.MonkeyPatch], object]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple]:
    """Runs `s2rm check --json --offline ARGUMENTS`; returns the exit code and the errors and warnings."""

    def call(*arguments: str) -> tuple[object, dict[str, tuple[str, str]]]:
        monkeypatch.setattr(sys, "argv", ["s2rm", "check", "--json", "--offline", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        found = json.loads(capsys.readouterr().out)
        assert all("\n" not in finding["found"] for finding in found)
        faulty = [finding for finding in found if finding["status"] in ("error", "warning")]
        return stop.value.code, {finding["what"]: (finding["status"], finding["found"]) for finding in faulty}

    return call


def all_files(folder: Path) -> Counter[tuple[str, int]]:
    return Counter((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def set_param(key: str, value: object) -> Break:
    def change(root: Path, _: pytest.MonkeyPatch) -> None:
        tree = yaml.safe_load((root / "params.yaml").read_text())
        *sections, last = key.split(".")
        section = tree
        for name in sections:
            section = section[name]
        section[last] = value
        (root / "params.yaml").write_text(yaml.safe_dump(tree))

    return change


def set_params(**values: object) -> Break:
    def change(root: Path, patch: pytest.MonkeyPatch) -> None:
        for key, value in values.items():
            set_param(key.replace("__", "."), value)(root, patch)

    return change


def set_variable(name: str, value: str) -> Break:
    return lambda root, patch: patch.setenv(name, value.format(root=root))


def replace_rows(benchmark: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Break:
    def rewrite(root: Path, _: pytest.MonkeyPatch) -> None:
        path = root / "data" / "prepared" / f"{benchmark}.parquet"
        table = change(load_table(path))
        pq.write_table(pa.Table.from_pandas(table, SCHEMA, preserve_index=False).cast(SCHEMA), path)

    return rewrite


def write(name: str, content: str) -> Break:
    def change(root: Path, _: pytest.MonkeyPatch) -> None:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    return change


def remove(name: str) -> Break:
    def change(root: Path, _: pytest.MonkeyPatch) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def language(config: dict[str, Any] | str, **values: object) -> Break:
    """A config.json that the stage `weights` has stored."""
    text = config if isinstance(config, str) else json.dumps(config)

    def change(root: Path, patch: pytest.MonkeyPatch) -> None:
        write(f".scratch/weights/some/model/{'0' * 40}/config.json", text)(root, patch)
        set_params(language__pretrained="some/model", **values)(root, patch)

    return change


def weights(**files: bytes) -> Break:
    """The folder of the stage `weights`, with these files."""
    record = {name: {"repository": "timm/resnet10t.c3_in1k"} for name in files}

    def change(root: Path, patch: pytest.MonkeyPatch) -> None:
        write("data/weights/weights.json", json.dumps(record))(root, patch)
        for name, content in files.items():
            (root / "data" / "weights" / f"{name}.safetensors").write_bytes(content)
        set_params(vision__backbone="resnet10t", vision__pretrained=True)(root, patch)

    return change


def without_identity(root: Path, _: pytest.MonkeyPatch) -> None:
    (root.parent / "home" / ".gitconfig").unlink()


def without_git(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PATH", str(Path(sys.executable).parent))


def other_python(root: Path, patch: pytest.MonkeyPatch) -> None:
    other = root.parent / "bin" / "python"
    other.parent.mkdir()
    other.symlink_to(sys.executable)
    patch.setenv("PATH", f"{other.parent}:{os.environ['PATH']}")


def small_memory(root: Path, patch: pytest.MonkeyPatch) -> None:
    path = root.parent / "meminfo"
    path.write_text("MemAvailable: 1100000 kB\nSwapFree: 0 kB\n")
    patch.setattr(memory, "MEMORY", path)
    set_params(vision__backbone="resnext101_32x32d", vision__options={})(root, patch)


def small_disk(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Room for a training, not for the archives."""
    shutil.rmtree(root / "data")
    set_param("data.source", "archives")(root, patch)
    patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**11, 9 * 10**10, 10**10))


def link_to_nothing(root: Path, _: pytest.MonkeyPatch) -> None:
    (root / "models").symlink_to(root / "other disk")


def many_processes(root: Path, patch: pytest.MonkeyPatch) -> None:
    set_param("train.device", "auto")(root, patch)
    patch.setenv("S2RM_LAUNCH", "python launch --num_processes=4")
    patch.setattr(torch.cuda, "device_count", lambda: 2)


def gpu(patch: pytest.MonkeyPatch, *, bf16: bool = True) -> None:
    """As far as torch tells of one."""
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "get_device_name", lambda index: "a GPU")
    patch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(total_memory=8e10))
    patch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)


def without_compiler(root: Path, patch: pytest.MonkeyPatch) -> None:
    set_param("train.device", "auto")(root, patch)
    gpu(patch)
    tools = root.parent / "bin"
    tools.mkdir()
    (tools / "git").symlink_to(str(shutil.which("git")))
    patch.setenv("PATH", f"{Path(sys.executable).parent}:{tools}")


def old_gpu(root: Path, patch: pytest.MonkeyPatch) -> None:
    set_params(train__device="cuda", train__precision="bf16")(root, patch)
    gpu(patch, bf16=False)
    patch.setattr(machine, "_check_compiler", lambda: Finding("compiler", "ok", ""))


def backbone(name: str, size: int = 80, **options: object) -> Break:
    return set_params(vision__backbone=name, vision__options=options, vision__image_size=size)


def folder(*files: str) -> Break:
    """One's own data, with these files."""

    def change(root: Path, patch: pytest.MonkeyPatch) -> None:
        for file in files:
            write(f"own/{file}", "")(root, patch)
        set_params(data__source="folder", data__folder="own", data__benchmarks=["refcoco_unc"])(root, patch)
        runs = {"joint": {"train_on": ["refcoco_unc"], "evaluate_on": ["refcoco_unc"]}}
        set_param("runs", runs)(root, patch)

    return change


BROKEN: dict[str, tuple[Break, str, str, str]] = {
    # name: what breaks it, then what is found: which thing, its status, and a part of the text
    "a zip without .git": (remove(".git"), "git", "error", "run `git init` there"),
    "no git": (without_git, "git", "error", "git is not installed"),
    "no identity": (without_identity, "git identity", "warning", 'git config user.name "your name"'),
    "no .dvc": (remove(".dvc"), "DVC", "error", "git checkout .dvc"),
    "a conflict in dvc.lock": (write("dvc.lock", "<<<<<<< HEAD\n"), "DVC", "error", "git checkout dvc.lock"),
    "a conflict in dvc.yaml": (write("dvc.yaml", "<<<<<<< HEAD\n"), "DVC", "error", "git checkout dvc.yaml"),
    "a store in no folder": (
        set_variable("MLFLOW_TRACKING_URI", "sqlite:///{root}/none/mlflow.db"),
        "MLflow",
        "error",
        "there is no folder",
    ),
    "another python": (other_python, "python", "error", "stages would run with"),
    "TMPDIR": (set_variable("TMPDIR", "{root}/none"), "temporary files", "error", "TMPDIR is"),
    "a file as folder": (write("models", ""), "outputs", "error", "models is not a folder"),
    "a file above a folder": (write("data", ""), "outputs", "error", "data is not a folder"),
    "a link to nothing": (link_to_nothing, "outputs", "error", "other disk, which does not exist"),
    "not YAML": (write("params.yaml", "data: ["), "parameters", "error", "is not valid YAML"),
    "a misspelt key": (set_param("train.epoch", 3), "parameters", "error", "did you mean epochs?"),
    "a fixed option": (backbone("resnet10t", pretrained=True), "parameters", "error", "vision.pretrained"),
    "no catalog": (remove("archives.yaml"), "data: catalog", "error", "cannot read the catalog"),
    "a bad catalog": (write("archives.yaml", "a: 1"), "data: catalog", "error", "archives.yaml: "),
    "no folder of data": (folder(), "data: folder", "error", "set data.folder"),
    "no instances.json": (folder("refcoco/refs(unc).p"), "data: folder", "error", "refcoco/instances.json"),
    "no images": (
        folder("refcoco/refs(unc).p", "refcoco/instances.json"),
        *("data: folder", "error", "own/images/mscoco/images/train2014"),
    ),
    "a small disk": (small_disk, "data: archives", "error", "the disk of"),
    "a corrupt table": (
        write("data/prepared/refcoco_unc.parquet", "no table"),
        *("data: refcoco_unc", "error", "is not a readable Parquet file"),
    ),
    "a table of another benchmark": (
        replace_rows("refcoco_unc", lambda table: table.assign(benchmark="refcocog_umd")),
        *("data: refcoco_unc", "error", "holds rows of refcocog_umd"),
    ),
    "no val split": (
        replace_rows("referit_berkeley", lambda table: table[table["split"] != "val"]),
        *("run joint", "error", "referit_berkeley has no expression in split val, to select"),
    ),
    "all in the train split": (
        replace_rows("refcoco_unc", lambda table: table.assign(split="train")),
        *("run joint", "error", "refcoco_unc has no expression in split val"),
    ),
    "no train split": (
        replace_rows("refcoco_unc", lambda table: table[table["split"] != "train"]),
        *("run joint", "error", "refcoco_unc has no expression in split train"),
    ),
    "no image zip": (remove("data/raw/images"), "run joint", "error", "the images of "),
    "a large batch": (
        set_params(train__expressions_per_batch=600, train__accumulation=10),
        *("run joint", "warning", "an epoch is a single step"),
    ),
    "an unknown backbone": (backbone("resnet51"), "vision", "error", "did you mean"),
    "HRNet at 80 pixels": (backbone("hrnet_w18"), "vision", "error", "vision.image_size=64 would do"),
    "windows": (backbone("maxvit_tiny_rw_224"), "vision", "error", "vision.image_size=224 would do"),
    "a plain ViT": (backbone("vit_tiny_patch16_224"), "vision", "error", "[4, 8, 16, 32] are needed"),
    "three stages": (backbone("levit_128"), "vision", "error", "choose another backbone"),
    "cut borders": (backbone("inception_v4"), "vision", "error", "it cuts the borders off"),
    "options of another backbone": (
        backbone("convnext_tiny", channels=[8, 8, 8, 8]),
        *("vision", "error", "dvc exp run -S '~vision.options.channels'"),
    ),
    "options that shrink": (
        backbone("resnet50", channels=[32, 48, 64, 96]),
        *("vision", "warning", "has 1.3 M parameters, 23.5 M without"),
    ),
    "one value at stride 32": (backbone("resnet10t", 32), "vision", "error", "set vision.image_size=64"),
    "a backbone larger than the memory": (small_memory, "vision", "error", "choose a smaller one"),
    "no weights of the backbone": (
        set_params(vision__backbone="resnet50t", vision__pretrained=True),
        *("weights", "error", "timm knows no weights of it"),
    ),
    "cut weights": (weights(vision=b"\x10\0\0"), "weights", "error", "vision.safetensors cannot be read"),
    "GPT-2": (language({"model_type": "gpt2"}), "language", "error", "a gpt2 model: choose a BERT, RoBERTa"),
    "no kind": (language({"hidden_size": 8}), "language", "error", "of an unknown kind"),
    "a broken config.json": (language("{"), "language", "error", "is corrupt or truncated JSON"),
    "too many tokens": (
        language({"model_type": "bert", "max_position_embeddings": 32}, language__tokens=64),
        *("language", "error", "lower language.tokens"),
    ),
    "no launcher": (set_variable("S2RM_LAUNCH", "acelerate x"), "S2RM_LAUNCH", "error", "no such program"),
    "a quote": (set_variable("S2RM_LAUNCH", "python 'x"), "S2RM_LAUNCH", "error", "No closing quotation"),
    "processes": (
        set_variable("S2RM_LAUNCH", "python launch --num_processes 5"),
        *("S2RM_LAUNCH", "error", "starts 5 processes"),
    ),
    "little shared memory": (
        set_params(train__workers=10**6), "shared memory", "warning", "docker run --shm-size",
    ),
    "processes without GPUs": (many_processes, "S2RM_LAUNCH", "error", "this machine has 2 GPUs"),
    "an unknown method": (set_param("report.methods", ["LAVTT"]), "report", "error", "did you mean 'LAVT'?"),
    "no compiler": (without_compiler, "compiler", "warning", "a C compiler is missing"),
    "a GPU without bf16": (old_gpu, "precision", "warning", "set train.precision=float32"),
    "no database": (write("mlflow.db", "no database"), "MLflow", "error", "mlflow.db is not a database"),
}  # fmt: skip


def test_a_sound_set_up_has_no_error_and_nothing_is_written(project: Path, check: Callable) -> None:
    before = all_files(project)
    assert check() == (0, {})
    assert all_files(project) == before


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_set_up_is_named_and_nothing_else_is(
    project: Path, check: Callable, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    breaks, what, status, part = BROKEN[name]
    breaks(project, monkeypatch)
    code, found = check()
    assert code == (2 if status == "error" else 0)
    assert {thing: level for thing, (level, _) in found.items()} == {what: status}
    assert part in found[what][1]


@pytest.mark.slow
def test_git_init_suffices_for_dvc(project: Path, check: Callable) -> None:
    shutil.rmtree(project / ".git")
    status = [sys.executable, "-m", "dvc", "status"]
    assert subprocess.run(status, capture_output=True, check=False).returncode
    _, found = check()
    subprocess.run(found["git"][1].partition("`")[2].partition("`")[0], shell=True, check=True)
    subprocess.run(status, capture_output=True, check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_repository_of_another_user_can_be_used_as_advised(project: Path, check: Callable) -> None:
    os.chown(project, 12345, 12345)
    code, found = check()
    assert (code, list(found)) == (2, ["git"])
    subprocess.run(found["git"][1].partition("`")[2].partition("`")[0], shell=True, check=True)
    assert check() == (0, {})


def test_all_that_is_broken_is_named_at_once(
    project: Path, check: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = ("no identity", "a link to nothing", "no val split", "HRNet at 80 pixels", "no launcher")
    for name in parts:
        BROKEN[name][0](project, monkeypatch)
    code, found = check()
    assert code == 2
    assert set(found) == {BROKEN[name][1] for name in parts}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("name", ["data/raw", "data/raw/images", "models"])
def test_an_output_of_another_user_is_named(project: Path, check: Callable, name: str) -> None:
    (project / name).mkdir(exist_ok=True)
    (project / name).chmod(0o555)
    code, found = check()
    (project / name).chmod(0o755)
    assert (code, list(found)) == (2, ["outputs"])
    assert name in found["outputs"][1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_torch_does_not_see(project: Path, check: Callable) -> None:
    code, found = check("-S", "train.device=cuda")
    assert (code, list(found)) == (2, ["device"])
    assert find_gpu_obstacle() in found["device"][1]


def test_before_the_data_and_weights_are_there_the_rest_is_checked(project: Path, check: Callable) -> None:
    shutil.rmtree(project / "data")
    assert check("-S", "language.pretrained=some/model", "-S", "vision.backbone=resnet18.a1_in1k",
                 "-S", "vision.pretrained=true") == (0, {})  # fmt: skip
    code, found = check("-S", "vision.backbone=resnet18.a0_in1k")
    assert (code, list(found)) == (2, ["vision"])


def test_weights_of_an_earlier_backbone_count_as_not_there_yet(
    project: Path, check: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights(vision=b"")(project, monkeypatch)
    assert check("-S", "vision.backbone=resnet18") == (0, {})


def test_data_of_another_source_count_as_not_there_yet(
    project: Path, check: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    BROKEN["no val split"][0](project, monkeypatch)
    files = ("refcoco/refs(unc).p", "refcoco/instances.json", "images/mscoco/images/train2014/1.jpg")
    folder(*files)(project, monkeypatch)
    assert check() == (0, {})


def test_it_works_from_a_folder_inside_and_says_where_there_is_no_project(
    project: Path, check: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project / "data" / "raw")
    assert check() == (0, {})
    monkeypatch.chdir(project.parent)
    monkeypatch.setattr(sys, "argv", ["s2rm", "check"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "is not in a checkout of this project" in capsys.readouterr().err


def test_the_table_has_one_line_for_each_finding(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["s2rm", "check", "--offline"])
    with pytest.raises(SystemExit):
        cli.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines][:3] == ["git", "git identity", "DVC"]
    assert all(" ok " in line for line in lines)


@pytest.fixture
def hub(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for scheme in ("http", "https", "all"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)
    with HubServer(project.parent / "hub") as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


@pytest.mark.server
@pytest.mark.parametrize(
    ("name", "config", "status", "part"),
    [
        ("some/bert", b'{"model_type": "bert", "max_position_embeddings": 512}', "ok", "some/bert"),
        ("some/roberta", b'{"model_type": "roberta"}', "ok", "some/roberta"),
        ("some/gpt2", b'{"model_type": "gpt2"}', "error", "a gpt2 model: choose a BERT, RoBERTa, DistilBERT"),
        ("some/page", b"<html>", "error", "is not JSON"),
        ("some/none", None, "error", "correct language.pretrained"),
        ("not a name", None, "error", "it must be owner/name"),
    ],
)
def test_the_hub_is_asked_for_the_kind_of_a_language_model(
    hub: HubServer, project: Path, name: str, config: bytes | None, status: str, part: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if config is not None:
        publish(hub.folder, name, {"config.json": config})
    arguments = ["s2rm", "check", "--json", "-S", f"language.pretrained={name}"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit):
        cli.main()
    found = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}["language"]
    assert found["status"] == status
    assert part in found["found"]


@pytest.mark.server
def test_a_hub_that_fails_is_not_the_users_fault(
    hub: HubServer, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.status = 503
    monkeypatch.setattr(sys, "argv", ["s2rm", "check", "--json", "-S", "language.pretrained=some/bert"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    found = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}["language"]
    assert found["status"] == "not checked"
