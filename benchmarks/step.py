"""What each speed measure is worth in a training step on a CPU: the step without one of them at a time.

    python benchmarks/step.py --repeats 3 --json

Each variant is timed in processes of its own, `repeats` of them with ten steps each; the variants take turns.
The batch has the size of a RefShapes batch: as many images and expressions as the parameters' training has on
average.
"""

import statistics
import subprocess
import sys
import time
from functools import partial

import torch
from random_inputs import make_batch, make_model
from timing import build_parser, describe_machine, print_result, summarise
from torch import Tensor, nn
from train import make_step

import s2rm.scan
from s2rm.config.load import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.process import keep_freed_memory, make_deterministic
from s2rm.model.layers import Pointwise

STEPS, WARM_UP, EACH = 10, 3, 4
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
    """Compute a 1×1 convolution as a convolution, (N, C, H, W)."""
    return nn.functional.conv2d(x, layer.weight[:, :, None, None], layer.bias)


def time_step(path: str, without: str) -> float:
    """Return the median seconds of a step in this process, without one of the measures.

    Args:
        path: the parameter file.
        without: one of WITHOUT, or EVERYTHING for the step with all measures.
    """
    params = load_params(path)
    if without != "memory that is kept":
        keep_freed_memory()
    make_deterministic(params.train.deterministic)
    if without == "memory left unfilled":
        torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    if without == "1×1 convolutions as products":
        Pointwise.forward = convolve  # type: ignore[assignment]
    if without == "the fused sweep":
        s2rm.scan.implementation_for = lambda z: s2rm.scan.reference
    if without == "the second thread":
        torch.set_num_threads(1)
    model = make_model(params).train()
    if without == "channels last":
        model = model.to(memory_format=torch.contiguous_format)
    batch = make_batch(params, params.train.expressions_per_batch // EACH * [EACH])
    optimiser = None
    if without == "the fused optimiser":
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=False)
    step = make_step(model, params, batch, optimiser)
    times = []
    for turn in range(STEPS + WARM_UP):
        start = time.perf_counter()
        step()
        if turn >= WARM_UP:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def time_step_apart(path: str, without: str) -> float:
    """Return what `time_step` returns in a process of its own."""
    command = [sys.executable, __file__, "--params", path, "--without", without]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print the step's time with all measures, and without each."""
    parser = build_parser(__doc__)
    parser.add_argument(
        "--without", choices=(EVERYTHING, *WITHOUT), help="print only the seconds of this variant's step"
    )
    arguments = parser.parse_args()
    if arguments.without:
        print(time_step(arguments.params, arguments.without))
        return
    works = {name: partial(time_step_apart, arguments.params, name) for name in (EVERYTHING, *WITHOUT)}
    medians: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(arguments.repeats):
        for name, work in works.items():
            medians[name].append(work())
    seconds = {
        name if name == EVERYTHING else f"without {name}": summarise(values)
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
        "machine": describe_machine(),
    }
    print_result(result, arguments.json)


if __name__ == "__main__":
    exit_on_user_error(main)
