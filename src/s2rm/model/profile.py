"""A model in numbers: parameters, floating point operations and activations of each part.

They are measured in a forward pass in training mode, on the CPU, in float32, and assigned to the innermost
part that runs:

- FLOPs are counted by torch's FlopCounterMode: matrix products, convolutions and attention, fused or not, and
  the products inside a GRU; a multiply-add counts as 2. Element-wise operations are not counted: norms,
  activation functions, resizing, the linear recurrence of the scan.
- Activations are the bytes that autograd keeps for the backward pass. Each storage counts once, in the part
  that keeps it first; so the input of a part can count as its own. Parameters, buffers and the batch itself
  do not count. Training in bf16 keeps less, and so do the attention kernels of a GPU.
"""

from collections import Counter
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from torch.utils.module_tracker import ModuleTracker

from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.model.create import create_untrained
from s2rm.model.s2rm import S2RM

# In the order in which an image and its expressions pass through them.
PARTS = ("vision", "language", "distribute", "coparse", "balance", "fuse", "cascade", "casg", "fpn")
# Child of a fusion → its part; everything else of a fusion is `fuse`.
FUSION_PARTS = {
    "distribute": "distribute",
    "attention": "distribute",
    "tile": "distribute",
    "coparse": "coparse",
    "balance": "balance",
}


def _attention_flops(query: Any, key: Any, value: Any, *others: Any, **named: Any) -> int:
    """Count the FLOPs of attention, given the shapes of query, key and value."""
    return sdpa_flop_count(query, key, value)


# The CPU's fused attention, which torch before 2.15 counts as nothing.
ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


@dataclass(frozen=True)
class ModelPart:
    """The numbers of one part of a model; those of an image occur once, however many expressions it has."""

    parameters: int
    """Number of parameters."""
    flops_image: int
    """Floating point operations, per image."""
    flops_expression: int
    """Floating point operations, per expression."""
    activations_image: int
    """Activations in bytes, per image."""
    activations_expression: int
    """Activations in bytes, per expression."""


def describe(params: Params) -> dict[str, ModelPart]:
    """Measure a model at the image size and number of tokens of its parameters.

    Args:
        params: the parameters; the model has random weights, nothing is downloaded.

    Returns:
        The numbers by part, in the order of `PARTS`, and their sum as `total`. A part that the parameters
        switch off is missing.

    Raises:
        UserError: the backbone cannot be built, or the memory is too small.
    """
    model = create_untrained(params).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # refuses to train on a single value, as at stride 32
            module.eval()
    parameters: Counter[str] = Counter()
    parts_of_modules = _name_parts(model)
    for name, module in model.named_modules():
        parameters[parts_of_modules[name]] += sum(p.numel() for p in module.parameters(recurse=False))
    # Two and three, not one: with a single expression some copies are views.
    try:
        (flops_2, bytes_2), (flops_3, bytes_3) = (_measure(model, params, n) for n in (2, 3))
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        raise UserError(
            f"the memory of this machine is too small for vision.image_size={params.vision.image_size} with "
            f"vision.backbone={params.vision.backbone}: choose a smaller size or backbone"
        ) from None
    parts = {}
    for part in PARTS:
        flops, activations = flops_3[part] - flops_2[part], bytes_3[part] - bytes_2[part]
        numbers = ModelPart(
            parameters=parameters[part],
            flops_image=flops_2[part] - 2 * flops,
            flops_expression=flops,
            activations_image=bytes_2[part] - 2 * activations,
            activations_expression=activations,
        )
        if any(astuple(numbers)):
            parts[part] = numbers
    columns = zip(*(astuple(part) for part in parts.values()), strict=True)
    return {**parts, "total": ModelPart(*map(sum, columns))}


def _name_parts(model: S2RM) -> dict[str, str]:
    """Return the part that each module belongs to, by the module's name."""
    roots = {"": "cascade"}  # the model itself, which pools for the cascade outside of all other parts
    roots |= {"vision": "vision", "language": "language", "decoder": model.config.decoder.kind}
    for i, fusion in enumerate(model.fusion):
        roots[f"fusion.{i}"] = "fuse"
        roots |= {
            f"fusion.{i}.{child}": FUSION_PARTS.get(child, "fuse") for child, _ in fusion.named_children()
        }
    parts: dict[str, str] = {}
    for name, _ in model.named_modules(remove_duplicate=False):  # a parent comes before its children
        parts[name] = roots[name] if name in roots else parts[name.rpartition(".")[0]]
    return parts


def _measure(model: S2RM, params: Params, expressions: int) -> tuple[Counter[str], Counter[str]]:
    """Run the model once, on one image; return the FLOPs and the bytes of activations of each part."""
    size, tokens = params.vision.image_size, params.language.tokens
    batch = (
        torch.zeros(1, 3, size, size),
        torch.zeros(expressions, tokens, dtype=torch.long),
        torch.ones(expressions, tokens, dtype=torch.long),
        torch.zeros(expressions, dtype=torch.long),
    )
    root = type(model).__name__  # torch's trackers call the modules S2RM, S2RM.vision, …
    parts = {f"{root}.{name}".rstrip("."): part for name, part in _name_parts(model).items()}
    flops: Counter[str] = Counter()
    activations: Counter[str] = Counter()
    counter, tracker = FlopCounterMode(display=False, custom_mapping=ATTENTION), ModuleTracker()
    seen = {StorageWeakRef(t.untyped_storage()) for t in (*batch, *model.parameters(), *model.buffers())}

    def note(tensor: Tensor) -> None:
        """Count what autograd would keep, and do not keep it: so the paper's scale needs few gigabytes.

        A weak reference reserves the identity of its storage, which no later storage then gets; it does not
        hold the bytes.
        """
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)
        if reference not in seen:
            seen.add(reference)
            innermost = max(tracker.parents - {"Global"}, key=len)
            activations[parts[innermost]] += storage.nbytes()

    with counter, tracker, saved_tensors_hooks(note, _refuse_backward):
        model(*batch)
    totals = {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}
    for name in totals.keys() - {"Global"}:  # each total includes those of the modules inside
        flops[parts[name]] += totals[name]
        outer = name.rpartition(".")[0]
        while outer and outer not in totals:  # a ModuleList has no forward pass, hence no total
            outer = outer.rpartition(".")[0]
        if outer:
            flops[parts[outer]] -= totals[name]
    return flops, activations


def _refuse_backward(kept: None) -> Tensor:
    raise AssertionError("the model is only run forward")
