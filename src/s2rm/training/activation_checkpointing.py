"""Recompute activations in the backward pass instead of keeping them: less memory for some more time.

Chen et al., "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174): each wrapped part keeps its
inputs alone. torch's selective policy, which keeps the outputs of matrix products, costs more memory here,
and more time of the CPU than the products would take on a GPU.
"""

from typing import Literal

from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
    checkpoint_wrapper,
)

from s2rm.model.s2rm import S2RM


def checkpoint_activations(model: S2RM, parts: Literal["none", "head", "all"]) -> None:
    """Wrap parts of the model in activation checkpoints, in place.

    Its outputs, its gradients and the names in its state_dict stay the same.

    Args:
        model: of any configuration.
        parts: "head", the fusion of each stage and the decoder; or "all", the blocks of the backbone too.
            These are found by the name that timm gives them, `blocks`. Those with a BatchNorm are left as
            they are, since a second forward pass would update the statistics twice.
    """
    chosen: set[nn.Module] = set() if parts == "none" else {*model.fusion, model.decoder}
    if parts == "all":
        chosen |= {
            block
            for path, parent in model.vision.backbone.named_modules()
            if path.rpartition(".")[2] == "blocks"
            for block in parent.children()
            if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in block.modules())
        }
    apply_activation_checkpointing(
        model, checkpoint_wrapper_fn=checkpoint_wrapper, check_fn=lambda module: module in chosen
    )
