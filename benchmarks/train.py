"""A training step, beside a step of its two encoders alone: time, and peak memory in processes of their own.

    python benchmarks/train.py --params presets/paper.yaml --repeats 3 --json

Random weights, float32: forward, loss, backward, clipping, fused AdamW. The encoders alone are the backbone
and BERT with a mean for a loss; train.activation_checkpointing is of the model, not of them.
"""

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from made_up import Made, make_batch, make_model
from timing import machine, parser, show, time_interleaved
from torch import nn

from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.process import keep_freed_memory
from s2rm.model.s2rm import S2RM
from s2rm.training.activation_checkpointing import checkpoint_activations
from s2rm.training.loss import segmentation_loss
from s2rm.training.optim import build_optimiser

IMAGES = 2
ENCODERS, ONE, THREE = "encoders, 2 × 1", "model, 2 × 1", "model, 2 × 3"


def encoder_parameters(model: S2RM) -> Iterator[nn.Parameter]:
    yield from model.vision.backbone.parameters()
    if model.language is not None:
        yield from model.language.parameters()


def encoders_step(model: S2RM, batch: Made) -> Callable[[], None]:
    parameters = list(encoder_parameters(model))
    optimiser = torch.optim.AdamW(parameters, lr=1e-6, fused=True)

    def step() -> None:
        loss: Any = sum(stage.float().mean() for stage in model.vision.backbone(batch.images))
        language = model.encode_expressions(batch.token_ids, batch.attention_mask)
        if language is not None:
            loss = loss + language.words.mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def model_step(model: S2RM, params: Params, batch: Made, optimiser: Any = None) -> Callable[[], None]:
    optimiser = optimiser or build_optimiser(model, params.train)

    def step() -> None:
        segmentation_loss(model(*batch.inputs), batch.masks, params.loss)["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), params.train.clip)
        optimiser.step()
        optimiser.zero_grad()

    return step


def build(params: Params, names: list[str]) -> dict[str, Callable[[], None]]:
    """Name → its step; the two of the model share its weights and its optimiser."""
    steps = {}
    if ENCODERS in names:
        steps[ENCODERS] = encoders_step(make_model(params).train(), make_batch(params, IMAGES, 1))
    if {ONE, THREE} & set(names):
        model = make_model(params).train()
        if params.train.activation_checkpointing:
            checkpoint_activations(model)
        optimiser = build_optimiser(model, params.train)
        for name, expressions in ((ONE, 1), (THREE, 3)):
            if name in names:
                steps[name] = model_step(model, params, make_batch(params, IMAGES, expressions), optimiser)
    return steps


def peak_of(name: str, path: str) -> int:
    """Bytes of a process that builds the model and takes three such steps, libraries included."""
    command = [sys.executable, __file__, "--params", path, "--peak", name]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--peak", choices=(ENCODERS, ONE, THREE), help="print the peak memory of this alone")
    arguments = command.parse_args()
    params = load_params(arguments.params)
    keep_freed_memory()
    if arguments.peak:
        step = build(params, [arguments.peak])[arguments.peak]
        for _ in range(3):
            step()
        print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    peaks = {name: peak_of(name, arguments.params) for name in (ENCODERS, ONE, THREE)}
    seconds = time_interleaved(build(params, [ENCODERS, ONE, THREE]), arguments.repeats)
    encoders, one, three = (seconds[name]["median_s"] for name in (ENCODERS, ONE, THREE))
    result = {
        "params": arguments.params,
        "seconds": seconds,
        "peak_bytes": peaks,
        "ratios": {
            "step / encoders' step, 2 × 1": one / encoders,
            "expressions a second, 2 × 3 / 2 × 1": 3 * one / three,
            **{f"GiB, {name}": peak / 2**30 for name, peak in peaks.items()},
        },
        "machine": machine(),
    }
    show(result, arguments.json)


if __name__ == "__main__":
    exit_on_user_error(main)
