"""The model in numbers: against counts made by hand and in other ways."""

from collections.abc import Callable, Iterator
from dataclasses import astuple

import pytest
import torch
from torch import Tensor

from s2rm.config.params import Params
from s2rm.model.create import create_untrained
from s2rm.model.profile import PARTS, ModelPart, describe
from s2rm.model.s2rm import S2RM

TinyParams = Callable[..., Params]
# The tiny model of tests/conftest.py: width and pixels per stage, tokens, width of BERT.
STAGES = ((8, 16 * 16), (8, 8 * 8), (16, 4 * 4), (8, 2 * 2))
TOKENS, LANGUAGE = 12, 16
FLOAT = 4  # bytes

VARIANTS = [
    (),
    ("fusion.recurrence=gru", "fusion.cascade=bottom_up", "language.dropout=0.1"),
    ("fusion.kind=pwam", "decoder.kind=fpn", "fusion.stages=[2, 4]"),
    ("fusion.kind=none",),
    ("fusion.coparsing=none", "fusion.distribution=tile", "vision.image_size=32"),
    ("vision.backbone=swin_tiny_patch4_window7_224",
     "~vision.options",
     "+vision.options={embed_dim: 8, depths: [1, 2, 1, 1], num_heads: [1, 1, 1, 1], window_size: 2}"),
]  # fmt: skip


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda overrides: "-".join(overrides)[:60] or "full")
def described(request: pytest.FixtureRequest, tiny_params: TinyParams) -> tuple[Params, dict[str, ModelPart]]:
    params = tiny_params(*request.param)
    return params, describe(params)


def test_the_parts_make_up_the_total(described: tuple[Params, dict[str, ModelPart]]) -> None:
    params, parts = described
    *named, last = parts
    assert last == "total"
    assert named == [part for part in PARTS if part in named]
    columns = zip(*(astuple(parts[name]) for name in named), strict=True)
    assert astuple(parts["total"]) == tuple(map(sum, columns))
    assert parts["total"].parameters == sum(p.numel() for p in create_untrained(params).parameters())
    assert parts["vision"].flops_expression == parts["vision"].activations_expression == 0  # once an image
    assert parts["vision"].flops_image > 0 < parts["vision"].activations_image
    assert ("language" in parts) == (params.fusion.kind != "none")
    if "language" in parts:
        assert parts["language"].flops_image == 0


def test_a_part_is_there_where_the_parameters_have_it(tiny_params: TinyParams) -> None:
    trilogy = ["vision", "language", "distribute", "coparse", "balance", "fuse"]
    for overrides, named in (
        ((), [*trilogy, "casg"]),
        (("fusion.cascade=bottom_up",), [*trilogy, "cascade", "casg"]),
        (("fusion.kind=pwam",), ["vision", "language", "distribute", "fuse", "casg"]),
        (("fusion.kind=none", "decoder.kind=fpn"), ["vision", "fpn"]),
    ):
        assert list(describe(tiny_params(*overrides))) == [*named, "total"]


def masks_of(model: S2RM, params: Params, expressions: int) -> tuple[list[Tensor], list[Tensor]]:
    """The batch, and the masks."""
    batch = [
        torch.randn(1, 3, params.vision.image_size, params.vision.image_size),
        torch.randint(5, 40, (expressions, params.language.tokens)),
        torch.ones(expressions, params.language.tokens, dtype=torch.long),
        torch.zeros(expressions, dtype=torch.long),
    ]
    masks = model(*batch)
    return batch, [masks.logits, *masks.coarse]


def tensors_of(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from tensors_of(each)


def bytes_in_the_graph(masks: list[Tensor], others: list[Tensor]) -> int:
    """What the nodes of autograd's graph hold, read off the nodes themselves, without `others`."""
    storages, nodes, waiting = {}, set(), [mask.grad_fn for mask in masks]
    while waiting:
        node = waiting.pop()
        if node is None or node in nodes:
            continue
        nodes.add(node)
        waiting += [following for following, _ in node.next_functions]
        saved = ["saved_tensors"] if hasattr(node, "saved_tensors") else []
        for name in [*saved, *(name for name in dir(node) if name.startswith("_saved_"))]:
            for tensor in tensors_of(getattr(node, name)):
                if tensor.ndim:  # or else it is a number of the code, wrapped
                    storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    for tensor in others:
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(storages.values())


def test_activations_are_what_autograds_graph_holds(described: tuple[Params, dict[str, ModelPart]]) -> None:
    """Of more expressions than were measured, too: each costs exactly its share."""
    params, parts = described
    expressions, total = 5, parts["total"]
    model = create_untrained(params).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    batch, masks = masks_of(model, params, expressions)
    held = bytes_in_the_graph(masks, [*batch, *model.parameters(), *model.buffers()])
    assert held == total.activations_image + expressions * total.activations_expression


def test_the_balance_keeps_the_parsed_semantics(tiny_params: TinyParams) -> None:
    kept = describe(tiny_params())["balance"].activations_expression
    semantics = 8 * FLOAT * sum(width * pixels for width, pixels in STAGES)
    assert semantics <= kept <= 1.2 * semantics


def test_attention_is_counted(tiny_params: TinyParams) -> None:
    parts = describe(tiny_params())
    assert parts["distribute"].flops_image == 2 * sum(
        (width**2 + 2 * width**2) * pixels  # query; the refinement's part of the vision map
        for width, pixels in STAGES
    )
    assert parts["distribute"].flops_expression == 2 * sum(
        LANGUAGE * width  # modulation
        + TOKENS * LANGUAGE * 2 * width  # key and value
        + 2 * pixels * TOKENS * width  # attention
        + width**2 * pixels  # out
        + (2 * width**2 + width**2) * pixels  # the refinement
        for width, pixels in STAGES
    )


def test_the_products_inside_a_gru_are_counted(tiny_params: TinyParams) -> None:
    roles, rotations, axes, kernel = 2, 4, 2, 3
    parts = describe(tiny_params("fusion.recurrence=gru", "fusion.state=generator"))
    bundle = 2 * sum(axes * kernel * width * pixels for width, pixels in STAGES)  # one role's, by channel
    assert parts["coparse"].flops_image == bundle  # the role whose generator is the vision map
    assert parts["coparse"].flops_expression == bundle + 2 * roles * rotations * sum(
        (2 * width * 3 * width + width * 3 * width + 2 * width**2) * pixels for width, pixels in STAGES
    )
