"""The loss: BCE + Dice on the final mask, and with a lower weight on the coarse masks.

It is ours, after the peers' recipes.

Shapes: N expressions, H×W the side of the masks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from s2rm.config.params import Loss
from s2rm.model.s2rm import Masks


def mask_loss(logits: Tensor, target: Tensor, weights: Loss) -> Tensor:
    """Compute the weighted sum of binary cross-entropy and Dice loss.

    Args:
        logits: (N, 1, H, W).
        target: (N, 1, H, W) in [0, 1]; soft where a mask was averaged down.
        weights: of the two parts.

    Returns:
        The mean over the N expressions, a scalar.
    """
    bce = F.binary_cross_entropy_with_logits(logits, target)
    probability = logits.sigmoid()
    overlap = (probability * target).sum((1, 2, 3))
    total = probability.sum((1, 2, 3)) + target.sum((1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return weights.bce * bce + weights.dice * dice.mean()


def segmentation_loss(masks: Masks, target: Tensor, weights: Loss) -> dict[str, Tensor]:
    """Compute the loss of a batch in float32.

    Args:
        masks: the model's output.
        target: (N, 1, H, W), bool.
        weights: of the parts; without `auxiliary` the coarse masks do not count.

    Returns:
        `mask` and `auxiliary`, the parts of the loss, and `loss`, their weighted sum; scalars.
    """
    truth = target.float()
    parts = {"mask": mask_loss(masks.logits.float(), truth, weights)}
    if weights.auxiliary:
        coarse = [
            mask_loss(
                logits.float(), F.adaptive_avg_pool2d(truth, (logits.shape[-2], logits.shape[-1])), weights
            )
            for logits in masks.coarse[1:]  # the finest is the final mask before upsampling
        ]
        parts["auxiliary"] = torch.stack(coarse).mean()
    total = parts["mask"] + weights.auxiliary * parts.get("auxiliary", parts["mask"].new_zeros(()))
    return {"loss": total, **parts}
