"""Train on masked images and texts beside the clear ones, after MaskRIS (arXiv 2411.19067).

Each step sees its batch twice: as it is, and with random patches of the images and random words hidden. The
masks of both are compared with the truth, and those of the hidden half with the other half's probabilities.
MaskRIS reports a gain where crops, flips and colour changes lose. Written from the paper's description.

Shapes: B images, N expressions, S the side of the images in pixels, T tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from s2rm.config.params import Loss, Train
from s2rm.model.s2rm import Masks
from s2rm.training.loss import segmentation_loss

PATCH = 32  # side of a patch, pixels

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def hide_patches(images: Tensor, share: float) -> Tensor:
    """Set each patch of `PATCH` pixels to 0, the mean colour, with a probability of `share`: (B, 3, S, S)."""
    patches = [-(-side // PATCH) for side in images.shape[-2:]]
    kept = torch.rand(len(images), 1, *patches, device=images.device) >= share
    pixels = kept.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    return images * pixels[..., : images.shape[-2], : images.shape[-1]]


def hide_words(token_ids: Tensor, tokenizer: PreTrainedTokenizerBase, share: float) -> Tensor:
    """Replace each token by [MASK] with a probability of `share`, the special tokens never: (N, T)."""
    special = torch.tensor(tokenizer.all_special_ids, device=token_ids.device)
    hidden = torch.rand(token_ids.shape, device=token_ids.device) < share
    return token_ids.masked_fill(hidden & ~torch.isin(token_ids, special), int(tokenizer.mask_token_id))


def add_masked(inputs: Inputs, tokenizer: PreTrainedTokenizerBase, train: Train) -> Inputs:
    """Append the masked batch to the clear one.

    Args:
        inputs: the arguments of `S2RM.forward`, of B images and N expressions.
        tokenizer: of the expressions.
        train: its `image_masking` and `text_masking` are the shares that are hidden.

    Returns:
        The arguments for 2B images and 2N expressions, the clear ones first.
    """
    images, token_ids, attention_mask, expression_to_image = inputs
    return (
        torch.cat([images, hide_patches(images, train.image_masking)]),
        torch.cat([token_ids, hide_words(token_ids, tokenizer, train.text_masking)]),
        torch.cat([attention_mask, attention_mask]),
        torch.cat([expression_to_image, expression_to_image + len(images)]),
    )


def masked_loss(masks: Masks, target: Tensor, weights: Loss) -> dict[str, Tensor]:
    """Compute the loss of a clear and a masked batch.

    Args:
        masks: of 2N expressions, the clear ones first.
        target: (N, 1, H, W), bool.
        weights: of the parts, as for `segmentation_loss`.

    Returns:
        The parts of the clear batch; `masked`, the loss of the masked one; `agreement`, the cross-entropy of
        its masks with the probabilities of the clear one, which get no gradient; and `loss`, the sum.
    """
    clear, hidden = (
        Masks(logits, list(coarse))
        for logits, *coarse in zip(*(each.chunk(2) for each in (masks.logits, *masks.coarse)), strict=True)
    )
    parts = segmentation_loss(clear, target, weights)
    masked = segmentation_loss(hidden, target, weights)["loss"]
    probability = clear.logits.detach().float().sigmoid()
    agreement = F.binary_cross_entropy_with_logits(hidden.logits.float(), probability)
    return {**parts, "masked": masked, "agreement": agreement, "loss": parts["loss"] + masked + agreement}
