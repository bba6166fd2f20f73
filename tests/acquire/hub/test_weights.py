"""Pretrained encoders, from a Hub on this machine: pinned, continued, checked, and then no network at all."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import HubServer, publish
from huggingface_hub import constants, hf_hub_download
from tiny_encoders import BACKBONE, BERT, RESNET, bert_files, resnet_files

from s2rm.acquire.hub.fetch_encoders import fetch_weights
from s2rm.acquire.hub.weights import EncoderWeights, find_weights
from s2rm.config.params import Language, Params, Vision
from s2rm.core.errors import UserError

ROOT = Path(__file__).parents[3]
NOBODY = "http://127.0.0.1:9"  # the port of `discard`: nothing answers
LANGUAGE_FILES = {"config.json", "tokenizer_config.json", "tokenizer.json", "vocab.txt", "model.safetensors"}

ALL_FILES = (
    "place config.json, tokenizer.json or vocab.txt, model.safetensors (and tokenizer_config.json, "
    "special_tokens_map.json, where the repository has them)"
)

TinyParams = Callable[..., Params]


@pytest.fixture(scope="module")
def encoders() -> dict[str, dict[str, bytes]]:
    return {RESNET: resnet_files(), BERT: bert_files()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with HubServer(tmp_path / "hub") as server:
        connect(monkeypatch, server.url)
        yield server


def connect(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """As HF_ENDPOINT, which the library reads when it is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@dataclass
class Stage:
    """Calls of `fetch_weights`, in one folder."""

    folder: Path
    params: Params
    revisions: dict[str, str | None] = field(default_factory=dict)

    def run(
        self, *, vision: bool = False, language: str | None = BERT, offline: bool = False
    ) -> dict[str, Any]:
        """What weights.json says."""
        fetch_weights(
            self.params.vision.model_copy(update={"backbone": BACKBONE, "pretrained": vision}),
            self.params.language.model_copy(update={"pretrained": language}),
            self.output,
            store=self.store,
            revisions=dict(self.revisions),
            pin=self.revisions.__setitem__,
            offline=offline,
        )
        record: dict[str, Any] = json.loads((self.output / "weights.json").read_text())
        return record

    @property
    def output(self) -> Path:
        return self.folder / "data" / "weights"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def files(self) -> dict[str, bytes]:
        paths = (path for path in self.output.rglob("*") if path.is_file())
        return {path.relative_to(self.output).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def stage(tmp_path: Path, tiny_params: TinyParams) -> Stage:
    return Stage(tmp_path, tiny_params())


def place(folder: Path, files: dict[str, bytes]) -> None:
    """By hand."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def fails(stage: Stage, match: str, **options: Any) -> str:
    with pytest.raises(UserError, match=match) as caught:
        stage.run(**options)
    assert "\n" not in str(caught.value)
    assert not (stage.output / "weights.json").exists()
    return str(caught.value)


def test_the_folder_holds_what_the_hub_has_and_says_what_it_is(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    commits = {name: publish(hub.folder, name, files) for name, files in encoders.items()}
    record = stage.run(vision=True)
    files = stage.files
    assert files.keys() == {
        "weights.json", "vision.safetensors", *(f"language/{name}" for name in LANGUAGE_FILES)
    }  # fmt: skip
    assert files["vision.safetensors"] == encoders[RESNET]["model.safetensors"]
    for name in LANGUAGE_FILES:
        assert files[f"language/{name}"] == encoders[BERT][name]
    for encoder, repository in (("vision", RESNET), ("language", BERT)):
        assert record[encoder]["repository"] == repository
        assert record[encoder]["revision"] == commits[repository]
    recorded = record["vision"]["sha256"] | record["language"]["sha256"]
    del files["weights.json"]
    assert recorded == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def test_without_pretrained_encoders_the_folder_says_so_and_nobody_is_asked(
    hub: HubServer, stage: Stage
) -> None:
    assert stage.run(language=None) == {}
    assert stage.files.keys() == {"weights.json"}
    assert not hub.requests


def test_what_is_no_longer_pretrained_is_gone(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    publish(hub.folder, BERT, encoders[BERT])
    stage.run()
    assert stage.run(language=None) == {}
    assert stage.files.keys() == {"weights.json"}


def test_the_first_download_pins_the_newest_commit(hub: HubServer, stage: Stage) -> None:
    publish(hub.folder, BERT, bert_files(seed=1))
    newest = publish(hub.folder, BERT, bert_files(seed=2))
    stage.revisions = {BERT: None}
    assert stage.run()["language"]["revision"] == newest
    assert stage.revisions == {BERT: newest}


def test_a_pinned_commit_stays_when_the_hub_moves_on(hub: HubServer, stage: Stage) -> None:
    pinned = publish(hub.folder, BERT, bert_files(seed=1))
    publish(hub.folder, BERT, bert_files(seed=2))
    stage.revisions = {BERT: pinned}
    assert stage.run()["language"]["revision"] == pinned
    assert stage.files["language/model.safetensors"] == bert_files(seed=1)["model.safetensors"]
    assert stage.revisions == {BERT: pinned}


def test_a_second_call_asks_for_nothing(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    for name, files in encoders.items():
        publish(hub.folder, name, files)
    record = stage.run(vision=True)
    hub.requests.clear()
    assert stage.run(vision=True) == record
    assert not hub.requests


def test_pickles_and_other_files_of_the_repository_are_left_there(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    publish(hub.folder, BERT, encoders[BERT])
    stage.run()
    assert hub.asked("/resolve/")
    assert not hub.asked(r"pytorch_model\.bin|README")


def test_names_from_before_there_were_organisations_are_followed(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    commit = publish(hub.folder, BERT, encoders[BERT])
    record = stage.run(language="tiny-bert")
    assert stage.revisions == {"tiny-bert": commit}
    assert record["language"]["repository"] == "tiny-bert"
    assert stage.files["language/model.safetensors"] == encoders[BERT]["model.safetensors"]


def test_a_mirror_that_lists_no_sizes_suffices(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    publish(hub.folder, BERT, encoders[BERT])
    hub.sizes = False
    stage.run()
    assert stage.files["language/model.safetensors"] == encoders[BERT]["model.safetensors"]


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: HubServer,
    stage: Stage,
    encoders: dict[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    publish(hub.folder, BERT, encoders[BERT])
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    stage.run()
    tokens = {
        server: {each.token for each in hub.requests if each.server == server} for server in ("hub", "files")
    }
    assert tokens == {"hub": {"Bearer hf_secret"}, "files": {None}}
    hub.status = 403
    stage.revisions.clear()
    stage.output.joinpath("weights.json").unlink()
    assert "hf_secret" not in fails(stage, "check HF_TOKEN")
    assert "hf_secret" not in "".join(capfd.readouterr())
    assert not any(b"hf_secret" in path.read_bytes() for path in stage.folder.rglob("*") if path.is_file())


# Failures at the Hub


def test_a_repository_that_is_not_there(hub: HubServer, stage: Stage) -> None:
    assert BERT in fails(stage, "127.0.0.1 has no repository .*correct the name, or set HF_TOKEN")
    assert stage.revisions == {}


def test_a_commit_that_is_not_there(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    publish(hub.folder, BERT, encoders[BERT])
    stage.revisions = {BERT: "0" * 40}
    fails(stage, f"{BERT} has no commit 0{{40}}: correct the commit in the catalog")


@pytest.mark.parametrize("kind", ["gpt2", None])
def test_a_model_of_another_kind_is_refused_before_its_weights_are_fetched(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]], kind: str | None
) -> None:
    config = json.dumps({"model_type": kind}).encode()
    publish(hub.folder, BERT, encoders[BERT] | {"config.json": config})
    fails(
        stage,
        r"is a (gpt2 model|model of an unknown kind.*): choose a BERT, RoBERTa, DistilBERT or CLIP model",
    )
    assert [each.path.rsplit("/")[-1] for each in hub.asked("/resolve/")] == ["config.json"]


def test_a_gated_repository(hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]) -> None:
    publish(hub.folder, BERT, encoders[BERT])
    hub.gated = True
    fails(stage, f"{BERT} is gated: accept its terms at .*HF_TOKEN")


def test_a_hub_that_is_down_a_page_of_something_else_and_nobody(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.revisions = {BERT: publish(hub.folder, BERT, encoders[BERT])}
    by_hand = f"{ALL_FILES} in {stage.store / BERT / str(stage.revisions[BERT])} by hand"
    hub.status = 503
    assert by_hand in fails(stage, "127.0.0.1 answers 503 for .*mirror")
    hub.status, hub.page = None, b"<html>Log in to the network</html>"
    assert by_hand in fails(stage, "that is not of a Hugging Face Hub: correct HF_ENDPOINT")
    connect(monkeypatch, NOBODY)
    assert by_hand in fails(stage, "cannot reach 127.0.0.1 .*ConnectError.*HF_ENDPOINT to a mirror")


@pytest.mark.hostile
@pytest.mark.parametrize("commit", ["../../../escaped", "f" * 40])
def test_a_mirror_that_answers_with_another_commit_is_refused(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]], commit: str
) -> None:
    pinned = publish(hub.folder, BERT, encoders[BERT])
    hub.commit = commit
    if commit.startswith("."):
        fails(stage, "answers with commit")
    stage.revisions = {BERT: pinned}
    fails(stage, f"answers with commit .*not {pinned}")
    assert not list(stage.folder.rglob("*escaped*"))


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a/b/c", "is not a name of a repository"),
        ("", "is not a name of a repository"),
        ("../../escaped", "is not a folder: correct the path"),
        ("/etc", "lacks config.json, tokenizer.json or vocab.txt, model.safetensors: place"),
    ],
)
def test_a_name_that_is_not_a_repository_is_refused(
    hub: HubServer, stage: Stage, name: str, said: str
) -> None:
    fails(stage, said, language=name)
    assert not hub.requests


def test_a_language_model_in_a_folder(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    """Its files are copied, so that the folder may change later; the Hub is not asked."""
    folder = tmp_path / "bert-here"
    folder.mkdir()
    for name, content in encoders[BERT].items():
        (folder / name).write_bytes(content)
    stage.run(language=str(folder))
    assert not hub.requests
    assert stage.revisions == {}
    record = json.loads((stage.output / "weights.json").read_text())["language"]
    assert record["repository"] == str(folder)
    assert set(record["sha256"]) >= {"language/config.json", "language/model.safetensors"}
    kept = stage.output / "language" / "model.safetensors"
    assert kept.read_bytes() == encoders[BERT]["model.safetensors"]
    assert not kept.samefile(folder / "model.safetensors")
    assert not (stage.output / "language" / "pytorch_model.bin").exists()
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="is not a complete safetensors file"):
        stage.run(language=str(folder))


@pytest.mark.hostile
def test_a_repository_with_a_pickle_alone_is_refused_before_any_download(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    files = {name: content for name, content in encoders[BERT].items() if name != "model.safetensors"}
    publish(hub.folder, BERT, files)
    fails(stage, r"has no model\.safetensors, only pytorch_model\.bin: pickles can run code")
    assert not hub.asked("/resolve/")
    assert stage.revisions == {}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "gpt2"}, "which is a gpt2 model: choose a BERT, RoBERTa, DistilBERT or CLIP model"),
        ({"model_type": "roberta", "max_position_embeddings": 10}, "has 8 positions: lower"),
        ({"model_type": "clip", "text_config": {"max_position_embeddings": 8}}, "has 8 positions: lower"),
        ({"architectures": ["BertModel"]}, "of an unknown kind"),
        ([], "of an unknown kind"),
        ({"model_type": "bert", "max_position_embeddings": 8}, "has 8 positions: lower language.tokens"),
    ],
)
def test_a_language_model_that_cannot_be_used_is_refused_before_any_weights_are_fetched(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]], config: object, said: str
) -> None:
    publish(hub.folder, BERT, encoders[BERT] | {"config.json": json.dumps(config).encode()})
    publish(hub.folder, RESNET, encoders[RESNET])
    fails(stage, said, vision=True)
    assert not [request for request in hub.requests if request.path.endswith(".safetensors")]
    assert stage.revisions == {}


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        ("resnet10t.no_such_tag", "vision.backbone is 'resnet10t.no_such_tag'"),
        ("no_such_model", "timm knows no weights of it on .*vision.pretrained=false"),
    ],
)
def test_a_backbone_without_weights(stage: Stage, backbone: str, said: str) -> None:
    stage.params = stage.params.model_copy(
        update={"vision": stage.params.vision.model_copy(update={"backbone": backbone, "pretrained": True})}
    )
    with pytest.raises(UserError, match=said) as caught:
        find_weights(stage.output, stage.params.vision, stage.params.language)
    assert "\n" not in str(caught.value)


# Damage and interruption


@pytest.mark.faults
def test_what_arrives_damaged_is_not_kept(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    publish(hub.folder, BERT, encoders[BERT])
    hub.damaged = True
    fails(stage, r"model\.safetensors of tests/tiny-bert arrived damaged")
    hub.damaged = False
    stage.run()
    assert stage.files["language/model.safetensors"] == encoders[BERT]["model.safetensors"]


@pytest.mark.faults
def test_what_has_changed_in_the_store_is_fetched_again(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    publish(hub.folder, BERT, encoders[BERT])
    record = stage.run()
    stage.output.joinpath("language/vocab.txt").write_bytes(b"through the link")
    assert stage.run() == record
    assert stage.files["language/vocab.txt"] == encoders[BERT]["vocab.txt"]
    hub.requests.clear()
    next(stage.store.rglob("config.json")).unlink()
    stage.run()
    assert [each.path.rsplit("/")[-1] for each in hub.asked("/resolve/")] == ["config.json"]


@pytest.mark.faults
def test_a_connection_that_breaks_off_is_continued(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    publish(hub.folder, RESNET, encoders[RESNET])
    hub.cut = 15_000_000
    stage.run(vision=True, language=None)
    assert stage.files["vision.safetensors"] == encoders[RESNET]["model.safetensors"]
    first, second = [each for each in hub.requests if each.server == "files"]
    assert first.range is None
    assert second.range not in (None, "bytes=0-")


class Project:
    """A folder where pipeline/weights.py runs as a program."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder, self.endpoint = folder, endpoint
        folder.mkdir()
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        params["vision"]["pretrained"], params["language"]["pretrained"] = False, BERT
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        (folder / params["data"]["catalog"]).write_text((ROOT / "archives.yaml").read_text())

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        settings = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(self.folder / "home"),
            "DVC_ROOT": str(self.folder),
            "PYTHONPATH": str(ROOT / "src"),
        }
        return subprocess.Popen(
            [sys.executable, str(ROOT / "pipeline/weights.py"), *arguments],
            cwd=self.folder,
            env={**os.environ, **settings, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=120)
        return process.returncode, out + err

    def partials(self) -> dict[Path, int]:
        return {path: path.stat().st_size for path in self.folder.rglob(".partial-model.safetensors")}


@pytest.mark.kill
def test_a_killed_download_is_continued_where_it_stopped(
    hub: HubServer, tmp_path: Path, encoders: dict[str, dict[str, bytes]]
) -> None:
    large = encoders[RESNET]["model.safetensors"]  # the library writes no less than 10 MB at once
    publish(hub.folder, BERT, encoders[BERT] | {"model.safetensors": large})
    project = Project(tmp_path / "project", hub.url)
    hub.hold = 15_000_000
    process = project.start()
    until = time.monotonic() + 120
    while not any(project.partials().values()):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    process.communicate()
    ((_, begun),) = project.partials().items()
    hub.go.set()
    hub.hold = None
    hub.requests.clear()
    code, output = project.run(HF_TOKEN="hf_secret")
    assert code == 0, output
    assert "hf_secret" not in output
    assert hub.address("files") not in output  # the Hub signs what it forwards to
    assert [each.range for each in hub.requests if each.server == "files"] == [f"bytes={begun}-"]
    assert not hub.asked("/resolve/.*(config.json|vocab.txt)")  # whole before
    assert (project.folder / "data/weights/language/model.safetensors").read_bytes() == large
    assert not project.partials()
    hub.requests.clear()
    assert project.run("--offline")[0] == 0
    assert project.run(HF_HUB_OFFLINE="1")[0] == 0
    assert not hub.requests


def test_the_program_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    project = Project(tmp_path / "project", "http://user:hf_secret@127.0.0.1:9")
    code, output = project.run(HF_TOKEN="hf_secret")
    assert code == 2
    assert output.startswith("error: cannot reach 127.0.0.1 ")
    assert output.count("\n") == 1
    assert "hf_secret" not in output
    code, output = project.run(HF_HUB_OFFLINE="1")
    assert code == 2
    assert f"offline, and no commit of {BERT} is pinned" in output


def test_two_at_once_download_once(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    """Experiments that run side by side share the store."""
    publish(hub.folder, BERT, encoders[BERT])
    other = Stage(tmp_path / "other", stage.params)
    stage.store.mkdir()
    other.folder.mkdir()
    other.store.symlink_to(stage.store)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(each.run) for each in (stage, other)]
        for run in runs:
            run.result(timeout=60)
    assert stage.files == other.files
    assert len(hub.asked(r"/resolve/.*model\.safetensors")) == 1


# Without a network


def test_offline_the_store_suffices(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    publish(hub.folder, BERT, encoders[BERT])
    record = stage.run()
    hub.requests.clear()
    assert stage.run(offline=True) == record
    assert not hub.requests


def test_offline_and_incomplete_says_what_to_place_where(hub: HubServer, stage: Stage) -> None:
    stage.revisions = {BERT: "0" * 40}
    folder = stage.store / BERT / ("0" * 40)
    said = fails(stage, "lacks config.json, tokenizer.json or vocab.txt, model.safe.*: place", offline=True)
    assert f"{ALL_FILES} in {folder} by hand" in said
    assert BERT in said
    assert not hub.requests


@pytest.mark.parametrize("offline", [True, False])
def test_files_placed_by_hand_suffice_where_the_hub_cannot_be_asked(
    hub: HubServer,
    stage: Stage,
    encoders: dict[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    offline: bool,
) -> None:
    connect(monkeypatch, NOBODY)
    stage.revisions = {BERT: "0" * 40}
    wanted = ("config.json", "vocab.txt", "model.safetensors")
    place(stage.store / BERT / ("0" * 40), {name: encoders[BERT][name] for name in wanted})
    stage.run(offline=offline)
    assert stage.files.keys() == {"weights.json", *(f"language/{name}" for name in wanted)}


def test_files_placed_by_hand_are_compared_with_the_hub(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    commit = publish(hub.folder, BERT, encoders[BERT])
    place(stage.store / BERT / commit, encoders[BERT] | {"config.json": b"{}"})
    stage.run()
    assert [each.path.rsplit("/")[-1] for each in hub.asked("/resolve/")] == ["config.json"]
    assert stage.files["language/config.json"] == encoders[BERT]["config.json"]


@pytest.mark.parametrize("pinned", [True, False])
def test_offline_the_users_own_cache_suffices_and_stays_as_it_is(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]], pinned: bool
) -> None:
    commit = publish(hub.folder, BERT, encoders[BERT])
    cached = {name: hf_hub_download(BERT, name) for name in LANGUAGE_FILES}
    stage.revisions = {BERT: commit if pinned else None}
    hub.requests.clear()
    assert stage.run(offline=True)["language"]["revision"] == commit
    assert not hub.requests
    assert stage.revisions == {BERT: commit}
    for name, path in cached.items():
        assert not (stage.output / "language" / name).samefile(path)


def test_what_the_users_own_cache_has_is_not_downloaded(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]]
) -> None:
    publish(hub.folder, BERT, encoders[BERT])
    hf_hub_download(BERT, "model.safetensors")
    hub.requests.clear()
    stage.run()
    assert hub.asked("/resolve/")
    assert not hub.asked(r"model\.safetensors")


# From the folder to a training


def settings(
    tiny_params: TinyParams, *, vision: bool = True, language: str | None = BERT
) -> tuple[Vision, Language]:
    params = tiny_params(f"vision.backbone={BACKBONE}", f"vision.pretrained={str(vision).lower()}")
    return params.vision, params.language.model_copy(update={"pretrained": language})


def test_only_what_is_pretrained_is_looked_for(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]], tiny_params: TinyParams
) -> None:
    assert find_weights(stage.output, *settings(tiny_params, vision=False, language=None)) == EncoderWeights()
    publish(hub.folder, BERT, encoders[BERT])
    stage.run()
    found = find_weights(stage.output, *settings(tiny_params, vision=False))
    assert found == EncoderWeights(language=stage.output / "language")


def test_a_folder_that_is_missing_or_of_other_parameters_asks_for_its_stage(
    hub: HubServer, stage: Stage, encoders: dict[str, dict[str, bytes]], tiny_params: TinyParams
) -> None:
    with pytest.raises(UserError, match="holds no pretrained weights: run `dvc repro weights`"):
        find_weights(stage.output, *settings(tiny_params))
    publish(hub.folder, BERT, encoders[BERT])
    stage.run()
    with pytest.raises(UserError, match=f"holds nothing for vision, not {RESNET}: run `dvc repro weights`"):
        find_weights(stage.output, *settings(tiny_params))
    with pytest.raises(UserError, match=f"holds {BERT} for language, not a/b: run `dvc repro weights`"):
        find_weights(stage.output, *settings(tiny_params, vision=False, language="a/b"))


@pytest.mark.slow
def test_a_training_loads_no_code_that_downloads() -> None:
    code = "import sys, s2rm.training.loop; print(*(name for name in sys.modules if 's2rm.acquire' in name))"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert set(loaded) == {"s2rm.acquire", "s2rm.acquire.hub", "s2rm.acquire.hub.weights"}


TRAIN = """
import json, os, sys
sys.addaudithook(lambda event, _: os._exit(99) if event in ("socket.connect", "socket.getaddrinfo") else None)
from pathlib import Path
from s2rm.model.s2rm import S2RM
from s2rm.config.params import Params, Run
from s2rm.training.loop import train_run

params, prepared, raw, weights, folder = json.load(sys.stdin)
train_run(
    Params.model_validate(params), Run(train_on=["refcoco_unc"], evaluate_on=["refcoco_unc"]),
    prepared=Path(prepared), raw=Path(raw), weights=Path(weights), output=Path(folder) / "model",
    scratch=Path(folder) / "scratch", log=lambda metrics, step: None,
)
os.rename(weights, folder + "/away")
S2RM.from_pretrained(Path(folder) / "model")
"""


@pytest.mark.slow
def test_a_training_asks_nobody_and_starts_from_the_weights(
    hub: HubServer,
    stage: Stage,
    encoders: dict[str, dict[str, bytes]],
    tiny_params: TinyParams,
    tiny_data: Any,
) -> None:
    from safetensors.torch import load, load_file

    for name, files in encoders.items():
        publish(hub.folder, name, files)
    stage.run(vision=True)
    params = tiny_params(
        f"vision.backbone={BACKBONE}", "vision.pretrained=true", "~vision.options", "+vision.options={}",
        f"language.pretrained={BERT}",
        "train.epochs=1", "train.learning_rate=0.0000001", "train.weight_decay=0.0",
    )  # fmt: skip
    given = [params.model_dump(), *map(str, (tiny_data.prepared, tiny_data.raw, stage.output, stage.folder))]
    environment = {"HF_ENDPOINT": NOBODY, "HF_HUB_OFFLINE": "1", "HF_HOME": str(stage.folder / "home")}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN],
        input=json.dumps(given),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    trained = load_file(stage.folder / "model" / "model.safetensors")
    resnet, bert = (load(encoders[name]["model.safetensors"]) for name in (RESNET, BERT))
    for trained_name, started in (
        ("vision.backbone.layer4.0.conv1.weight", resnet["layer4.0.conv1.weight"]),
        (
            "language.text_model.embeddings.word_embeddings.weight",
            bert["bert.embeddings.word_embeddings.weight"],
        ),
        ("language.text_model.embeddings.LayerNorm.weight", bert["bert.embeddings.LayerNorm.gamma"]),
    ):
        assert (trained[trained_name] - started).abs().max() < 1e-4
    assert (stage.folder / "model" / "tokenizer.json").is_file()
