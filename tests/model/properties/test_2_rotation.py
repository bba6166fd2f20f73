"""Property 2: rotating both contexts by 90° permutes the parsed semantics and rotates them."""

import pytest
import torch
from drawn import (
    EVERY_RECURRENCE,
    LANGUAGE_WIDTH,
    build_coparse,
    draw_language,
    groupings,
    kernels,
    seeds,
    sizes,
    values,
    widths,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from references import EXACT
from torch import Tensor

from s2rm.model.fusion.s2rm_fusion import S2RMFusion

turns = st.integers(1, 3)


def turn(x: Tensor, quarters: int) -> Tensor:
    return torch.rot90(x, quarters, (2, 3))


@EVERY_RECURRENCE
@settings(max_examples=25)
@given(size=sizes, width=widths, kernel=kernels, quarters=turns, seed=seeds)
def test_turned_contexts_give_turned_and_permuted_semantics(
    recurrence: str,
    state: str,
    size: tuple[int, int],
    width: int,
    kernel: int,
    quarters: int,
    seed: int,
) -> None:
    coparse = build_coparse(width, kernel, recurrence, 4, state, seed)
    contexts = [values(2, width, *size, seed=seed + i) for i in range(2)]
    upright = coparse(*contexts)
    turned = coparse(*(turn(context, quarters) for context in contexts))
    expected = [turn(upright[(k + quarters) % 4], quarters) for k in range(4)]
    torch.testing.assert_close(turned, expected, **EXACT)


@EVERY_RECURRENCE
@pytest.mark.parametrize("distribution", ["attention", "tile"])
@settings(max_examples=8)
@given(size=sizes, width=widths, grouping=groupings(), quarters=turns, seed=seeds)
def test_with_the_plain_mean_the_whole_fusion_turns_with_its_image(
    recurrence: str,
    state: str,
    distribution: str,
    size: tuple[int, int],
    width: int,
    grouping: tuple[int, list[int]],
    quarters: int,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    fusion = S2RMFusion(
        width,
        LANGUAGE_WIDTH,
        distribution=distribution,
        query="sentence",
        affinity="sigmoid",
        refine=True,
        coordinates=False,
        coparsing="both",
        rotations=4,
        recurrence=recurrence,
        state=state,
        slice_kernel=3,
        balancing=False,
    ).double()
    images, owners = grouping
    language = draw_language(len(owners), 4, seed=seed + 1)
    vision, index = values(images, width, *size, seed=seed), torch.tensor(owners)
    turned = fusion(turn(vision, quarters), language, index)
    torch.testing.assert_close(turned, turn(fusion(vision, language, index), quarters), **EXACT)
