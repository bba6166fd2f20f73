"""The predictor: masks of an image's own size, the same however the expressions are batched."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tiny_model import processor_of, save
from transformers import PreTrainedTokenizerBase

from s2rm.core.errors import UserError
from s2rm.data.images import to_rgb
from s2rm.data.processor import CONFIG
from s2rm.model.s2rm import S2RM
from s2rm.predictor import Predictor

EXPRESSIONS = ["the red circle", "a blue square on the left", "the second star from the right"]


@pytest.fixture(scope="module")
def folder(
    build_tiny: Callable[..., S2RM],
    tiny_tokenizer: PreTrainedTokenizerBase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A trained folder."""
    return save(build_tiny(), tiny_tokenizer, tmp_path_factory.mktemp("trained") / "joint")


@pytest.fixture(scope="module")
def predictor(build_tiny: Callable[..., S2RM], tiny_tokenizer: PreTrainedTokenizerBase) -> Predictor:
    """In float64, with a threshold that parts the pixels."""
    model = build_tiny()
    predictor = Predictor(Float64(model), processor_of(model, tiny_tokenizer))
    predictor.threshold = float(np.median(probabilities(predictor, picture(), EXPRESSIONS)))
    return predictor


class Float64(torch.nn.Module):
    """A model in float64 that takes images in float32."""

    def __init__(self, model: S2RM) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor, **inputs: torch.Tensor) -> object:
        return self.model(images.double(), **inputs)


def picture(width: int = 60, height: int = 40) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@torch.no_grad()
def probabilities(predictor: Predictor, image: Image.Image, expressions: list[str]) -> NDArray[np.floating]:
    """Of each pixel of the image; written out, with the model's own forward pass."""
    inputs = predictor.processor([image], [expressions])
    logits = predictor.model(**inputs).logits
    resized = torch.nn.functional.interpolate(logits.float(), (image.height, image.width), mode="bilinear")
    return resized.sigmoid()[:, 0].numpy()


def test_several_expressions_at_once_equal_one_by_one(predictor: Predictor) -> None:
    together = predictor.predict(picture(), EXPRESSIONS)
    assert together.shape == (3, 40, 60)
    assert together.dtype == bool
    for mask, expression in zip(together, EXPRESSIONS, strict=True):
        np.testing.assert_array_equal(predictor.predict(picture(), [expression])[0], mask)
        assert 0 < mask.mean() < 1
    assert not np.array_equal(together[0], together[1])


@pytest.mark.parametrize(("width", "height"), [(17, 93), (64, 64), (200, 30)])
def test_masks_have_the_size_of_the_image(predictor: Predictor, width: int, height: int) -> None:
    image = picture(width, height)
    expected = probabilities(predictor, image, EXPRESSIONS[:2]) > predictor.threshold
    np.testing.assert_array_equal(predictor.predict(image, EXPRESSIONS[:2]), expected)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "HSV", "I;16", "F"])
def test_an_image_of_any_mode_is_read_as_rgb(predictor: Predictor, mode: str) -> None:
    image = picture().convert("L").convert(mode) if mode[0] in "IF" else picture().convert(mode)
    expected = predictor.predict(to_rgb(image), EXPRESSIONS)
    np.testing.assert_array_equal(predictor.predict(image, EXPRESSIONS), expected)


@pytest.mark.parametrize("expressions", [[], [""], ["the red circle", " \t"], ["\u200b"]], ids=repr)
def test_an_empty_expression_is_refused(predictor: Predictor, expressions: list[str]) -> None:
    said = f"expression {len(expressions)} is empty" if expressions else "no list of expressions is given"
    with pytest.raises(UserError, match=said) as caught:
        predictor.predict(picture(), expressions)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("expressions", [["\ud800"], ["the \udcff circle"], ["\udcc3\udca9"]], ids=ascii)
def test_undecodable_bytes_are_refused(predictor: Predictor, expressions: list[str]) -> None:
    with pytest.raises(UserError, match="expression 1 is not valid text"):
        predictor.predict(picture(), expressions)


def test_one_text_is_not_taken_for_a_list_of_letters(predictor: Predictor) -> None:
    with pytest.raises(UserError, match="no list of expressions"):
        predictor.predict(picture(), "the red circle")


def test_words_that_are_unknown_or_cut_are_said(
    predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    predictor.predict(picture(), EXPRESSIONS)
    assert not caplog.messages
    predictor.predict(picture(), ["the 象", "the red circle", "the red circle " * 5])
    assert caplog.messages == [
        "'the 象': the model's vocabulary does not know '象'",
        f"{'the red circle ' * 5!r}: cut after 10 of 15 words: the model reads 12 tokens",
    ]


def test_weights_that_give_no_numbers_are_refused(
    build_tiny: Callable[..., S2RM], tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    model = build_tiny().float()
    with torch.no_grad():
        next(iter(model.decoder.parameters())).fill_(float("nan"))
    with pytest.raises(UserError, match="the model gives no numbers"):
        Predictor(model, processor_of(model, tiny_tokenizer)).predict(picture(), EXPRESSIONS)


def test_a_pixel_above_the_threshold_is_foreground(predictor: Predictor) -> None:
    found = probabilities(predictor, picture(), EXPRESSIONS)
    for threshold in (0.0, float(np.quantile(found, 0.2)), float(np.quantile(found, 0.9)), 1.0):
        chosen = Predictor(predictor.model, predictor.processor, threshold)
        np.testing.assert_array_equal(chosen.predict(picture(), EXPRESSIONS), found > threshold)


def test_a_folder_is_loaded_with_threshold_and_device(folder: Path) -> None:
    default = Predictor.from_pretrained(folder)
    assert default.threshold == 0.5
    assert not default.model.training
    here = "cuda" if torch.cuda.is_available() else "cpu"
    assert {parameter.device.type for parameter in default.model.parameters()} == {here}
    chosen = Predictor.from_pretrained(str(folder), 0.25, device="meta")
    assert chosen.threshold == 0.25
    assert {parameter.device.type for parameter in chosen.model.parameters()} == {"meta"}


def test_a_loaded_predictor_is_the_model_that_was_saved(
    folder: Path, build_tiny: Callable[..., S2RM], tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    model = build_tiny().float()
    loaded = Predictor.from_pretrained(folder, device="cpu")
    made = Predictor(model.to(memory_format=torch.channels_last), processor_of(model, tiny_tokenizer))
    np.testing.assert_array_equal(
        loaded.predict(picture(), EXPRESSIONS), made.predict(picture(), EXPRESSIONS)
    )


def test_a_folder_of_an_earlier_version_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    """It had config.json, model.safetensors and the tokenizer, but no processor."""
    for path in folder.iterdir():
        if path.name not in (CONFIG, "README.md"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"processor_config\.json is missing; train it again") as caught:
        Predictor.from_pretrained(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_parameter_that_the_folder_lacks_takes_no_default(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    del config["fusion"]["cascade"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"this version: config\.json lacks fusion\.cascade; train") as caught:
        Predictor.from_pretrained(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)
