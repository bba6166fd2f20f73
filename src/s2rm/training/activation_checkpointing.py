"""Recompute activations in the backward pass instead of keeping them: less memory for a few percent of time.

Chen et al., "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174), with torch's selective
policy: the backbone's blocks keep the outputs of matrix products and convolutions, which take most of the
time, and recompute norms, activations and attention weights. Fusion and decoder keep only their inputs.
"""

import functools
from typing import Any

import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

from s2rm.model.s2rm import S2RM

aten = torch.ops.aten
KEPT = {
    aten.mm.default,
    aten.addmm.default,
    aten.convolution.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
}


def checkpoint_activations(model: S2RM) -> None:
    """Wrap the blocks of the model in activation checkpoints, in place.

    Its outputs, its gradients and the names in its state_dict stay the same. The blocks of a backbone are
    found by the name that timm gives them, `blocks`. Those with a BatchNorm are left as they are, since a
    second forward pass would update the statistics twice.
    """
    blocks = {
        block
        for path, parent in model.vision.backbone.named_modules()
        if path.rpartition(".")[2] == "blocks"
        for block in parent.children()
        if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in block.modules())
    }
    whole = {*model.fusion, model.decoder}
    _wrap(model, checkpoint_wrapper, blocks | whole)


def _wrap(model: nn.Module, wrapper: Any, chosen: set[nn.Module]) -> None:
    apply_activation_checkpointing(
        model, checkpoint_wrapper_fn=wrapper, check_fn=lambda module: module in chosen
    )


def _policy(_context: Any, operation: Any, *_args: Any, **_options: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in KEPT else CheckpointPolicy.PREFER_RECOMPUTE
