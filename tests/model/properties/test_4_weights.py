"""Property 4: the weights sum to 1 over the parsed semantics; balancing off equals the mean."""

import pytest
import torch
from drawn import LANGUAGE_WIDTH, draw_language, groupings, seeds, sizes, values, widths
from hypothesis import given, settings
from hypothesis import strategies as st
from references import EXACT
from torch import Tensor

from s2rm.model.balance import Balance, Mean
from s2rm.model.fusion import S2RMFusion

counts = st.integers(2, 8)


def semantics(count: int, width: int, size: tuple[int, int], seed: int) -> list[Tensor]:
    return [values(3, width, *size, seed=seed + k) for k in range(count)]


def trained(width: int, count: int) -> Balance:
    torch.manual_seed(1)
    balance = Balance(width, count).double()
    for parameter in balance.parameters():
        torch.nn.init.normal_(parameter)
    return balance


@settings(max_examples=30)
@given(count=counts, width=widths, size=sizes, seed=seeds)
def test_weights_sum_to_one_and_the_result_is_the_weighted_sum(
    count: int, width: int, size: tuple[int, int], seed: int
) -> None:
    balance, parsed = trained(width, count), semantics(count, width, size, seed)
    weights = balance.weights(parsed)
    assert weights.shape == (3, count, width)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(3, width, dtype=torch.float64), **EXACT)
    expected = torch.einsum("nkc,knchw->nchw", weights, torch.stack(parsed))
    torch.testing.assert_close(balance(parsed), expected, **EXACT)


@settings(max_examples=15)
@given(count=counts, width=widths, size=sizes, seed=seeds)
def test_balancing_off_is_the_mean_has_no_weights_and_is_where_balancing_starts(
    count: int, width: int, size: tuple[int, int], seed: int
) -> None:
    parsed = semantics(count, width, size, seed)
    torch.testing.assert_close(Mean()(parsed), sum(parsed) / count, **EXACT)
    assert not list(Mean().parameters())
    torch.testing.assert_close(Balance(width, count).double()(parsed), Mean()(parsed), **EXACT)


def test_weights_are_of_semantic_channel_and_expression() -> None:
    weights = trained(8, 8).weights(semantics(8, 8, (2, 5), seed=0))
    assert weights.std(1).min() > 0.01
    assert weights.std(2).max() > 0.01
    assert weights.std(0).max() > 0.01


def test_weights_come_from_the_semantics_themselves() -> None:
    balance, parsed = trained(8, 4), semantics(4, 8, (2, 5), seed=0)
    changed = [parsed[0] + 1, *parsed[1:]]
    assert not torch.allclose(balance.weights(parsed), balance.weights(changed))
    rolled = [semantic.roll((1, 2), (2, 3)) for semantic in parsed]  # pooled: where does not matter
    torch.testing.assert_close(balance.weights(parsed), balance.weights(rolled), **EXACT)


@pytest.mark.parametrize("balancing", [True, False])
@pytest.mark.parametrize("coparsing", ["both", "language_to_vision", "vision_to_language", "none"])
@settings(max_examples=6)
@given(size=sizes, grouping=groupings(), seed=seeds)
def test_a_fusion_is_its_vision_map_and_the_balanced_semantics(
    coparsing: str, balancing: bool, size: tuple[int, int], grouping: tuple[int, list[int]], seed: int
) -> None:
    """The four cells of balancing × coparsing; without coparsing the contexts themselves are weighed."""
    torch.manual_seed(seed)
    fusion = S2RMFusion(
        8,
        LANGUAGE_WIDTH,
        distribution="attention",
        query="sentence",
        coparsing=coparsing,
        rotations=2,
        recurrence="scan",
        state="generator",
        slice_kernel=3,
        balancing=balancing,
    ).double()
    images, owners = grouping
    n, index = len(owners), torch.tensor(owners)
    language = draw_language(n, 4, seed=seed + 1)
    vision = values(images, 8, *size, seed=seed)
    fresh = fusion(vision, language, index)
    if balancing:
        fusion.balance = trained(8, fusion.balance.semantics)
    distributed, parsed = fusion.parse(vision, language, index)
    own = vision[index]
    if coparsing == "none":
        plain = torch.cat([own, distributed], 1)
        weights = fusion.balance.weights([own, distributed]) if balancing else torch.full((n, 2, 8), 0.5)
        joined = torch.cat(
            [own * weights[:, 0, :, None, None], distributed * weights[:, 1, :, None, None]], 1
        )
        joined = 2 * joined
    else:
        plain = torch.stack(parsed).mean(0)
        joined = fusion.balance(parsed)
    torch.testing.assert_close(fresh, own + fusion.out(plain), **EXACT)  # all start alike
    torch.testing.assert_close(fusion(vision, language, index), own + fusion.out(joined), **EXACT)
