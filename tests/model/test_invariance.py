"""What must not matter to the whole model, and the shapes that it takes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from s2rm.model.ris import S2RM

Build = Callable[..., S2RM]
SWIN = (
    "vision.backbone=swin_tiny_patch4_window7_224",
    "vision.options={embed_dim: 24, depths: [1, 1, 1, 1], num_heads: [1, 2, 4, 8], window_size: 3}",
)
KINDS = pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("fusion.recurrence=gru", "fusion.cascade=bottom_up"),
        ("fusion.coparsing=none", "fusion.distribution=tile", "decoder.kind=fpn"),
        ("fusion.kind=pwam",),
        ("fusion.kind=concat",),
        SWIN,
    ],
    ids=["s2rm", "gru-cascade", "no-coparsing", "pwam", "concat", "swin"],
)
OWNERS = torch.tensor([0, 0, 1, 2, 2])  # the image of each expression


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Three images and the token ids and masks of five expressions of 3 to 7 tokens."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(3, 3, 64, 64, generator=random, dtype=torch.float64)
    lengths = torch.tensor([3, 7, 5, 4, 6])
    mask = (torch.arange(7) < lengths[:, None]).long()
    token_ids = torch.randint(5, 40, (5, 7), generator=random) * mask
    return images, token_ids, mask


@KINDS
@torch.no_grad()
def test_padding_words_change_nothing(
    build_tiny: Build, batch: tuple[Tensor, Tensor, Tensor], overrides: tuple[str, ...]
) -> None:
    model, (images, token_ids, mask) = build_tiny(*overrides), batch
    expected = model(images, token_ids, mask, OWNERS)
    longer_ids = torch.nn.functional.pad(token_ids, (0, 3))
    longer_ids[:, 7:] = 9  # not even padding tokens, but masked
    longer_ids = torch.where(torch.nn.functional.pad(mask, (0, 3)) == 0, 9, longer_ids)
    found = model(images, longer_ids, torch.nn.functional.pad(mask, (0, 3)), OWNERS)
    torch.testing.assert_close(found.logits, expected.logits)
    assert expected.logits.std() > 1e-3


@KINDS
@torch.no_grad()
def test_batch_mates_and_grouping_change_nothing(
    build_tiny: Build, batch: tuple[Tensor, Tensor, Tensor], overrides: tuple[str, ...]
) -> None:
    model, (images, token_ids, mask) = build_tiny(*overrides), batch
    expected = model(images, token_ids, mask, OWNERS).logits
    # Each expression alone, with an image of its own and without padding.
    for n, owner in enumerate(OWNERS.tolist()):
        words = int(mask[n].sum())
        own = images[owner : owner + 1], token_ids[n : n + 1, :words], mask[n : n + 1, :words]
        alone = model(*own, torch.tensor([0]))
        torch.testing.assert_close(alone.logits[0], expected[n])
    # Every expression with its own copy of the image; expressions and images in another order.
    copies = model(images[OWNERS], token_ids, mask, torch.arange(5))
    torch.testing.assert_close(copies.logits, expected)
    order = torch.tensor([4, 1, 2, 0, 3])
    shuffled = model(images.flip(0), token_ids[order], mask[order], 2 - OWNERS[order])
    torch.testing.assert_close(shuffled.logits, expected[order])


@KINDS
@torch.no_grad()
def test_expressions_and_images_do_matter(
    build_tiny: Build, batch: tuple[Tensor, Tensor, Tensor], overrides: tuple[str, ...]
) -> None:
    model, (images, token_ids, mask) = build_tiny(*overrides), batch
    expected = model(images, token_ids, mask, OWNERS).logits
    other_words = model(images, token_ids.where(mask == 0, token_ids + 1), mask, OWNERS).logits
    other_images = model(images.flip(0), token_ids, mask, OWNERS).logits
    for n in range(5):
        assert not torch.allclose(other_words[n], expected[n], atol=1e-6)
    for n in (0, 1, 3, 4):
        assert not torch.allclose(other_images[n], expected[n], atol=1e-6)


@pytest.mark.parametrize(
    "overrides", [(), ("fusion.cascade=bottom_up",), SWIN], ids=["conv", "cascade", "swin"]
)
@pytest.mark.parametrize("size", [(64, 96), (96, 64), (32, 32), (128, 160)], ids=str)
@torch.no_grad()
def test_sizes_other_than_the_training_size(
    build_tiny: Build, overrides: tuple[str, ...], size: tuple[int, int]
) -> None:
    model = build_tiny(*overrides)
    images = torch.randn(1, 3, *size, dtype=torch.float64)
    token_ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    masks = model(images, token_ids, torch.ones_like(token_ids), torch.tensor([0, 0]))
    assert masks.logits.shape == (2, 1, *size)
    assert [m.shape for m in masks.coarse] == [(2, 1, size[0] // s, size[1] // s) for s in (4, 8, 16, 32)]
    assert torch.isfinite(masks.logits).all()


@torch.no_grad()
def test_an_image_is_encoded_once_for_all_of_its_expressions(
    build_tiny: Build, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    model, (images, token_ids, mask) = build_tiny(), batch
    seen: list[int] = []
    model.vision.backbone.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    expected = model(images, token_ids, mask, OWNERS).logits
    assert seen == [3]
    maps = model.encode_images(images)
    torch.testing.assert_close(model.segment(maps, token_ids, mask, OWNERS, (64, 64)).logits, expected)


@torch.no_grad()
def test_the_control_is_blind_to_language(build_tiny: Build, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    model, (images, token_ids, mask) = build_tiny("fusion.kind=none"), batch
    assert model.language is None
    assert not [name for name, _ in model.named_parameters() if "bert" in name or "language" in name]
    logits = model(images, token_ids, mask, OWNERS).logits
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits, model(images, token_ids.flip(0), mask, OWNERS).logits)
    assert not torch.allclose(logits[0], logits[2])
