"""A processor makes the inputs of the model, and is loaded as it was saved."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import PreTrainedTokenizerBase

from s2rm.core.errors import UserError
from s2rm.data.processor import CONFIG, Processor
from s2rm.data.transforms import normalise, to_pixels

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


@pytest.fixture
def processor(tiny_tokenizer: PreTrainedTokenizerBase) -> Processor:
    return Processor(tiny_tokenizer, image_size=32, max_tokens=6, mean=MEAN, std=STD)


def test_one_image_and_its_expressions(processor: Processor) -> None:
    image = Image.new("RGB", (50, 40), (200, 100, 0))
    inputs = processor(image, ["the red circle", "a blue square on the left"])
    assert torch.equal(inputs["images"], normalise(to_pixels(image, 32), MEAN, STD)[None])
    assert inputs["token_ids"].shape == inputs["attention_mask"].shape == (2, 6)
    assert inputs["token_ids"][0].tolist()[:5] == processor.tokenizer("the red circle")["input_ids"][:5]
    assert inputs["expression_to_image"].tolist() == [0, 0]


def test_several_images_with_lists_of_expressions(processor: Processor) -> None:
    images = [Image.new("RGB", (10, 10)), Image.new("RGB", (20, 30), (255, 255, 255))]
    inputs = processor(images, [["the star"], ["the red circle", "the square", "a circle"]])
    assert inputs["images"].shape == (2, 3, 32, 32)
    assert inputs["expression_to_image"].tolist() == [0, 1, 1, 1]


def test_round_trip(processor: Processor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path / "new" / "folder")
    for name in (tmp_path / "new" / "folder", str(tmp_path / "new" / "folder")):
        loaded = Processor.from_pretrained(name)
        assert (loaded.image_size, loaded.max_tokens, loaded.mean, loaded.std) == (32, 6, MEAN, STD)
        assert loaded.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
        assert loaded.tokenize(["the red circle"]) == processor.tokenize(["the red circle"])


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"image_size": "wide"}'])
def test_a_damaged_configuration_gives_one_line(processor: Processor, tmp_path: Path, content: str) -> None:
    processor.save_pretrained(tmp_path)
    (tmp_path / CONFIG).write_text(content)
    with pytest.raises(UserError, match="is not a processor's configuration") as caught:
        Processor.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_tokenizer_gives_one_line(tmp_path: Path) -> None:
    config = {"image_size": 32, "max_tokens": 6, "mean": MEAN, "std": STD}
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(UserError, match="does not contain a tokenizer"):
        Processor.from_pretrained(tmp_path)
