"""A trained folder with random damage predicts sound masks, or there is one line."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from mutations import is_one_line, mutate_files, randoms
from PIL import Image
from tiny_model import save
from transformers import PreTrainedTokenizerBase

from s2rm.core.errors import UserError
from s2rm.model.s2rm import S2RM
from s2rm.predictor import Predictor

pytestmark = pytest.mark.fuzz


@pytest.fixture(scope="module")
def trained(
    build_tiny: Callable[..., S2RM],
    tiny_tokenizer: PreTrainedTokenizerBase,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, bytes]:
    folder = save(build_tiny(), tiny_tokenizer, tmp_path_factory.mktemp("trained") / "joint")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "README.md"}


def predict(files: dict[str, bytes]) -> bool:
    """Return whether masks are predicted; otherwise there is an error of one line."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        try:
            predictor = Predictor.from_pretrained(folder, device="cpu")
            masks = predictor.predict(Image.new("RGB", (30, 20), "red"), ["the red circle", "a square"])
        except UserError as error:
            assert is_one_line(error), str(error)  # noqa: PT017
            return False
    assert masks.shape == (2, 20, 30)
    assert masks.dtype == np.bool_
    return True


def test_the_folder_without_damage_predicts(trained: dict[str, bytes]) -> None:
    assert predict(trained)


@given(random=randoms)
@settings(max_examples=40)
def test_a_damaged_folder_predicts_or_gives_one_line(trained: dict[str, bytes], random: Random) -> None:
    predict(mutate_files(trained, random))


@pytest.mark.slow
@given(random=randoms)
@settings(max_examples=400)
def test_a_folder_damaged_in_many_ways_predicts_or_gives_one_line(
    trained: dict[str, bytes], random: Random
) -> None:
    predict(mutate_files(trained, random))
