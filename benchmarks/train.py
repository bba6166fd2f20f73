"""Time and peak memory of a training step, compared with a step of the model's two encoders alone.

    python benchmarks/train.py --params presets/paper.yaml --repeats 3 --json

Random weights, float32. A step is forward, loss, backward, gradient clipping and fused AdamW. The encoders
alone are the backbone and BERT, with a mean as their loss; `train.activation_checkpointing` applies to the
model, not to them. "2 × 3" means 2 images with 3 expressions each. Peak memory is that of a separate process
with the libraries included.
"""

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from random_inputs import RandomBatch, make_batch, make_model
from timing import build_parser, describe_machine, print_result, time_interleaved
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
    """Yield the parameters of the backbone and of BERT."""
    yield from model.vision.backbone.parameters()
    if model.language is not None:
        yield from model.language.parameters()


def make_encoders_step(model: S2RM, batch: RandomBatch) -> Callable[[], None]:
    """Return a function that makes one training step of the encoders alone."""
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


def make_step(model: S2RM, params: Params, batch: RandomBatch, optimiser: Any = None) -> Callable[[], None]:
    """Return a function that makes one training step; the optimiser is that of training if none is given."""
    optimiser = optimiser or build_optimiser(model, params.train)

    def step() -> None:
        segmentation_loss(model(*batch.inputs), batch.masks, params.loss)["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), params.train.clip)
        optimiser.step()
        optimiser.zero_grad()

    return step


def build_steps(params: Params, names: list[str]) -> dict[str, Callable[[], None]]:
    """Return the named steps; the two steps of the model share its weights and its optimiser."""
    steps = {}
    if ENCODERS in names:
        steps[ENCODERS] = make_encoders_step(make_model(params).train(), make_batch(params, IMAGES * [1]))
    if {ONE, THREE} & set(names):
        model = make_model(params).train()
        checkpoint_activations(model, params.train.activation_checkpointing)
        optimiser = build_optimiser(model, params.train)
        for name, expressions in ((ONE, 1), (THREE, 3)):
            if name in names:
                steps[name] = make_step(model, params, make_batch(params, IMAGES * [expressions]), optimiser)
    return steps


def measure_peak(name: str, path: str) -> int:
    """Return the peak memory in bytes of a process that builds one model and makes three steps."""
    command = [sys.executable, __file__, "--params", path, "--peak", name]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print times, peak memory and ratios."""
    parser = build_parser(__doc__)
    parser.add_argument("--peak", choices=(ENCODERS, ONE, THREE), help="print only this step's peak memory")
    arguments = parser.parse_args()
    params = load_params(arguments.params)
    keep_freed_memory()
    if arguments.peak:
        step = build_steps(params, [arguments.peak])[arguments.peak]
        for _ in range(3):
            step()
        print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    peaks = {name: measure_peak(name, arguments.params) for name in (ENCODERS, ONE, THREE)}
    seconds = time_interleaved(build_steps(params, [ENCODERS, ONE, THREE]), arguments.repeats)
    encoders, one, three = (seconds[name]["median_s"] for name in (ENCODERS, ONE, THREE))
    result = {
        "params": arguments.params,
        "seconds": seconds,
        "peak_bytes": peaks,
        "ratios": {
            "step / encoders' step, 2 × 1": one / encoders,
            "expressions per second, 2 × 3 / 2 × 1": 3 * one / three,
            **{f"GiB, {name}": peak / 2**30 for name, peak in peaks.items()},
        },
        "machine": describe_machine(),
    }
    print_result(result, arguments.json)


if __name__ == "__main__":
    exit_on_user_error(main)
