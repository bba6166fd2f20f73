"""A model in numbers: parameters, and floating point operations for an image and for an expression.

Counted by torch's FlopCounterMode in a forward pass on the CPU: 2 a multiply-add, matrix products
and convolutions only.
"""

from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from s2rm.model.build import assemble
from s2rm.model.config import ModelConfig
from s2rm.model.language import random_bert_config
from s2rm.model.ris import S2RM
from s2rm.params import Params


@dataclass(frozen=True)
class Part:
    parameters: int
    flops_image: int  # once an image
    flops_expression: int  # for each of its expressions


def build_untrained(params: Params) -> S2RM:
    """The model of these parameters with random weights; nothing is fetched.

    BERT is as large as params.yaml's `language` says, also where it would be a pretrained one.
    """
    bert = random_bert_config(params.language, vocabulary=params.language.vocabulary, pad_token_id=0)
    return assemble(ModelConfig.from_params(params, bert.to_dict()))


def describe(params: Params) -> dict[str, Part]:
    """Part of the model → its numbers, at the parameters' image size and number of tokens; and `total`."""
    model = build_untrained(params).eval()
    one, two = (_count_flops(model, params, expressions) for expressions in (1, 2))
    groups = _groups(model)
    parts = {}
    for name, modules in groups.items():
        first, further = (sum(counts.get(path, 0) for path in modules) for counts in (one, two))
        expression = further - first
        parts[name] = Part(
            parameters=sum(p.numel() for module in modules.values() for p in module.parameters()),
            flops_image=first - expression,
            flops_expression=expression,
        )
    columns = zip(*(astuple(part) for part in parts.values()), strict=True)
    return {**parts, "total": Part(*map(sum, columns))}


def _groups(model: S2RM) -> dict[str, dict[str, nn.Module]]:
    """Part → the modules that make it up, by their path; every parameter is in exactly one."""
    groups: dict[str, dict[str, nn.Module]] = {}

    def add(part: str, path: str) -> None:
        groups.setdefault(part, {})[path] = model.get_submodule(path)

    add("vision", "vision")
    if model.language is not None:
        add("language", "language")
    for i, fusion in enumerate(model.fusion):
        for name, child in fusion.named_children():
            paths = [f"{name}.{role}" for role in child] if isinstance(child, nn.ModuleDict) else [name]
            for path in paths:
                add({"out": "fuse"}.get(name, name), f"fusion.{i}.{path}")
    if model.cascade is not None:
        for i in range(len(model.cascade)):
            add("cascade", f"cascade.{i}")
    add(model.config.decoder.kind, "decoder")
    return groups


def _count_flops(model: S2RM, params: Params, expressions: int) -> dict[str, int]:
    """Module path → FLOPs of a forward pass of one image with that many expressions."""
    size, tokens = params.vision.image_size, params.language.tokens
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(
            torch.zeros(1, 3, size, size),
            torch.zeros(expressions, tokens, dtype=torch.long),
            torch.ones(expressions, tokens, dtype=torch.long),
            torch.zeros(expressions, dtype=torch.long),
        )
    root = f"{type(model).__name__}."
    counts: dict[str, Any] = counter.get_flop_counts()
    return {path.removeprefix(root): sum(operations.values()) for path, operations in counts.items()}
