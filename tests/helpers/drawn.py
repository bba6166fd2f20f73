"""Strategies for hypothesis: sizes, kernels, rotations, groupings; values follow from a drawn seed.

Shapes: B images, N expressions, C channels, H×W positions, T tokens, D width of the text.
"""

from itertools import product
from typing import get_args

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from s2rm.config.params import Fusion
from s2rm.model.encoders.language import LanguageFeatures
from s2rm.model.fusion.coparse import Coparse

EVERY_RECURRENCE = pytest.mark.parametrize(
    ("recurrence", "state"),
    list(product(*(get_args(Fusion.model_fields[key].annotation) for key in ("recurrence", "state")))),
)
LANGUAGE_WIDTH = 16
SWIN = (
    "vision.backbone=swin_tiny_patch4_window7_224",
    "~vision.options",
    "+vision.options={embed_dim: 24, depths: [1, 1, 1, 1], num_heads: [1, 2, 4, 8], window_size: 3}",
)

sides = st.integers(1, 6)
sizes = st.tuples(sides, sides)  # height and width, square or not, down to a single slice
widths = st.sampled_from([8, 16, 24])
kernels = st.sampled_from([1, 3, 5])
seeds = st.integers(0, 2**30)


@st.composite
def groupings(draw: st.DrawFn, images: int = 3, expressions: int = 5) -> tuple[int, list[int]]:
    """Draw a number B of images and the image of each expression; an image may have none, or several."""
    count = draw(st.integers(1, images))
    return count, draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=expressions))


def values(*shape: int, seed: int) -> Tensor:
    """Return normally distributed values of this shape, in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw_language(expressions: int, tokens: int, seed: int) -> LanguageFeatures:
    """Return random features of N `expressions` of T `tokens` each, without padding, D = `LANGUAGE_WIDTH`."""
    return LanguageFeatures(
        words=values(expressions, tokens, LANGUAGE_WIDTH, seed=seed),
        word_mask=torch.ones(expressions, tokens, dtype=torch.bool),
        sentence=values(expressions, LANGUAGE_WIDTH, seed=seed + 1),
    )


def build_coparse(width: int, kernel: int, recurrence: str, rotations: int, state: str, seed: int) -> Coparse:
    """Return one role of the coparsing in float64, with weights that follow from the seed."""
    torch.manual_seed(seed)
    return Coparse(width, kernel, recurrence, rotations, state).double()
