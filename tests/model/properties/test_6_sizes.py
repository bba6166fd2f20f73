"""Property 6: non-square inputs and inputs of another size than the training size work."""

from collections.abc import Callable

import pytest
import torch
from drawn import LANGUAGE_WIDTH, SWIN, draw_language, groupings, seeds, sizes, values
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from s2rm.config.params import Params
from s2rm.model.build import build_fusion
from s2rm.model.s2rm import S2RM

Build = Callable[..., S2RM]
MODELS = {
    "conv": (),
    "gru-match": ("fusion.recurrence=gru", "fusion.state=match"),
    "cascade": ("fusion.cascade=bottom_up",),
    "swin": SWIN,
}
FUSIONS = {
    "s2rm": (),
    "gru": ("fusion.recurrence=gru",),
    "match": ("fusion.state=match", "fusion.rotations=2"),
    "word-query": ("fusion.query=word",),
    "tile": ("fusion.distribution=tile",),
    "no-coparsing": ("fusion.coparsing=none",),
    "pwam": ("fusion.kind=pwam",),
    "concat": ("fusion.kind=concat",),
    "none": ("fusion.kind=none",),
}
multiples_of_16 = st.integers(2, 10).map(lambda times: 16 * times)  # what vision.image_size allows


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def model(build_tiny: Build, request: pytest.FixtureRequest) -> S2RM:
    """Built for images of 64×64."""
    return build_tiny(*request.param)


@settings(max_examples=6)
@given(height=multiples_of_16, width=multiples_of_16, seed=seeds)
def test_a_model_takes_images_of_any_size(model: S2RM, height: int, width: int, seed: int) -> None:
    images = values(1, 3, height, width, seed=seed).requires_grad_()
    token_ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    masks = model(images, token_ids, torch.ones_like(token_ids), torch.tensor([0, 0]))
    assert masks.logits.shape == (2, 1, height, width)
    assert [m.shape for m in masks.coarse] == [
        (2, 1, -(-height // s), -(-width // s)) for s in (4, 8, 16, 32)
    ]
    check_finite(masks.logits, images)


@pytest.mark.parametrize("overrides", FUSIONS.values(), ids=FUSIONS)
@settings(max_examples=10)
@given(size=sizes, tokens=st.integers(1, 9), grouping=groupings(), seed=seeds)
def test_a_fusion_takes_maps_of_any_size(
    tiny_params: Callable[..., Params],
    overrides: tuple[str, ...],
    size: tuple[int, int],
    tokens: int,
    grouping: tuple[int, list[int]],
    seed: int,
) -> None:
    params = tiny_params(*overrides).fusion
    fusion = build_fusion(params, 1, 8, None if params.kind == "none" else LANGUAGE_WIDTH).double()
    images, owners = grouping
    n = len(owners)
    vision = values(images, 8, *size, seed=seed).requires_grad_()
    language = draw_language(n, tokens, seed=seed + 1)
    fused = fusion(vision, language, torch.tensor(owners))
    assert fused.shape == (n, 8, *size)
    check_finite(fused, vision)


def check_finite(outputs: Tensor, inputs: Tensor) -> None:
    assert torch.isfinite(outputs).all()
    gradient = torch.autograd.grad(outputs.square().sum(), inputs)[0]
    assert torch.isfinite(gradient).all()
    assert gradient.any()
