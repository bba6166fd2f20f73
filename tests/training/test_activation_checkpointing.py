"""Recomputed activations: less memory is kept, and no value changes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
import torch
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointWrapper

from s2rm.model.s2rm import S2RM
from s2rm.training.activation_checkpointing import checkpoint_activations

SWIN = (
    "vision.backbone=swin_tiny_patch4_window7_224",
    "~vision.options",
    "+vision.options={embed_dim: 8, depths: [1, 1, 2, 1], num_heads: [2, 2, 2, 2], window_size: 4, "
    "drop_path_rate: 0.3}",
    "language.dropout=0.2",
)
RESNET = ("vision.backbone=resnet10t",)
MOBILENET = (
    "vision.backbone=mobilenetv3_small_050",
    "~vision.options",
    "+vision.options={}",
)  # blocks with BatchNorms


@contextmanager
def counted_bytes() -> Iterator[list[int]]:
    """Count the bytes that the graph keeps: outside checkpoints, and as the inputs of checkpoints."""
    kept: dict[int, int] = {}
    total: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield total
    total.append(sum(kept.values()))


def gradients(model: S2RM) -> tuple[dict[str, torch.Tensor], int]:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(2, 3, 64, 64, generator=generator, dtype=torch.float64)
    ids = torch.randint(5, 30, (3, 7), generator=generator)
    torch.manual_seed(11)
    with counted_bytes() as kept:
        masks = model(images, ids, torch.ones_like(ids), torch.tensor([0, 0, 1]))
    sum((each.square().mean() for each in masks.coarse), masks.logits.mean()).backward()
    found = {
        name.replace("_checkpoint_wrapped_module.", ""): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return found, kept[0]


@pytest.mark.filterwarnings("ignore:A saved_tensors_hooks context")
@pytest.mark.parametrize("encoder", [SWIN, RESNET])
@pytest.mark.parametrize("kind", ["s2rm", "pwam"])
@pytest.mark.parametrize("parts", ["head", "all"])
def test_gradients_are_bitwise_the_same(
    build_tiny: Callable[..., S2RM], encoder: tuple[str, ...], kind: str, parts: Literal["head", "all"]
) -> None:
    plain, model = (build_tiny(*encoder, f"fusion.kind={kind}").train() for _ in range(2))
    checkpoint_activations(model, parts)
    (expected, all_bytes), (found, kept_bytes) = gradients(plain), gradients(model)
    assert expected.keys() == found.keys()
    assert len(expected) > 50
    assert all(torch.equal(expected[name], found[name].view_as(expected[name])) for name in expected)
    assert kept_bytes < 0.85 * all_bytes


@pytest.mark.parametrize("encoder", [RESNET, MOBILENET])
def test_names_and_statistics_stay(build_tiny: Callable[..., S2RM], encoder: tuple[str, ...]) -> None:
    """A state saved with checkpointing loads without it; a BatchNorm sees each batch once."""
    plain, model = (build_tiny(*encoder).train() for _ in range(2))
    checkpoint_activations(model, "all")
    gradients(plain)
    gradients(model)
    assert model.state_dict().keys() == plain.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, plain.state_dict()[name]), name


@pytest.mark.parametrize(("parts", "blocks", "head"), [("none", 0, 0), ("head", 0, 5), ("all", 5, 5)])
def test_the_parts_are_found(
    build_tiny: Callable[..., S2RM], parts: Literal["none", "head", "all"], blocks: int, head: int
) -> None:
    model = build_tiny(*SWIN)
    checkpoint_activations(model, parts)
    wrapped = [name for name, module in model.named_modules() if isinstance(module, CheckpointWrapper)]
    assert sum(name.startswith("vision.backbone.") for name in wrapped) == blocks
    assert sum(name.startswith("fusion.") or name == "decoder" for name in wrapped) == head
