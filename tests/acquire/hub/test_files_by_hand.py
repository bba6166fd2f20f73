"""Encoders whose files were placed by hand: what is missing, damaged or of another kind is one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
from files_by_hand import HandStore
from safetensors.torch import save
from tiny_encoders import BERT, WORDS, bert_files

from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.model.encoders.vision import build_backbone


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return bert_files()


@pytest.fixture
def store(tmp_path: Path, tiny_params: Callable[..., Params]) -> HandStore:
    return HandStore(tmp_path, tiny_params(f"language.pretrained={BERT}"))


def edit(content: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(content) | changes).encode()


def one_line(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bert_without_its_vocabulary_is_refused_with_the_files_to_place(
    store: HandStore, files: dict[str, bytes]
) -> None:
    store.place({name: files[name] for name in ("config.json", "model.safetensors")})
    said = one_line(store.fetch)
    assert "lacks tokenizer.json or vocab.txt: place config.json, tokenizer.json or vocab.txt, mod" in said
    assert str(store.folder) in said
    store.place({"vocab.txt": files["vocab.txt"]})
    store.fetch()
    store.start()  # the advice is true


def test_a_file_that_is_placed_later_is_taken_too(store: HandStore, files: dict[str, bytes]) -> None:
    store.place({name: files[name] for name in ("config.json", "vocab.txt", "model.safetensors")})
    store.fetch()
    store.place({"tokenizer_config.json": files["tokenizer_config.json"]})
    store.fetch()
    assert (store.root / "weights" / "language" / "tokenizer_config.json").is_file()


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", lambda old: edit(old, model_type="gpt2"), "is a gpt2 model: choose"),
        (
            "config.json",
            lambda old: edit(old, model_type="t5"),
            "is a t5 model: choose",
        ),
        ("config.json", lambda old: edit(old, model_type=None), "no model_type in its config.json"),
        ("config.json", lambda old: edit(old, max_position_embeddings=8), "has 8 positions"),
        ("config.json", lambda _: b"[]", "no model_type in its config.json"),
        ("config.json", lambda _: b"", "corrupt or truncated JSON"),
        ("config.json", lambda old: old[:40], "corrupt or truncated JSON"),
        ("config.json", lambda _: b"<html>404</html>", "corrupt or truncated JSON"),
        ("model.safetensors", lambda _: b"", "is not a complete safetensors file"),
        ("model.safetensors", lambda old: old[:1000], "is not a complete safetensors file"),
        ("model.safetensors", lambda old: old[:-1], "is not a complete safetensors file"),
        (
            "model.safetensors",
            lambda _: b"\x80\x04\x95" + b"pickle" * 100,
            "is not a complete safetensors file",
        ),
        (
            "model.safetensors",
            lambda _: b"version https://git-lfs.github.com/spec/v1\n",
            "complete safetensors",
        ),
        ("model.safetensors", lambda _: b"\x02\0\0\0\0\0\0\0{}", "holds no weights"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named_before_any_training(
    store: HandStore, files: dict[str, bytes], name: str, content: Callable[[bytes], bytes], said: str
) -> None:
    store.place(files | {name: content(files[name])})
    line = one_line(store.fetch)
    assert said in line
    assert str(store.folder / name) in line
    store.place(files)  # the advice: placed again
    store.fetch()


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "model.safetensors"])
def test_a_folder_in_place_of_a_file_is_named(store: HandStore, files: dict[str, bytes], name: str) -> None:
    store.place({key: content for key, content in files.items() if key != name})
    (store.folder / name).mkdir()
    assert f"{store.folder / name} is a folder" in one_line(store.fetch)


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda files: {"config.json": edit(files["config.json"], vocab_size=20)},
            "token ids, the model beside it 20",
        ),
        (lambda files: {"config.json": edit(files["config.json"], vocab_size="many")}, "vocab_size"),
        (
            lambda files: {"config.json": edit(files["config.json"], hidden_size=24)},
            "does not contain a BERT model",
        ),
        (
            lambda files: {"config.json": edit(files["config.json"], num_hidden_layers=2)},
            "is missing 16 weights",
        ),
        (lambda files: {"tokenizer.json": b"{}"}, "does not contain a tokenizer"),
        (lambda files: {"tokenizer.json": b""}, "does not contain a tokenizer"),
        (lambda files: {"tokenizer.json": files["tokenizer.json"][:200]}, "does not contain a tokenizer"),
        (lambda files: {"tokenizer_config.json": b"no JSON"}, "does not contain a tokenizer"),
    ],
)
def test_files_that_do_not_belong_together_are_refused_at_the_start_of_a_training(
    store: HandStore,
    files: dict[str, bytes],
    change: Callable[[dict[str, bytes]], dict[str, bytes]],
    said: str,
) -> None:
    store.place(files | change(files))
    store.fetch()
    assert said in one_line(store.start)


@pytest.mark.parametrize(
    "expressions",
    [
        ["красный круг слева"],
        ["左边的红色圆圈"],
        ["🔴 🔵"],
        ["赤い 丸", "the circle"],
        ["δίσκος", "κόκκινος", "red"],
    ],
)
def test_expressions_that_the_vocabulary_does_not_know_are_refused(
    store: HandStore, files: dict[str, bytes], expressions: list[str]
) -> None:
    store.place(files)
    store.fetch()
    said = one_line(lambda: store.start(expressions))
    assert f"the tokenizer of {BERT} does not know" in said or "has a letter or a digit" in said


def test_the_vocabulary_of_another_model_is_refused(store: HandStore, files: dict[str, bytes]) -> None:
    foreign = [word if word.startswith("[") else f"[unused{index}]" for index, word in enumerate(WORDS)]
    store.place({name: files[name] for name in ("config.json", "model.safetensors")})
    store.place({"vocab.txt": "\n".join(foreign).encode()})
    store.fetch()
    assert "does not know 11 of 11 words" in one_line(store.start)


@pytest.mark.hostile
@pytest.mark.parametrize("backbone", ["resnet10t", "convnext_atto", "mobilenetv3_small_050"])
@pytest.mark.parametrize("given", ["resnet14t", "vit_tiny_patch16_224", "nothing", "pickle", "cut", "empty"])
def test_vision_weights_of_another_kind_are_one_line(tmp_path: Path, backbone: str, given: str) -> None:
    weights = tmp_path / "vision.safetensors"
    contents = {"nothing": save({}), "pickle": b"\x80\x04" + 500 * b"x", "empty": b""}
    if given in contents:
        weights.write_bytes(contents[given])
    else:
        name = backbone if given == "cut" else given
        weights.write_bytes(save(timm.create_model(name, pretrained=False).state_dict()))
    if given == "cut":
        weights.write_bytes(weights.read_bytes()[:-7])
    said = one_line(lambda: build_backbone(backbone, weights=weights, image_size=64, options={}))
    assert str(weights) in said
