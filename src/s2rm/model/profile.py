"""A model in numbers: parameters, floating point operations and activations, part by part.

Measured in a forward pass in training mode, on the CPU, in float32, and charged to the innermost
part that runs:

- FLOPs by torch's FlopCounterMode: matrix products, convolutions and attention, fused or not, and
  the products inside a GRU; 2 a multiply-add. What goes element by element is not counted: norms,
  activation functions, resizing, the linear recurrence of the scan.
- Activations are the bytes that autograd keeps for the backward pass, each storage once, in the
  part that keeps it first: a part's input counts as its own. Parameters, buffers and the batch
  itself are not among them. bf16 keeps less, and so do a GPU's kernels for attention.
"""

from collections import Counter
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from s2rm.config.params import Params
from s2rm.model.create import create_untrained
from s2rm.model.s2rm import S2RM

# In the order in which an image and its expressions pass them.
PARTS = ("vision", "language", "distribute", "coparse", "balance", "fuse", "cascade", "casg", "fpn")
# Child of a fusion → its part; what else a fusion has and does is `fuse`.
FUSION_PARTS = {
    "distribute": "distribute",
    "attention": "distribute",
    "tile": "distribute",
    "coparse": "coparse",
    "balance": "balance",
}


def _attention_flops(query: Any, key: Any, value: Any, *others: Any, **named: Any) -> int:
    """Of the shapes of query, key and value."""
    return sdpa_flop_count(query, key, value)


# The CPU's fused attention, which torch before 2.15 counts as nothing.
ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


@dataclass(frozen=True)
class ModelPart:
    parameters: int
    flops_image: int  # once an image
    flops_expression: int  # for each of its expressions
    activations_image: int  # bytes
    activations_expression: int


def describe(params: Params) -> dict[str, ModelPart]:
    """ModelPart of the model → its numbers, at the parameters' image size and number of tokens; and `total`.

    A part that the parameters switch off is missing.
    """
    model = create_untrained(params).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # refuses to train on one value, as of one image at stride 32
            module.eval()
    modules = _part_of_each_module(model)
    parameters: Counter[str] = Counter()
    for module, part in modules.items():
        parameters[part] += sum(p.numel() for p in module.parameters(recurse=False))
    # Not of one expression: where it is alone, some copies are views.
    two, three = (_Meter(model, modules).measure(params, expressions) for expressions in (2, 3))
    parts = {}
    for part in PARTS:
        flops = three.flops[part] - two.flops[part]
        activations = three.activations[part] - two.activations[part]
        numbers = ModelPart(
            parameters=parameters[part],
            flops_image=two.flops[part] - 2 * flops,
            flops_expression=flops,
            activations_image=two.activations[part] - 2 * activations,
            activations_expression=activations,
        )
        if any(astuple(numbers)):
            parts[part] = numbers
    columns = zip(*(astuple(part) for part in parts.values()), strict=True)
    return {**parts, "total": ModelPart(*map(sum, columns))}


def _part_of_each_module(model: S2RM) -> dict[nn.Module, str]:
    parts: dict[nn.Module, str] = {}

    def assign(part: str, module: nn.Module) -> None:
        parts.update(dict.fromkeys(module.modules(), part))

    assign("cascade", model)  # the model itself pools for the cascade; all that it does beside its parts
    assign("vision", model.vision)
    if model.language is not None:
        assign("language", model.language)
    for fusion in model.fusion:
        assign("fuse", fusion)
        for name, child in fusion.named_children():
            assign(FUSION_PARTS.get(name, "fuse"), child)
    assign(model.config.decoder.kind, model.decoder)
    return parts


class _Meter:
    """Runs the model once, and charges what is counted to the part whose module runs."""

    def __init__(self, model: S2RM, modules: dict[nn.Module, str]) -> None:
        self.model = model
        self.modules = modules
        self.flops: Counter[str] = Counter()
        self.activations: Counter[str] = Counter()
        self._running: list[str] = []
        self._counter = FlopCounterMode(display=False, custom_mapping=ATTENTION)
        self._charged = 0
        self._seen: set[StorageWeakRef] = set()

    def measure(self, params: Params, expressions: int) -> "_Meter":
        size, tokens = params.vision.image_size, params.language.tokens
        batch = (
            torch.zeros(1, 3, size, size),
            torch.zeros(expressions, tokens, dtype=torch.long),
            torch.ones(expressions, tokens, dtype=torch.long),
            torch.zeros(expressions, dtype=torch.long),
        )
        for tensor in (*batch, *self.model.parameters(), *self.model.buffers()):
            self._seen.add(StorageWeakRef(tensor.untyped_storage()))
        with (
            self._counter,
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave),
            saved_tensors_hooks(self._keep, _give_back_nothing),
        ):
            self.model(*batch)
        return self

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self._charge_flops()
        self._running.append(self.modules[module])

    def _leave(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._charge_flops()
        self._running.pop()

    def _charge_flops(self) -> None:
        total = self._counter.get_total_flops()
        if self._running:
            self.flops[self._running[-1]] += total - self._charged
        self._charged = total

    def _keep(self, tensor: Tensor) -> None:
        """Notes what autograd would keep, and does not keep it: the paper's scale needs few gigabytes.

        The weak reference holds on to the storage's identity, which no later one then gets, not to its bytes.
        """
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)
        if reference not in self._seen:
            self._seen.add(reference)
            self.activations[self._running[-1]] += storage.nbytes()


def _give_back_nothing(kept: None) -> Tensor:
    raise AssertionError("there is no backward pass")
