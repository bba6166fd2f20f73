"""A model with random weights and batches of random values, for the benchmarks of speed and memory."""

from dataclasses import dataclass

import torch
from torch import Tensor

from s2rm.config.params import Params
from s2rm.model.create import create_untrained
from s2rm.model.s2rm import S2RM


@dataclass(frozen=True)
class Made:
    images: Tensor  # (B, 3, S, S)
    token_ids: Tensor  # (B·k, T)
    attention_mask: Tensor  # (B·k, T)
    expression_to_image: Tensor  # (B·k,)
    masks: Tensor  # (B·k, 1, S, S), bool

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return self.images, self.token_ids, self.attention_mask, self.expression_to_image


def make_model(params: Params) -> S2RM:
    """On the CPU, laid out as training and evaluation lay it out there."""
    torch.manual_seed(0)
    return create_untrained(params).to(memory_format=torch.channels_last)


def make_batch(params: Params, images: int, each: int) -> Made:
    """`each` expressions an image, all as long as the parameters admit."""
    size, tokens = params.vision.image_size, params.language.tokens
    count = images * each
    ids = torch.randint(5, params.language.vocabulary, (count, tokens))
    return Made(
        images=torch.randn(images, 3, size, size).contiguous(memory_format=torch.channels_last),
        token_ids=ids,
        attention_mask=torch.ones_like(ids),
        expression_to_image=torch.arange(images).repeat_interleave(each),
        masks=torch.rand(count, 1, size, size) > 0.9,
    )
