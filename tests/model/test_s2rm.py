"""A trained model as a folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_model import save
from transformers import PreTrainedTokenizerBase

from s2rm.core.errors import UserError
from s2rm.data.processor import Processor
from s2rm.model.s2rm import S2RM

Build = Callable[..., S2RM]


def logits_of(model: S2RM) -> torch.Tensor:
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    token_ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        return model(images, token_ids, torch.ones_like(token_ids), torch.tensor([0])).logits


def corrupt(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("overrides", [(), ("fusion.kind=none",), ("fusion.cascade=bottom_up",)], ids=str)
def test_round_trip(
    build_tiny: Build, tiny_tokenizer: PreTrainedTokenizerBase, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    model = build_tiny(*overrides).float()
    save(model, tiny_tokenizer, tmp_path / "new" / "folder")
    loaded = S2RM.from_pretrained(tmp_path / "new" / "folder")
    assert not loaded.training
    assert loaded.config.model_dump_json() == model.config.model_dump_json()
    assert torch.equal(logits_of(loaded), logits_of(model))
    expression = "the red circle on the left"
    processor = Processor.from_pretrained(tmp_path / "new" / "folder")
    assert processor.tokenizer(expression) == tiny_tokenizer(expression)
    assert (processor.mean, processor.std) == (model.vision.mean, model.vision.std)


def test_pretrained_weights_are_not_asked_for_again(
    build_tiny: Build,
    tiny_tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model trained from pretrained encoders loads offline: all weights are its own."""
    model = build_tiny().float()
    save(model, tiny_tokenizer, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision"]["pretrained"], config["language"]["pretrained"] = True, "no/such-bert"
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert torch.equal(logits_of(S2RM.from_pretrained(tmp_path)), logits_of(model))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", None, "config.json is missing"),
        ("model.safetensors", None, "model.safetensors is missing"),
        ("model.safetensors", b"", "cannot be read by this version"),
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0not tensors at all", "cannot be read by this version"),
        ("config.json", b"{", "cannot be read by this version"),
        ("config.json", b"\xff\xfe", "cannot be read by this version"),
        ("config.json", b"[]", "cannot be read by this version"),
        ("config.json", b'{"fusion": {}}', "cannot be read by this version"),
    ],
)
def test_broken_folders_give_one_line(
    build_tiny: Build,
    tiny_tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
    name: str,
    content: bytes | None,
    said: str,
) -> None:
    save(build_tiny(), tiny_tokenizer, tmp_path)
    corrupt(tmp_path, name, content)
    with pytest.raises(UserError, match=said) as caught:
        S2RM.from_pretrained(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["vision", "fusion.cascade", "language.tokens", "decoder.width", "text_model"]
)
def test_a_missing_parameter_takes_no_default(
    build_tiny: Build, tiny_tokenizer: PreTrainedTokenizerBase, tmp_path: Path, key: str
) -> None:
    save(build_tiny(), tiny_tokenizer, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    section, _, field = key.partition(".")
    del (config[section] if field else config)[field or section]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        UserError, match=f"cannot be read by this version: config.json lacks {key};"
    ) as caught:
        S2RM.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_refused(
    build_tiny: Build, tiny_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    save(build_tiny("fusion.balancing=false"), tiny_tokenizer, tmp_path / "other")
    save(build_tiny(), tiny_tokenizer, tmp_path)
    (tmp_path / "other" / "model.safetensors").replace(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="balance") as caught:
        S2RM.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_truncated_weights_are_refused(
    build_tiny: Build, tiny_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    save(build_tiny(), tiny_tokenizer, tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(UserError, match="cannot be read by this version"):
        S2RM.from_pretrained(tmp_path)


def test_a_folder_without_a_processor(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"processor_config\.json is missing") as caught:
        Processor.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)
