"""Prints the most memory that a training step took: peak_memory.py PARAMS IMAGES EXPRESSIONS [KEY=VALUE…]

A process of its own, in which nothing else happens; on Linux.
"""

import resource
import sys
from pathlib import Path

import torch

from s2rm.config.load import load_params
from s2rm.model.create import create_untrained
from s2rm.training.activation_checkpointing import checkpoint_activations
from s2rm.training.loss import segmentation_loss
from s2rm.training.optim import build_optimiser


def resident() -> int:
    """Return the bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """Return the most bytes of this process in memory since its peak was cleared (proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    """Print the bytes: the model, the optimiser's state, the batch and the step."""
    path, images, expressions, *overrides = sys.argv[1:]
    torch.set_num_threads(1)
    params = load_params(path, overrides)
    model = create_untrained(params).train().to(memory_format=torch.channels_last)
    checkpoint_activations(model, params.train.activation_checkpointing)
    optimiser = build_optimiser(model, params.train)
    held = sum(p.untyped_storage().nbytes() for p in (*model.parameters(), *model.buffers()))

    def step(images: int, expressions: int) -> None:
        size, tokens = params.vision.image_size, params.language.tokens
        ids = torch.zeros(expressions, tokens, dtype=torch.long)
        owners = torch.arange(expressions) * images // expressions
        masks = model(torch.randn(images, 3, size, size), ids, torch.ones_like(ids), owners)
        truth = torch.zeros(expressions, 1, size, size, dtype=torch.bool)
        segmentation_loss(masks, truth, params.loss)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), params.train.clip)
        optimiser.step()
        optimiser.zero_grad()

    step(1, 2)  # compiles the kernels, and makes the optimiser's state
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far, which the compilers reached
    step(int(images), int(expressions))
    states = sum(t.nbytes for state in optimiser.state.values() for t in state.values())
    most = peak()
    print(most - before + held + states)


if __name__ == "__main__":
    main()
