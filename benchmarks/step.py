"""What each measure for speed is worth in a training step on a CPU: the step without one of them at a time.

    python benchmarks/step.py --repeats 3 --json

Each variant runs in processes of its own, by turns: `repeats` of them, ten steps each. The batch is one of
RefShapes' size: as many images and expressions as the parameters' training has on average.
"""

import statistics
import subprocess
import sys
import time
from functools import partial

import torch
from made_up import make_batch, make_model
from timing import machine, parser, show
from torch import Tensor, nn
from train import model_step

import s2rm.model.scan
from s2rm.config.load import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.process import keep_freed_memory
from s2rm.model.layers import Pointwise

STEPS, EACH = 10, 4
EVERYTHING = "everything"
WITHOUT = (
    "memory that is kept",
    "memory left unfilled",
    "the fused optimiser",
    "1×1 convolutions as products",
    "the fused sweep",
    "channels last",
    "the second thread",
)


def convolve(layer: Pointwise, x: Tensor) -> Tensor:
    return nn.functional.conv2d(x, layer.weight[:, :, None, None], layer.bias)


def median_step(path: str, without: str) -> float:
    """Seconds of a step in this process."""
    params = load_params(path)
    if without != "memory that is kept":
        keep_freed_memory()
    torch.use_deterministic_algorithms(params.train.deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = without == "memory left unfilled"  # type: ignore[attr-defined]
    if without == "1×1 convolutions as products":
        Pointwise.forward = convolve  # type: ignore[assignment]
    if without == "the fused sweep":
        s2rm.model.scan.implementation_for = lambda z: s2rm.model.scan.reference
    if without == "the second thread":
        torch.set_num_threads(1)
    model = make_model(params).train()
    if without == "channels last":
        model = model.to(memory_format=torch.contiguous_format)
    batch = make_batch(params, params.train.expressions_per_batch // EACH, EACH)
    optimiser = None
    if without == "the fused optimiser":
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=False)
    step = model_step(model, params, batch, optimiser)
    times = []
    for turn in range(STEPS + 3):
        start = time.perf_counter()
        step()
        if turn >= 3:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(path: str, without: str) -> float:
    command = [sys.executable, __file__, "--params", path, "--without", without]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--without", choices=(EVERYTHING, *WITHOUT), help="print the step of this alone")
    arguments = command.parse_args()
    if arguments.without:
        print(median_step(arguments.params, arguments.without))
        return
    works = {name: partial(measure, arguments.params, name) for name in (EVERYTHING, *WITHOUT)}
    medians: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(arguments.repeats):
        for name, work in works.items():
            medians[name].append(work())
    seconds = {
        name if name == EVERYTHING else f"without {name}": {
            "median_s": statistics.median(values),
            "min_s": min(values),
            "max_s": max(values),
        }
        for name, values in medians.items()
    }
    result = {
        "params": arguments.params,
        "seconds": seconds,
        "ratios": {
            f"{name} / {EVERYTHING}": values["median_s"] / seconds[EVERYTHING]["median_s"]
            for name, values in seconds.items()
            if name != EVERYTHING
        },
        "machine": machine(),
    }
    show(result, arguments.json)


if __name__ == "__main__":
    exit_on_user_error(main)
