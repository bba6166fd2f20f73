"""The coparsing sweep alone, each implementation, beside streaming its tensors once: the memory limit.

    python benchmarks/sweep.py --params presets/paper.yaml --json

All 8 parsed semantics of the stride-8 stage for one expression, forward and backward: 2 roles × 2 axes, each
in both directions. Forward reads z and c and writes two maps of states; backward reads z, c and two gradients
and writes two: 40 maps in all. `stream` copies 20 maps of that size to 20 others, which lie ready.

Also by torch's own `associative_scan` (eager; a private name, left out where there is none), and by a loop
that autograd differentiates. accelerated-scan and flash-linear-attention's HGRN have GPU kernels only.
"""

from collections.abc import Callable
from functools import partial

import torch
from timing import machine, parser, show, time_interleaved
from torch import Tensor

from s2rm.config.load import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.process import keep_freed_memory
from s2rm.model.scan import numba_cpu as cpu
from s2rm.model.scan import reference as loop

STRIDE, STAGE = 8, 1
AXES = (2, 3)
SENSES = (False, True)
ROLES = 2
MAPS = 40
Maps = list[tuple[Tensor, Tensor, Tensor, Tensor]]  # a sweep's z, c and the gradients of its two directions


def make_maps(count: int, width: int, side: int) -> Maps:
    def one() -> Tensor:
        return torch.rand(count, width, side, side).contiguous(memory_format=torch.channels_last)

    return [(one(), one(), one(), one()) for _ in range(ROLES * len(AXES))]


def run(implementation: object, maps: Maps) -> None:
    for (z, c, *gradients), dim in zip(maps, AXES * ROLES, strict=True):
        implementation.forward(z, c, dim, SENSES)  # type: ignore[attr-defined]
        implementation.backward(z, c, gradients, dim, SENSES)  # type: ignore[attr-defined]


def run_differentiated(states: Callable[[Tensor, Tensor, int], Tensor], maps: Maps) -> None:
    """By autograd, each sense on its own; `states` sweeps from first to last."""
    for (z, c, *gradients), dim in zip(maps, AXES * ROLES, strict=True):
        z, c = z.detach().requires_grad_(), c.detach().requires_grad_()
        both = [states(z, c, dim), states(z.flip(dim), c.flip(dim), dim).flip(dim)]
        torch.autograd.grad(both, (z, c), gradients)


def plain_states(z: Tensor, c: Tensor, dim: int) -> Tensor:
    h, states = torch.zeros_like(z.select(dim, 0)), []
    for z_t, c_t in zip(z.unbind(dim), c.unbind(dim), strict=True):
        h = torch.lerp(h, c_t, z_t)
        states.append(h)
    return torch.stack(states, dim)


def associative_states(z: Tensor, c: Tensor, dim: int) -> Tensor:
    from torch._higher_order_ops.associative_scan import associative_scan

    def combine(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return before[0] * after[0], after[0] * before[1] + after[1]

    return associative_scan(combine, (1 - z, z * c), dim, combine_mode="generic")[1]


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--expressions", type=int, default=1, help="maps swept together (default: 1)")
    arguments = command.parse_args()
    params = load_params(arguments.params)
    keep_freed_memory()
    side = params.vision.image_size // STRIDE
    maps = make_maps(arguments.expressions, params.fusion.widths[STAGE], side)
    sources, targets = ([torch.rand_like(maps[0][0]) for _ in range(MAPS // 2)] for _ in range(2))

    def stream() -> None:
        for source, target in zip(sources, targets, strict=True):
            target.copy_(source)

    works: dict[str, Callable[[], object]] = {
        "stream": stream,
        "numba": partial(run, cpu, maps),
        "loop of torch kernels": partial(run, loop, maps),
        "loop under autograd": partial(run_differentiated, plain_states, maps),
    }
    try:
        run_differentiated(associative_states, maps)
        works["associative_scan"] = partial(run_differentiated, associative_states, maps)
        left_out = {}
    except (ImportError, RuntimeError, NotImplementedError) as error:
        left_out = {"associative_scan": " ".join(str(error).split())[:200]}
    seconds = time_interleaved(works, arguments.repeats)
    result = {
        "params": arguments.params,
        "map": list(maps[0][0].shape),
        "bytes": MAPS * maps[0][0].nbytes,
        "seconds": seconds,
        "left_out": left_out,
        "ratios": {
            f"{name} / stream": values["median_s"] / seconds["stream"]["median_s"]
            for name, values in seconds.items()
            if name != "stream"
        },
        "machine": machine(),
    }
    show(result, arguments.json)


if __name__ == "__main__":
    exit_on_user_error(main)
