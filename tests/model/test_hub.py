"""Trained models on the Hugging Face Hub, here a server on this machine: downloading and uploading."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hub_server
import numpy as np
import pytest
import torch
from hub_server import HubServer, publish
from huggingface_hub import constants
from PIL import Image
from tiny_model import save
from transformers import PreTrainedTokenizerBase

from s2rm.core.errors import UserError
from s2rm.data.processor import CONFIG, TOKENIZER_FILES, Processor
from s2rm.model.s2rm import S2RM
from s2rm.predictor import Predictor

NOBODY = "http://127.0.0.1:9"  # the port of `discard`: nothing answers
ID = "tests/joint"
EXPRESSIONS = ["the red circle", "a blue square on the left"]
LOADERS: dict[str, Callable[..., object]] = {
    "S2RM": S2RM.from_pretrained,
    "Processor": Processor.from_pretrained,
    "Predictor": Predictor.from_pretrained,
}
EVERY_LOADER = pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)


@pytest.fixture(scope="module")
def folder(
    build_tiny: Callable[..., S2RM],
    tiny_tokenizer: PreTrainedTokenizerBase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A trained folder."""
    return save(build_tiny(), tiny_tokenizer, tmp_path_factory.mktemp("trained") / "joint")


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub that has the trained folder as `ID`; downloads are kept in an empty cache."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub_server, "_Handler", UploadHandler)
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "hub", ID, {path.name: path.read_bytes() for path in folder.iterdir()})
    with HubServer(tmp_path / "hub") as server:
        connect(monkeypatch, server.url)
        yield server


class UploadHandler(hub_server._Handler):
    """Accepts commits too, with the content of all files inside of the commit's own request."""

    def do_POST(self) -> None:  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        repository = self.path.removeprefix("/api/models/").rpartition("/")[0].rpartition("/")[0]
        if self.path == "/api/repos/create":
            named = json.loads(body)
            answer = {"url": f"{self.hub.url}/{named['organization']}/{named['name']}"}
        elif self.path == "/api/validate-yaml":
            answer = {"errors": [], "warnings": []}
        elif self.path.endswith("/preupload/main"):
            files = [file["path"] for file in json.loads(body)["files"]]
            regular = {"uploadMode": "regular", "shouldIgnore": False}
            answer = {"files": [{"path": path, **regular} for path in files]}
        else:
            lines = [json.loads(line) for line in body.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            content = {file["path"]: base64.b64decode(file["content"]) for file in files}
            commit = publish(self.hub.folder, repository, content)
            answer = {"commitUrl": f"{self.hub.url}/{repository}/commit/{commit}", "commitOid": commit}
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})


def connect(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Set what HF_ENDPOINT sets, which the library reads only when it is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))


def assert_one_line(error: UserError) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 400


def test_a_predictor_from_the_hub_is_that_of_the_folder(hub: HubServer, folder: Path) -> None:
    found, expected = Predictor.from_pretrained(ID), Predictor.from_pretrained(folder)
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], tensor), name
    assert found.processor.tokenize(EXPRESSIONS) == expected.processor.tokenize(EXPRESSIONS)
    masks = found.predict(picture(), EXPRESSIONS)
    np.testing.assert_array_equal(masks, expected.predict(picture(), EXPRESSIONS))
    asked = {Path(request.path).name for request in hub.asked(f"/{ID}/")}
    assert asked == {"config.json", "model.safetensors", CONFIG, *TOKENIZER_FILES}


@EVERY_LOADER
def test_what_was_downloaded_is_read_without_a_network(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, load: Callable[..., object]
) -> None:
    load(ID)
    connect(monkeypatch, NOBODY)
    assert type(load(ID)) is type(load(ID, local_files_only=True))


@EVERY_LOADER
def test_a_revision_is_chosen(hub: HubServer, load: Callable[..., object]) -> None:
    first = (hub.folder / ID / "main").read_text()
    publish(hub.folder, ID, {"README.md": b"empty"})
    load(ID, revision=first)
    with pytest.raises(UserError, match="404"):
        load(ID)


@EVERY_LOADER
def test_an_unknown_repository_gives_one_line(hub: HubServer, load: Callable[..., object]) -> None:
    with pytest.raises(
        UserError, match=r"tests/other is neither a folder nor a trained model .*401"
    ) as caught:
        load("tests/other")
    assert_one_line(caught.value)


@EVERY_LOADER
@pytest.mark.parametrize("options", [{}, {"local_files_only": True}], ids=["unreachable", "offline"])
def test_without_a_network_one_line_says_so(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, load: Callable[..., object], options: dict[str, bool]
) -> None:
    connect(monkeypatch, NOBODY)
    monkeypatch.setattr(
        "huggingface_hub.utils._http.time.sleep", lambda seconds: None
    )  # between its attempts
    with pytest.raises(UserError, match=r"tests/joint is neither a folder nor a trained model") as caught:
        load(ID, **options)
    assert_one_line(caught.value)


@pytest.mark.parametrize(
    ("load", "missing"),
    [
        ("S2RM", "config.json"),
        ("S2RM", "model.safetensors"),
        ("Processor", "processor_config.json"),
        ("Processor", "tokenizer.json"),
        ("Predictor", "processor_config.json"),
    ],
)
def test_a_repository_that_lacks_a_file_gives_one_line(
    hub: HubServer, folder: Path, load: str, missing: str
) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != missing}
    publish(hub.folder, "tests/half", files)
    with pytest.raises(UserError, match=rf"tests/half is neither .*404.*{missing}") as caught:
        LOADERS[load]("tests/half")
    assert_one_line(caught.value)


@EVERY_LOADER
def test_a_missing_folder_is_looked_for_on_this_machine_only(
    hub: HubServer, tmp_path: Path, load: Callable[..., object]
) -> None:
    """Although "tests/joint" names a repository, too."""
    (tmp_path / "tests").mkdir()
    for name in (ID, Path("nowhere/joint"), str(tmp_path / "joint")):
        with pytest.raises(
            UserError, match=f"{name} is not a trained model: the folder does not exist"
        ) as caught:
            load(name)
        assert_one_line(caught.value)
    assert not hub.requests


def test_a_saved_model_is_three_files_and_its_card_names_the_paper(folder: Path, tmp_path: Path) -> None:
    model = S2RM.from_pretrained(folder)
    assert model.save_pretrained(tmp_path / "saved", push_to_hub=False) is None
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {
        "config.json", "model.safetensors", "README.md",
    }  # fmt: skip
    card = (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")
    assert "Spatial Semantic Recurrent Mining for Referring Image Segmentation" in card
    assert "arxiv.org/abs/2405.09006" in card
    assert "library_name: s2rm" in card


def test_a_model_is_uploaded_and_comes_back(hub: HubServer, folder: Path) -> None:
    model = S2RM.from_pretrained(folder)
    url = model.push_to_hub("tests/uploaded", token="of-the-tests")
    assert str(url).startswith(f"{hub.url}/tests/uploaded/commit/")
    found = S2RM.from_pretrained("tests/uploaded")
    assert found.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


@pytest.mark.slow
def test_a_user_sets_the_endpoint_by_the_environment(hub: HubServer, tmp_path: Path) -> None:
    code = (
        "from PIL import Image; from s2rm import Predictor; "
        f"masks = Predictor.from_pretrained({ID!r}).predict(Image.new('RGB', (60, 40)), ['the red circle']); "
        "print(masks.shape)"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "(1, 40, 60)", done.stderr
    assert list((tmp_path / "home").rglob("model.safetensors"))
