"""Samples and batches from rows of the table."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from transformers import PreTrainedTokenizerBase

from s2rm.config.params import Params
from s2rm.data.dataset import Batch, ExpressionDataset
from s2rm.data.image_zip import ImageFiles
from s2rm.data.processor import Processor
from s2rm.data.rle import encode
from s2rm.data.rows import Rows

SIZE = 32
# image → (width, height); expression → (image, box of the referent), white in the picture
PICTURES = {"wide.png": (90, 40), "tall.png": (30, 80)}
REFERENTS = [
    ("wide.png", "the left one", (5, 10, 30, 30)),
    ("tall.png", "the second star from the right", (0, 50, 30, 70)),
    ("wide.png", "the one on the right", (60, 0, 90, 20)),
]


@pytest.fixture
def dataset(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase, tiny_params: Callable[..., Params]
) -> ExpressionDataset:
    rows = []
    for name, (width, height) in PICTURES.items():
        Image.new("RGB", (width, height)).save(tmp_path / name)
    for name, expression, (x0, y0, x1, y1) in REFERENTS:
        image = Image.open(tmp_path / name)
        mask = np.zeros((image.height, image.width), dtype=bool)
        mask[y0:y1, x0:x1] = True
        image.paste((255, 255, 255), (x0, y0, x1, y1))
        image.save(tmp_path / name)
        rows.append((name, expression, encode(mask), image.height, image.width))
    table = pd.DataFrame(rows, columns=["image_path", "expression", "mask_rle", "height", "width"])
    processor = Processor(tiny_tokenizer, image_size=SIZE, max_tokens=12, mean=(0.5,) * 3, std=(0.5,) * 3)
    return ExpressionDataset(Rows.from_frame(table), ImageFiles(tmp_path), processor)


@pytest.fixture
def batch(dataset: ExpressionDataset) -> Batch:
    return dataset.collate([dataset[[2, 0]], dataset[[1]]])


def test_shapes_and_owners(batch: Batch) -> None:
    assert batch.pixels.shape == (2, 3, SIZE, SIZE)
    assert batch.pixels.dtype == torch.uint8
    assert batch.masks.shape == (3, 1, SIZE, SIZE)
    assert batch.masks.dtype == torch.bool
    assert batch.rows.tolist() == [2, 0, 1]
    assert batch.expression_to_image.tolist() == [0, 0, 1]


def test_words_and_padding(batch: Batch, tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    lengths = [len(tiny_tokenizer(REFERENTS[row][1])["input_ids"]) for row in (2, 0, 1)]
    assert len(set(lengths)) > 1
    assert batch.token_ids.shape == batch.attention_mask.shape == (3, min(12, max(lengths)))
    for ids, mask, row in zip(batch.token_ids, batch.attention_mask, (2, 0, 1), strict=True):
        wanted = tiny_tokenizer(REFERENTS[row][1], truncation=True, max_length=12)["input_ids"]
        assert ids[: len(wanted)].tolist() == wanted
        assert mask.tolist() == [1] * len(wanted) + [0] * (len(mask) - len(wanted))
        assert (ids[len(wanted) :] == tiny_tokenizer.pad_token_id).all()


def test_masks_lie_on_what_they_mark(batch: Batch) -> None:
    """Both are resized alike, whatever the aspect: white is where some mask is."""
    union = torch.stack([batch.masks[:2].any(0), batch.masks[2]])
    white = batch.pixels.float().mean(1, keepdim=True) > 127.5
    assert (union != white).float().mean() < 0.05
    assert 0.1 < union.float().mean() < 0.6
    left, right = batch.masks[1, 0].nonzero()[:, 1], batch.masks[0, 0].nonzero()[:, 1]
    assert left.max() < SIZE / 2 < right.min()
    assert batch.pixels.min() == 0
    assert batch.pixels.max() == 255


def test_a_batch_moves_whole(batch: Batch) -> None:
    moved = batch.to(torch.device("meta"))
    assert {tensor.device.type for tensor in vars(moved).values()} == {"meta"}
