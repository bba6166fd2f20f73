"""The 1×1 convolution as a matrix product: the convolution's weights, result and layout."""

import pytest
import torch
from torch import nn

from s2rm.model.layers import Pointwise


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_the_convolution(bias: bool, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    pointwise = Pointwise(5, 7, bias=bias).double()
    convolution = nn.Conv2d(5, 7, 1, bias=bias).double()
    with torch.no_grad():
        convolution.weight.copy_(pointwise.weight[:, :, None, None])
        if bias:
            convolution.bias.copy_(pointwise.bias)
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    found, wanted = pointwise(x), convolution(x)
    torch.testing.assert_close(found, wanted)
    assert found.is_contiguous(memory_format=torch.channels_last)
    upstream = torch.randn_like(found)
    gradients = torch.autograd.grad(found, (x, *pointwise.parameters()), upstream)
    expected = torch.autograd.grad(wanted, (x, *convolution.parameters()), upstream)
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other.reshape(gradient.shape))
