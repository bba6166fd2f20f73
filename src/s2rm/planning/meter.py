"""Counts the memory, the traffic and the FLOPs of whatever torch computes, also with fake tensors."""

import math
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from s2rm.planning.gpus import GPU

OF_PRODUCTS, OF_BANDWIDTH = 0.60, 0.85  # the share of a GPU's peaks that good kernels reach
MOVES_NOTHING = (
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "detach",
    "device",
    "_unsafe_view",
)


class Meter(TorchDispatchMode):
    """A context that notes each operator.

    Attributes:
        most: the most bytes that the tensors made inside were at once.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.live = self.most = 0
        self.work: list[tuple[torch.dtype | None, float, int]] = []  # dtype, FLOPs, bytes
        self._storages: dict[int, Any] = {}

    @property
    def flops(self) -> float:
        """All FLOPs of matrix products, convolutions and attention."""
        return sum(flops for _, flops, _ in self.work)

    def seconds(self, gpu: GPU) -> float:
        """Return the roofline time: the sum, over the operators, of the longer of computing and moving."""
        total = 0.0
        for dtype, flops, moved in self.work:
            peak = gpu.single if dtype == torch.float32 else gpu.half
            total += max(flops / (peak * 1e12 * OF_PRODUCTS), moved / (gpu.bandwidth * 1e12 * OF_BANDWIDTH))
        return total

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and note it."""
        result = func(*args, **(kwargs or {}))
        written = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        for tensor in written:
            self._hold(tensor)
        is_view = any(each.alias_info and not each.alias_info.is_write for each in func._schema.returns)
        if is_view or func._schema.name.partition("::")[2] in MOVES_NOTHING:
            return result
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        formula = flop_registry.get(func._overloadpacket)
        flops = formula(*args, **(kwargs or {}), out_val=result) if formula else 0.0
        dtype = written[0].dtype if written else None
        self.work.append((dtype, flops, sum(map(_size, read + written))))
        return result

    def _hold(self, tensor: Tensor) -> None:
        """Count a storage until nothing refers to it."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._storages:
            self._storages[key] = weakref.ref(storage, self._release(key, size))
            self.live += size
            self.most = max(self.most, self.live)

    def _release(self, key: int, size: int) -> Callable[[Any], None]:
        def release(_: Any) -> None:
            del self._storages[key]
            self.live -= size

        return release


def _size(tensor: Tensor) -> int:
    """Return the bytes of a tensor; what is expanded counts once."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.element_size() * math.prod(size for size, stride in sizes if stride)
