"""Time of the coparsing sweep alone, by each implementation, compared with the memory limit.

    python benchmarks/sweep.py --params presets/paper.yaml --json

All 8 parsed semantics of the stride-8 stage for one expression are swept forward and backward: 2 roles × 2
axes, each in both directions. Forward reads z and c and writes two maps of states; backward reads z, c and
two gradients and writes two maps: 40 maps in all. `stream`, the memory limit, copies 20 maps of that size to
20 others that are allocated beforehand.

torch's own `associative_scan` (run eagerly; a private name, left out where torch lacks it) and a loop that
autograd differentiates are timed too. accelerated-scan and flash-linear-attention's HGRN have kernels for
GPUs only.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType

import torch
from timing import build_parser, describe_machine, print_result, time_interleaved
from torch import Tensor

from s2rm.config.load import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.process import keep_freed_memory
from s2rm.scan import numba_cpu, reference

STRIDE, STAGE = 8, 1
AXES = (2, 3)
DIRECTIONS = (False, True)
ROLES = 2
MAPS = 40
Maps = list[tuple[Tensor, Tensor, Tensor, Tensor]]  # of one sweep: z, c, the gradients of both directions


def make_maps(count: int, width: int, side: int) -> Maps:
    """Return the maps of all sweeps, (count, width, side, side) each."""

    def one() -> Tensor:
        return torch.rand(count, width, side, side).contiguous(memory_format=torch.channels_last)

    return [(one(), one(), one(), one()) for _ in range(ROLES * len(AXES))]


def sweep(implementation: ModuleType, maps: Maps) -> None:
    """Sweep forward and backward by a module of s2rm.scan."""
    for (z, c, *gradients), dim in zip(maps, AXES * ROLES, strict=True):
        implementation.forward(z, c, dim, DIRECTIONS)
        implementation.backward(z, c, gradients, dim, DIRECTIONS)


def sweep_differentiated(compute_states: Callable[[Tensor, Tensor, int], Tensor], maps: Maps) -> None:
    """Sweep forward, and backward by autograd, each direction separately.

    Args:
        compute_states: returns the states of a sweep from first to last, given z, c and the dimension.
        maps: of all sweeps.
    """
    for (z, c, *gradients), dim in zip(maps, AXES * ROLES, strict=True):
        z, c = z.detach().requires_grad_(), c.detach().requires_grad_()
        both = [compute_states(z, c, dim), compute_states(z.flip(dim), c.flip(dim), dim).flip(dim)]
        torch.autograd.grad(both, (z, c), gradients)


def loop_states(z: Tensor, c: Tensor, dim: int) -> Tensor:
    """Return the states of a sweep, computed by a loop over the slices."""
    h, states = torch.zeros_like(z.select(dim, 0)), []
    for z_t, c_t in zip(z.unbind(dim), c.unbind(dim), strict=True):
        h = torch.lerp(h, c_t, z_t)
        states.append(h)
    return torch.stack(states, dim)


def associative_states(z: Tensor, c: Tensor, dim: int) -> Tensor:
    """Return the states of a sweep, computed by torch's associative scan."""
    from torch._higher_order_ops.associative_scan import associative_scan

    def combine(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return before[0] * after[0], after[0] * before[1] + after[1]

    return associative_scan(combine, (1 - z, z * c), dim, combine_mode="generic")[1]


def main() -> None:
    """Print the times, and their ratios to `stream`."""
    parser = build_parser(__doc__)
    parser.add_argument("--expressions", type=int, default=1, help="expressions swept together (default: 1)")
    arguments = parser.parse_args()
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
        "numba": partial(sweep, numba_cpu, maps),
        "loop of torch kernels": partial(sweep, reference, maps),
        "loop under autograd": partial(sweep_differentiated, loop_states, maps),
    }
    left_out = {}
    try:
        sweep_differentiated(associative_states, maps)
        works["associative_scan"] = partial(sweep_differentiated, associative_states, maps)
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
        "machine": describe_machine(),
    }
    print_result(result, arguments.json)


if __name__ == "__main__":
    exit_on_user_error(main)
