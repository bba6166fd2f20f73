"""A text encoder from a folder: its weights, or one clear line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_encoders import bert_files
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2Model,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaForMaskedLM,
)

from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.data.tokenizer import build_tokenizer
from s2rm.model.create import create_for_training
from s2rm.model.encoders.language import LanguageEncoder
from s2rm.model.encoders.text_encoders import build_text_model, pretrained_config
from s2rm.model.s2rm import S2RM

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = BertModel(BertConfig(**SIZES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "language")
    return tmp_path / "language"


def without(folder: Path, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_model_starts_from_the_folder_and_is_as_large(
    folder: Path, tiny_params: Callable[..., Params], tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    params = tiny_params("language.pretrained=some/bert", "language.hidden=32")
    model = create_for_training(params, tiny_tokenizer, language_weights=folder)
    assert model.language is not None
    assert model.language.width == SIZES["hidden_size"]
    assert model.config.text_model["max_position_embeddings"] == SIZES["max_position_embeddings"]
    saved, started = load_file(folder / "model.safetensors"), model.language.text_model.state_dict()
    assert started.keys() == {key for key in saved if not key.startswith("pooler")}
    assert all(torch.equal(tensor, saved[key]) for key, tensor in started.items())


@pytest.mark.parametrize("encoder", ["vision.pretrained=true", "language.pretrained=some/bert"])
def test_pretrained_encoders_never_start_at_random(
    encoder: str, tiny_params: Callable[..., Params], tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(UserError, match=f"{encoder.split('=')[0]} is .* not given"):
        create_for_training(tiny_params(encoder), tiny_tokenizer)


def test_a_pretrained_tokenizer_is_never_trained(tiny_params: Callable[..., Params]) -> None:
    with pytest.raises(UserError, match=r"language\.pretrained is some/bert, but its tokenizer is not given"):
        build_tokenizer(["a red circle"], tiny_params("language.pretrained=some/bert").language)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    GPT2Model(GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(
        UserError,
        match=r"contains a gpt2 model, not a BERT, RoBERTa, DistilBERT or CLIP: set another language\.pretra",
    ):
        pretrained_config(tmp_path)


def test_missing_weights_are_refused(folder: Path) -> None:
    """transformers only says so in its log, and would leave them random."""
    without(folder, "encoder.layer.0.output.dense.weight")
    with pytest.raises(
        UserError, match=r"missing 1 weights of BERT \(e\.g\. encoder\.layer\.0\.output\.dense\.weight\)"
    ):
        build_text_model(pretrained_config(folder), folder)


def test_weights_that_bert_does_not_have_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.1.output.dense.weight"] = torch.zeros(3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UserError,
        match=r"1 weights that BERT does not have \(e\.g\. encoder\.layer\.1\.output\.dense\.weight\)",
    ) as caught:
        build_text_model(pretrained_config(folder), folder)
    assert "\n" not in str(caught.value)


def test_the_published_layout_is_loaded_whole(tmp_path: Path) -> None:
    """As bert-base-uncased: `bert.` before every name, old names of LayerNorm, with pooler and heads."""
    for name, content in bert_files().items():
        (tmp_path / name).write_bytes(content)
    saved = load_file(tmp_path / "model.safetensors")
    # Some files hold buffers too, which transformers makes itself.
    save_file(
        saved | {"bert.embeddings.position_ids": torch.arange(32)[None]},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    bert = build_text_model(pretrained_config(tmp_path), tmp_path)
    started = bert.state_dict()
    renamed = {
        name.removeprefix("bert.").replace(".gamma", ".weight").replace(".beta", ".bias"): tensor
        for name, tensor in saved.items()
        if not name.startswith(("cls.", "bert.pooler."))
    }
    assert len(renamed) < len(saved)
    assert started.keys() == renamed.keys()
    assert all(torch.equal(tensor, renamed[name]) for name, tensor in started.items())


@pytest.mark.parametrize("content", [None, b"", b"\x10\0\0\0\0\0\0\0not tensors at all"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_broken_folder_gives_one_line(folder: Path, name: str, content: bytes | None) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=r"does not contain a (BERT|text) model") as caught:
        build_text_model(pretrained_config(folder), folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def make_others() -> dict[str, PreTrainedModel]:
    """Models with their heads, as they are published."""
    torch.manual_seed(3)
    text = {"projection_dim": 8, **SIZES, "bos_token_id": 1, "eos_token_id": 39}
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
              "image_size": 32, "patch_size": 16}  # fmt: skip
    distilled = {"vocab_size": 40, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
    return {
        "roberta": RobertaForMaskedLM(RobertaConfig(**SIZES, pad_token_id=1)),
        "distilbert": DistilBertForMaskedLM(DistilBertConfig(**distilled, max_position_embeddings=64)),
        "clip": CLIPModel(CLIPConfig(text_config=text, vision_config=vision)),
    }


@pytest.mark.parametrize("name", ["roberta", "distilbert", "clip"])
def test_other_text_encoders_give_what_transformers_gives(tmp_path: Path, name: str) -> None:
    published = make_others()[name].eval()
    published.save_pretrained(tmp_path)
    encoder = LanguageEncoder(build_text_model(pretrained_config(tmp_path), tmp_path)).eval()
    ids = torch.randint(3, 38, (3, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] * 2 + [0] * 4])
    ids = ids.masked_fill(mask == 0, 1)
    tower = published.text_model if name == "clip" else published.base_model
    with torch.no_grad():
        expected = tower(input_ids=ids, attention_mask=mask).last_hidden_state
        found = encoder(ids, mask)
    torch.testing.assert_close(found.words[mask.bool()], expected[mask.bool()])
    torch.testing.assert_close(found.sentence[2], expected[2, :2].mean(0))
    encoder.freeze(1)
    assert all(not each.requires_grad for each in encoder.text_model.get_submodule("embeddings").parameters())
    assert all(
        not each.requires_grad for each in encoder.text_model.get_submodule(encoder.kind.layers).parameters()
    )
    with pytest.raises(UserError, match=r"language\.frozen is 2: this text model has 1 layers"):
        encoder.freeze(2)


@pytest.mark.parametrize("name", ["roberta", "distilbert", "clip"])
def test_other_text_encoders_are_saved_with_the_model(
    tmp_path: Path, tiny_params: Callable[..., Params], tiny_tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    make_others()[name].save_pretrained(tmp_path / "language")
    params = tiny_params(f"language.pretrained={tmp_path}/language")
    model = create_for_training(params, tiny_tokenizer, language_weights=tmp_path / "language")
    model.save_pretrained(tmp_path / "model")
    again = S2RM.from_pretrained(tmp_path / "model")
    assert type(again.language.text_model) is type(model.language.text_model)
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
