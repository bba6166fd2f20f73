"""The loss (ours, after the peers' recipes): BCE + Dice on the final mask, and lower on the coarse ones."""

import torch
import torch.nn.functional as F
from torch import Tensor

from s2rm.config.params import Loss
from s2rm.model.s2rm import Masks


def mask_loss(logits: Tensor, target: Tensor, weights: Loss) -> Tensor:
    """
    Args:
        logits: (N, 1, H, W).
        target: (N, 1, H, W) in [0, 1]; soft where a mask was averaged down.

    Returns: the mean over the N expressions, a scalar.
    """
    bce = F.binary_cross_entropy_with_logits(logits, target)
    probability = logits.sigmoid()
    overlap = (probability * target).sum((1, 2, 3))
    total = probability.sum((1, 2, 3)) + target.sum((1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return weights.bce * bce + weights.dice * dice.mean()


def segmentation_loss(masks: Masks, target: Tensor, weights: Loss) -> dict[str, Tensor]:
    """The parts of the loss and their sum, `loss`; target: (N, 1, H, W), bool."""
    truth = target.float()
    parts = {"mask": mask_loss(masks.logits.float(), truth, weights)}
    if weights.auxiliary:
        coarse = [
            mask_loss(
                logits.float(), F.adaptive_avg_pool2d(truth, (logits.shape[-2], logits.shape[-1])), weights
            )
            for logits in masks.coarse[1:]  # the finest is the final mask before it is upsampled
        ]
        parts["auxiliary"] = torch.stack(coarse).mean()
    total = parts["mask"] + weights.auxiliary * parts.get("auxiliary", parts["mask"].new_zeros(()))
    return {"loss": total, **parts}
