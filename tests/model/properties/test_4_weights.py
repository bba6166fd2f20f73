"""Property 4: the weights sum to 1 over the parsed semantics; balancing off equals the mean."""

import pytest
import torch
from drawn import LANGUAGE_WIDTH, draw_language, groupings, seeds, sizes, values, widths
from hypothesis import given, settings
from hypothesis import strategies as st
from references import EXACT
from torch import Tensor

from s2rm.model.fusion.balance import Balance, Mean
from s2rm.model.fusion.s2rm_fusion import S2RMFusion

contexts = st.integers(1, 2)
shares = st.integers(2, 4)  # semantics of a context


def semantics(count: int, width: int, size: tuple[int, int], seed: int) -> list[Tensor]:
    return [values(3, width, *size, seed=seed + k) for k in range(count)]


def trained(width: int, count: int, context_count: int) -> Balance:
    torch.manual_seed(1)
    balance = Balance(width, count, context_count).double()
    for parameter in balance.parameters():
        torch.nn.init.normal_(parameter)
    return balance


@settings(max_examples=30)
@given(context_count=contexts, share=shares, width=widths, size=sizes, seed=seeds)
def test_weights_sum_to_one_and_each_context_is_the_weighted_sum_of_its_semantics(
    context_count: int, share: int, width: int, size: tuple[int, int], seed: int
) -> None:
    count = context_count * share
    balance, parsed = trained(width, count, context_count), semantics(count, width, size, seed)
    weights = balance.weights(parsed)
    assert weights.shape == (3, count, width)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(3, width, dtype=torch.float64), **EXACT)
    balanced = balance(parsed).split(width, dim=1)
    assert len(balanced) == context_count
    for number, found in enumerate(balanced):
        own = range(number * share, (number + 1) * share)
        expected = sum(weights[:, k, :, None, None] * parsed[k] for k in own)
        torch.testing.assert_close(found, context_count * expected, **EXACT)


@settings(max_examples=15)
@given(context_count=contexts, share=shares, width=widths, size=sizes, seed=seeds)
def test_balancing_off_is_the_mean_has_no_weights_and_is_where_balancing_starts(
    context_count: int, share: int, width: int, size: tuple[int, int], seed: int
) -> None:
    count = context_count * share
    parsed = semantics(count, width, size, seed)
    mean = Mean(context_count)
    expected = [sum(parsed[first : first + share]) / share for first in range(0, count, share)]
    torch.testing.assert_close(mean(parsed), torch.cat(expected, 1), **EXACT)
    assert not list(mean.parameters())
    torch.testing.assert_close(Balance(width, count, context_count).double()(parsed), mean(parsed), **EXACT)


def test_weights_are_of_semantic_channel_and_expression() -> None:
    weights = trained(8, 8, 2).weights(semantics(8, 8, (2, 5), seed=0))
    assert weights.std(1).min() > 0.01
    assert weights.std(2).max() > 0.01
    assert weights.std(0).max() > 0.01


def test_weights_come_from_the_semantics_themselves() -> None:
    balance, parsed = trained(8, 4, 2), semantics(4, 8, (2, 5), seed=0)
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
    """For all balancing × coparsing; without coparsing the contexts themselves are weighted."""
    torch.manual_seed(seed)
    fusion = S2RMFusion(
        8,
        LANGUAGE_WIDTH,
        distribution="attention",
        query="sentence",
        affinity="sigmoid",
        refine=True,
        coordinates=False,
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
        fusion.balance = trained(8, fusion.balance.semantics, fusion.balance.contexts)
    distributed, parsed = fusion.parse(vision, language, index)
    own = vision[index]
    by_context = {  # what parses V, and what parses L
        "both": [parsed[:2], parsed[2:]],
        "language_to_vision": [parsed],
        "vision_to_language": [parsed],
        "none": [[own], [distributed]],
    }[coparsing]
    balanced = [semantic for parts in by_context for semantic in parts]
    plain = torch.cat([sum(parts) / len(parts) for parts in by_context], 1)
    joined = fusion.balance(balanced) if balancing else plain
    torch.testing.assert_close(fresh, own + fusion.out(plain), **EXACT)  # all start alike
    torch.testing.assert_close(fusion(vision, language, index), own + fusion.out(joined), **EXACT)


@settings(max_examples=6)
@given(size=sizes, seed=seeds)
def test_of_both_roles_those_that_parse_the_vision_map_come_first(size: tuple[int, int], seed: int) -> None:
    """With the states silenced, y = p/2 each: the balanced contexts are the halved contexts, V then L."""
    fusion = S2RMFusion(
        8,
        LANGUAGE_WIDTH,
        distribution="attention",
        query="sentence",
        affinity="sigmoid",
        refine=True,
        coordinates=False,
        coparsing="both",
        rotations=4,
        recurrence="scan",
        state="generator",
        slice_kernel=3,
        balancing=True,
    ).double()
    for role in fusion.coparse.values():
        for silenced in (*role.gate.parameters(), *role.read.parameters()):
            torch.nn.init.zeros_(silenced)
    vision, language = values(1, 8, *size, seed=seed), draw_language(1, 4, seed=seed + 1)
    distributed, parsed = fusion.parse(vision, language, torch.tensor([0]))
    torch.testing.assert_close(fusion.balance(parsed), torch.cat([vision, distributed], 1) / 2, **EXACT)
