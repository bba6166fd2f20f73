"""The second, masked look at a batch."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from s2rm.config.params import Loss, Params
from s2rm.model.s2rm import S2RM, Masks
from s2rm.training.loss import segmentation_loss
from s2rm.training.masking import PATCH, add_masked, hide_patches, hide_words, masked_loss


def test_whole_patches_are_hidden_and_the_share_holds() -> None:
    images = torch.ones(40, 3, 5 * PATCH + 8, 5 * PATCH + 8)  # the last patches are cut
    hidden = hide_patches(images, 0.3)
    assert set(hidden.unique().tolist()) == {0, 1}
    assert torch.equal(hidden[:, 0], hidden[:, 2])
    patches = hidden[:, :1, : 5 * PATCH, : 5 * PATCH].unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)
    assert torch.equal(patches.amin((-1, -2)), patches.amax((-1, -2)))
    assert 0.25 < 1 - patches.mean() < 0.35
    assert len({tuple(each.flatten().tolist()) for each in patches[..., 0, 0]}) == 40  # each its own
    assert torch.equal(hide_patches(images, 0.0), images)


def test_special_tokens_are_never_hidden(tiny_tokenizer: Any) -> None:
    ids = torch.tensor(tiny_tokenizer(["the red circle"] * 500)["input_ids"])
    hidden = hide_words(ids, tiny_tokenizer, 0.15)
    changed = hidden != ids
    special = torch.isin(ids, torch.tensor(tiny_tokenizer.all_special_ids))
    assert not changed[special].any()
    assert set(hidden[changed].tolist()) == {tiny_tokenizer.mask_token_id}
    assert 0.10 < changed[~special].float().mean() < 0.20


def test_the_clear_half_stays_what_it_was(build_tiny: Any, tiny_tokenizer: Any, tiny_params: Any) -> None:
    """And the loss is the sum of its three parts, of which the clear masks get no gradient by agreement."""
    params: Params = tiny_params("train.image_masking=0.5", "train.text_masking=0.3")
    model: S2RM = build_tiny().eval()
    ids = torch.tensor(tiny_tokenizer(["the red circle"] * 3)["input_ids"])
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    inputs = images, ids, torch.ones_like(ids), torch.tensor([0, 0, 1])
    both = model(*add_masked(inputs, tiny_tokenizer, params.train))
    clear = model(*inputs)
    torch.testing.assert_close(both.logits[:3], clear.logits)
    assert not torch.allclose(both.logits[3:], clear.logits)

    target = torch.rand(3, 1, 64, 64) < 0.3
    parts = masked_loss(both, target, params.loss)
    second = Masks(both.logits[3:], [each[3:] for each in both.coarse])
    first, masked = (segmentation_loss(each, target, params.loss) for each in (clear, second))
    agreement = F.binary_cross_entropy_with_logits(second.logits.float(), clear.logits.float().sigmoid())
    torch.testing.assert_close(parts["mask"], first["mask"])
    torch.testing.assert_close(parts["loss"], first["loss"] + masked["loss"] + agreement)


def test_the_clear_masks_are_not_drawn_to_the_hidden_ones() -> None:
    logits = torch.randn(4, 1, 8, 8, requires_grad=True)
    parts = masked_loss(Masks(logits, [logits] * 2), torch.zeros(2, 1, 8, 8, dtype=torch.bool), Loss())
    (gradient,) = torch.autograd.grad(parts["agreement"], logits)
    assert not gradient[:2].any()
    assert gradient[2:].all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_ends_of_the_shares(share: float, tiny_tokenizer: Any) -> None:
    images: Tensor = torch.ones(2, 3, 64, 64)
    assert hide_patches(images, share).mean() == 1 - share
