"""The 1×1 convolution as a matrix product: the convolution's weights, result and layout."""

import pytest
import torch
from torch import nn

from s2rm.model.layers import Pointwise, expand_to_expressions, sum_by_product


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


OWNERS = torch.tensor([0, 0, 2, 3, 3, 3])  # the second of four images has no expression


def test_each_expression_gets_the_map_of_its_image() -> None:
    maps = torch.randn(4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.equal(expand_to_expressions(maps, OWNERS), maps[OWNERS])
    assert torch.autograd.gradcheck(lambda x: expand_to_expressions(x, OWNERS), maps)


def test_a_product_sums_the_rows_of_each_index() -> None:
    rows = torch.randn(6, 3, 3, 2, dtype=torch.float64)
    expected = torch.zeros(4, 3, 3, 2, dtype=torch.float64).index_add_(0, OWNERS, rows)
    torch.testing.assert_close(sum_by_product(rows, OWNERS, 4), expected, rtol=0, atol=1e-12)
