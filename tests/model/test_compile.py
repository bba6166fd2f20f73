"""torch.compile takes the whole model as one graph."""

from collections.abc import Callable

import pytest
import torch

from s2rm.model.s2rm import S2RM
from s2rm.training.activation_checkpointing import checkpoint_activations

SWIN = (
    "vision.backbone=swin_tiny_patch4_window7_224",
    "~vision.options",
    "+vision.options={embed_dim: 8, depths: [1, 1, 1, 1], num_heads: [1, 1, 1, 1], window_size: 4}",
)


@pytest.mark.parametrize(
    "switches",
    [
        SWIN,
        pytest.param((), marks=pytest.mark.slow),
        pytest.param(("fusion.query=word", "fusion.state=match"), marks=pytest.mark.slow),
        pytest.param(("fusion.kind=pwam", "decoder.kind=fpn"), marks=pytest.mark.slow),
    ],
)
def test_nothing_breaks_the_graph(build_tiny: Callable[..., S2RM], switches: tuple[str, ...]) -> None:
    model = build_tiny(*switches).train()
    checkpoint_activations(model, "all" if switches == SWIN else "none")
    ids = torch.randint(5, 30, (3, 7))
    torch._dynamo.reset()
    found = torch._dynamo.explain(model)(
        torch.randn(2, 3, 64, 64, dtype=torch.float64), ids, torch.ones_like(ids), torch.tensor([0, 0, 1])
    )
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons
