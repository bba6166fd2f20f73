"""Files of encoders with random damage: a training starts with sound weights, or there is one line."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import pytest
import torch
from files_by_hand import HandStore
from hypothesis import given, settings
from mutations import is_one_line, mutate_files, randoms
from tiny_encoders import bert_files

from s2rm.config.params import Params
from s2rm.core.errors import UserError

pytestmark = pytest.mark.fuzz


@cache
def sound() -> dict[str, bytes]:
    return bert_files()


def start(files: dict[str, bytes], params: Params) -> None:
    """The stage `weights` and the start of a training."""
    with tempfile.TemporaryDirectory() as folder:
        store = HandStore(Path(folder), params)
        store.place(files)
        try:
            store.fetch()
            model, tokenizer = store.start()
        except UserError as error:
            assert is_one_line(error), str(error)  # noqa: PT017
            return
        token_ids = torch.tensor(tokenizer(["the red circle"], truncation=True, max_length=12)["input_ids"])
        assert len(set(token_ids[0].tolist())) > 3, "the words differ"
        found = model.encode_expressions(token_ids, torch.ones_like(token_ids))
        assert found is not None
        assert found.words.shape[:2] == token_ids.shape


@pytest.mark.slow
@given(random=randoms)
@settings(max_examples=40)
def test_damaged_files_start_a_training_or_give_one_line(
    tiny_params: Callable[..., Params], random: Random
) -> None:
    start(mutate_files(sound(), random), tiny_params("language.pretrained=tests/tiny-bert"))


@pytest.mark.slow
@given(random=randoms)
@settings(max_examples=300)
def test_files_damaged_in_many_ways_start_a_training_or_give_one_line(
    tiny_params: Callable[..., Params], random: Random
) -> None:
    start(mutate_files(sound(), random), tiny_params("language.pretrained=tests/tiny-bert"))
