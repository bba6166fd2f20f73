"""A model with random weights and batches of random values, shared by the benchmarks of speed and memory.

Shapes: B images, N expressions, S the side of the model's input, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from s2rm.config.params import Params
from s2rm.model.create import create_untrained
from s2rm.model.s2rm import S2RM


@dataclass(frozen=True)
class RandomBatch:
    """What a training step reads."""

    images: Tensor  # (B, 3, S, S)
    token_ids: Tensor  # (N, T)
    attention_mask: Tensor  # (N, T)
    expression_to_image: Tensor  # (N,)
    masks: Tensor  # (N, 1, S, S), bool

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The arguments of `S2RM.forward`."""
        return self.images, self.token_ids, self.attention_mask, self.expression_to_image


def make_model(params: Params) -> S2RM:
    """Create the model on the CPU, in the memory layout that training and evaluation use there."""
    torch.manual_seed(0)
    return create_untrained(params).to(memory_format=torch.channels_last)


def make_batch(params: Params, each: Sequence[int]) -> RandomBatch:
    """Make a batch with `each` many expressions of each image, all as long as the parameters allow."""
    size, tokens = params.vision.image_size, params.language.tokens
    images, count = len(each), sum(each)
    ids = torch.randint(5, params.language.vocabulary, (count, tokens))
    return RandomBatch(
        images=torch.randn(images, 3, size, size).contiguous(memory_format=torch.channels_last),
        token_ids=ids,
        attention_mask=torch.ones_like(ids),
        expression_to_image=torch.arange(images).repeat_interleave(torch.tensor(each)),
        masks=torch.rand(count, 1, size, size) > 0.9,
    )
