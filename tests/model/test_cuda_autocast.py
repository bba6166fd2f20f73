"""A forward pass as CUDA's autocast runs it, with fake tensors: shapes, dtypes and a device, no values."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from s2rm.config.params import Params
from s2rm.model.create import create_untrained

TinyParams = Callable[..., Params]
IMAGES, TOKENS = 2, 5
OWNERS = [0, 0, 1]
SIZE = 64


class Maps(TorchDispatchMode):
    """Notes each operator that returns a map, (N, C, H, W) with many channels, in float32; and the sweeps."""

    def __init__(self) -> None:
        super().__init__()
        self.float32: list[str] = []
        self.swept: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.s2rm.sweep.default:
            self.swept += [args[0].dtype, args[1].dtype]
        for tensor in tree_leaves(result):
            shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else ()
            if len(shape) == 4 and min(shape) > 1 and tensor.dtype == torch.float32:
                self.float32.append(f"{func} {shape}")
        return result


@pytest.fixture
def cuda() -> Iterator[None]:
    """Pretend that there is a GPU, the default device, and that its autocast is on.

    Nothing is deterministic, as in presets/paper.yaml: torch's deterministic interpolation is in float32.
    """
    enabled = torch.is_autocast_enabled("cuda")
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    with FakeTensorMode(), torch.no_grad(), torch.device("cuda"):
        yield
    torch.set_autocast_enabled("cuda", enabled)
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


@pytest.mark.parametrize(
    "switches",
    [
        [],
        ["fusion.affinity=softmax", "fusion.query=word"],
        ["fusion.state=match", "fusion.balancing=false"],
        ["fusion.coparsing=none"],
        ["fusion.kind=pwam"],
        ["fusion.distribution=tile", "decoder.kind=fpn"],
        ["decoder.language_guidance=false", "decoder.foreground_guidance=false"],
    ],
)
def test_the_maps_of_the_head_stay_in_bfloat16(
    cuda: None, tiny_params: TinyParams, switches: list[str]
) -> None:
    """Twice as wide they would double the traffic. A value that Python asks for raises on fake tensors."""
    model = create_untrained(tiny_params(*switches)).eval()
    torch.set_autocast_enabled("cuda", True)
    maps = model.encode_images(torch.randn(IMAGES, 3, SIZE, SIZE))
    tokens = torch.ones(len(OWNERS), TOKENS, dtype=torch.long)
    language = model.encode_expressions(tokens, tokens)
    with Maps() as head:
        masks = model.segment(maps, language, torch.tensor(OWNERS), (SIZE, SIZE))
    assert masks.logits.device.type == "cuda"
    assert [stage.dtype for stage in maps] == 4 * [torch.bfloat16]
    assert head.float32 == []
    assert set(head.swept) <= {torch.bfloat16}
    assert bool(head.swept) is (not {"fusion.coparsing=none", "fusion.kind=pwam"} & set(switches))
