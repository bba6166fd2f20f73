"""A step of training or evaluation with fake tensors: shapes and dtypes on this CPU, no values, no memory.

Shapes: B images, N expressions, S the side of the input in pixels, T tokens.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from s2rm.config.params import Params
from s2rm.evaluation.scores import split_batch
from s2rm.model.create import create_untrained
from s2rm.model.encoders.backbone_sketch import count_parameters
from s2rm.model.s2rm import S2RM
from s2rm.planning.attention import fused_attention
from s2rm.planning.meter import Meter
from s2rm.training.activation_checkpointing import checkpoint_activations
from s2rm.training.loss import segmentation_loss
from s2rm.training.optim import build_optimiser

Mode = Literal["none", "head", "all"]
MODES: tuple[Mode, ...] = get_args(Mode)  # of train.activation_checkpointing
EVALUATED_PER_IMAGE = 7  # expressions, as RefCOCO has


@dataclass(frozen=True)
class Step:
    """What a step needs."""

    held: int
    """Bytes of the weights, the optimiser's state and the batch."""
    peak: int
    """Bytes at most, `held` among them: tensors alone."""
    meter: Meter
    parameters: int
    """Number of the model's parameters."""


def plan_training(params: Params, images: int, expressions: int, mode: Mode | None = None) -> Step:
    """Plan an optimiser step on B = `images` and N = `expressions`, by the parameters of the training.

    `mode` takes the place of `train.activation_checkpointing`, if it is given.
    """
    train, size = params.train, params.vision.image_size
    if train.image_masking or train.text_masking:
        images, expressions = 2 * images, 2 * expressions
    with FakeTensorMode(allow_non_fake_inputs=True), fused_attention():
        model = _build(params).train()
        checkpoint_activations(model, mode or train.activation_checkpointing)
        optimiser = build_optimiser(model, train)
        batch = _batch(params, images, expressions)
        truth = torch.zeros(expressions, 1, size, size, dtype=torch.bool)

        def step() -> None:
            with _autocast(train.precision):
                masks = model(*batch)
            segmentation_loss(masks, truth, params.loss)["loss"].backward()
            nn.utils.clip_grad_norm_(model.parameters(), train.clip)
            optimiser.step()
            optimiser.zero_grad()

        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        optimiser.step()  # makes its state
        optimiser.zero_grad()
        with Meter() as meter:
            step()
        states = [each for state in optimiser.state.values() for each in state.values()]
        held = _bytes(model, [*batch, truth, *(each for each in states if isinstance(each, Tensor))])
        if train.ema:
            held += _bytes(model, [])
    return Step(held, held + meter.most, meter, count_parameters(model))


def plan_evaluation(params: Params, images: int, expressions: int) -> Step:
    """Plan a batch of the evaluation with B = `images` and N = `expressions`."""
    with FakeTensorMode(allow_non_fake_inputs=True), fused_attention(), torch.no_grad():
        model = _build(params).eval()
        pixels, ids, mask, index = _batch(params, images, expressions)
        with Meter() as meter, _autocast(params.evaluate.precision):
            maps = model.encode_images(pixels)
            for part, seen in split_batch([number * images // expressions for number in range(expressions)]):
                language = model.encode_expressions(ids[part], mask[part])
                some = [each[seen] for each in maps]
                model.segment(some, language, index[part], pixels.shape[-2:]).logits.float()
        held = _bytes(model, [pixels, ids, mask, index])
    return Step(held, held + meter.most, meter, count_parameters(model))


def _build(params: Params) -> S2RM:
    """Build the model on the meta device, where values may be asked for, and make its tensors fake ones."""
    with unset_fake_temporarily(), torch.device("meta"):
        model = create_untrained(params).to(memory_format=torch.channels_last)
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(_fake(parameter))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _fake(buffer)
        if isinstance(module, nn.LayerNorm):
            module.register_forward_pre_hook(_widen)
    return model


def _widen(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """CUDA's autocast computes a layer norm in float32, a CPU's does not."""
    return (inputs[0].float(),)


def _fake(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")


def _batch(params: Params, images: int, expressions: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the arguments of `S2RM.forward`: (B, 3, S, S), (N, T), (N, T), (N,)."""
    size, tokens = params.vision.image_size, params.language.tokens
    ids = torch.zeros(expressions, tokens, dtype=torch.long)
    return torch.zeros(images, 3, size, size), ids, ids.clone(), torch.zeros(expressions, dtype=torch.long)


def _autocast(precision: str) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32")


def _bytes(model: S2RM, tensors: list[Tensor]) -> int:
    return sum(t.untyped_storage().nbytes() for t in (*model.parameters(), *model.buffers(), *tensors))
