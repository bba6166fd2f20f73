"""Stands in for torch's fused attention while a step is planned.

A CPU has no fused attention with a mask that needs a gradient, and would keep all scores; a GPU has one. Its
stand-in keeps what that one keeps. It computes nothing: it is for fake tensors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula, sdpa_backward_flop_count, sdpa_flop_count


@torch.library.custom_op("s2rm_plan::attention", mutates_args=())
def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    raise NotImplementedError("for fake tensors only")


@torch.library.custom_op("s2rm_plan::attention_backward", mutates_args=())
def _attend_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    raise NotImplementedError("for fake tensors only")


@_attend.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    sums = query.new_empty(query.shape[:-1], dtype=torch.float32)  # of the exponentials, one per query
    return query.new_empty(*query.shape[:-1], value.shape[-1]), sums


@_attend_backward.register_fake
def _(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_mask = torch.empty_like(mask) if bias and mask is not None else query.new_empty(0)
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), of_mask


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)


def _differentiate(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, mask, *_ = ctx.saved_tensors
    bias = ctx.needs_input_grad[3]
    *found, of_mask = _attend_backward(gradient, query, key, value, mask, bias)
    return *found, of_mask if bias else None


_attend.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.s2rm_plan.attention)
def _count(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


@register_flop_formula(torch.ops.s2rm_plan.attention_backward)
def _count_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: Any
) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        if attn_mask is not None and attn_mask.is_floating_point():
            attn_mask = attn_mask.to(dtype)
    attended: Tensor = _attend(query, key, value, attn_mask)[0]
    return attended


@contextmanager
def fused_attention() -> Iterator[None]:
    """Let `torch.nn.functional.scaled_dot_product_attention` be the stand-in."""
    with patch("torch.nn.functional.scaled_dot_product_attention", _attention):
        yield
