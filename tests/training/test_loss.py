"""The loss against plain numpy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from s2rm.config.params import Loss
from s2rm.model.s2rm import Masks
from s2rm.training.loss import mask_loss, segmentation_loss

Array = NDArray[np.float64]


def plain_loss(logits: Array, target: Array, weights: Loss) -> float:
    """Compute the mean over expressions of w_bce · BCE + w_dice · Dice, each of one expression (H, W)."""
    values = []
    for logit, truth in zip(logits[:, 0], target[:, 0], strict=True):
        p = 1 / (1 + np.exp(-logit))
        bce = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()
        dice = 1 - (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1)
        values.append(weights.bce * bce + weights.dice * dice)
    return float(np.mean(values))


def averaged(target: Array, factor: int) -> Array:
    n, _, height, width = target.shape
    return target.reshape(n, 1, height // factor, factor, width // factor, factor).mean((3, 5))


@pytest.fixture
def masks() -> tuple[Masks, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = [torch.randn(3, 1, 32 // s, 64 // s, generator=generator) for s in (4, 8, 16, 32)]
    target = torch.rand(3, 1, 32, 64, generator=generator) > torch.tensor([0.2, 0.7, 1.0]).view(3, 1, 1, 1)
    return Masks(logits=torch.randn(3, 1, 32, 64, generator=generator), coarse=coarse), target


@pytest.mark.parametrize(
    "weights",
    [
        Loss(bce=1.0, dice=1.0, auxiliary=0.4),
        Loss(bce=0.5, dice=2.0, auxiliary=1.0),
        Loss(bce=1.0, dice=0.0, auxiliary=0.0),
        Loss(bce=0.0, dice=1.0, auxiliary=0.1),
    ],
    ids=str,
)
def test_loss_is_the_plain_one(masks: tuple[Masks, torch.Tensor], weights: Loss) -> None:
    predicted, target = masks
    truth = target.numpy().astype(float)
    final = plain_loss(predicted.logits.double().numpy(), truth, weights)
    coarse = [
        plain_loss(logits.double().numpy(), averaged(truth, stride), weights)
        for logits, stride in zip(predicted.coarse[1:], (8, 16, 32), strict=True)
    ]
    parts = segmentation_loss(predicted, target, weights)
    assert parts["mask"].item() == pytest.approx(final, rel=1e-5)
    assert parts["loss"].item() == pytest.approx(final + weights.auxiliary * np.mean(coarse), rel=1e-5)
    assert ("auxiliary" in parts) == bool(weights.auxiliary)
    if weights.auxiliary:
        assert parts["auxiliary"].item() == pytest.approx(np.mean(coarse), rel=1e-5)


def test_loss_is_computed_in_float32(masks: tuple[Masks, torch.Tensor]) -> None:
    predicted, target = masks
    weights = Loss(bce=1.0, dice=1.0, auxiliary=0.4)
    half = Masks(logits=predicted.logits.bfloat16(), coarse=[m.bfloat16() for m in predicted.coarse])
    assert segmentation_loss(half, target, weights)["loss"].dtype == torch.float32


def test_a_perfect_mask_costs_nothing_and_a_wrong_one_much() -> None:
    target = torch.zeros(1, 1, 8, 8)
    target[..., 2:6, 2:6] = 1
    weights = Loss(bce=1.0, dice=1.0, auxiliary=0.0)
    assert mask_loss(40 * target - 20, target, weights) < 1e-4
    assert mask_loss(20 - 40 * target, target, weights) > 10
    empty = torch.zeros_like(target)  # no pixel: Dice is smoothed, not 0/0
    assert mask_loss(empty - 20, empty, weights) < 1e-4
