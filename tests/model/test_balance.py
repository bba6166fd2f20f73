"""The balancing of the parsed semantics."""

import torch
from torch import Tensor

from s2rm.model.balance import Balance, Mean


def semantics(count: int, width: int = 8) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(3, width, 2, 5, generator=random) for _ in range(count)]


def trained(count: int, width: int = 8) -> Balance:
    torch.manual_seed(1)
    balance = Balance(width, count)
    for parameter in balance.parameters():
        torch.nn.init.normal_(parameter)
    return balance


def test_weights_sum_to_one_over_the_semantics() -> None:
    weights = trained(8).weights(semantics(8))
    assert weights.shape == (3, 8, 8)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(3, 8))
    assert weights.std(1).min() > 0.01  # and are not all the same: of semantic, channel, expression
    assert weights.std(2).max() > 0.01
    assert weights.std(0).max() > 0.01


def test_the_result_is_the_weighted_sum() -> None:
    balance, parsed = trained(4), semantics(4)
    weights = balance.weights(parsed)
    expected = torch.einsum("nkc,knchw->nchw", weights, torch.stack(parsed))
    torch.testing.assert_close(balance(parsed), expected)


def test_weights_come_from_the_semantics_themselves() -> None:
    balance, parsed = trained(4), semantics(4)
    changed = [parsed[0] + 1, *parsed[1:]]
    assert not torch.allclose(balance.weights(parsed), balance.weights(changed))
    rolled = [semantic.roll((1, 2), (2, 3)) for semantic in parsed]  # pooled: where does not matter
    torch.testing.assert_close(balance.weights(parsed), balance.weights(rolled))


def test_a_fresh_balance_is_the_mean() -> None:
    parsed = semantics(8)
    torch.testing.assert_close(Balance(8, 8)(parsed), torch.stack(parsed).mean(0))


def test_balancing_off_is_the_mean_and_has_no_weights() -> None:
    parsed = semantics(8)
    torch.testing.assert_close(Mean()(parsed), sum(parsed) / 8)
    assert not list(Mean().parameters())
