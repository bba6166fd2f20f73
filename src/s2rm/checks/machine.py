"""Check the machine: disk, memory, GPU, compiler, and what starts several processes."""

import os
import re
import shlex
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

from s2rm.checks.findings import Finding, attempt
from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.core.memory import count_free_memory

GIGABYTE = 1e9
LITTLE_DISK, LITTLE_MEMORY = 2 * GIGABYTE, 1 * GIGABYTE  # of them a warning comes below
LEAST_DISK = 0.2 * GIGABYTE  # below it nothing can be trained
SHARED = Path("/dev/shm")  # where loader processes pass batches
PREFETCHED, CHANNELS = 2, 3  # batches per loader process, of RGB images in uint8
PROCESSES = re.compile(r"--(?:num[_-]processes|nproc[_-]per[_-]node)[= ](\d+)")


def check_machine(params: Params | None, root: Path) -> Iterator[Finding]:
    """Yield what is found about the machine.

    Args:
        params: all parameters; None where they cannot be read.
        root: folder of the project.
    """
    yield _check_disk(root)
    yield _check_memory()
    if params is None:
        return
    if params.train.workers or params.evaluate.workers:
        yield _check_shared_memory(params)
    yield from _check_device(params)
    launcher = os.environ.get("S2RM_LAUNCH", "").strip()
    if launcher:
        yield attempt("S2RM_LAUNCH", lambda: _check_launcher(launcher, params))


def _check_disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free
    found = f"{free / GIGABYTE:.1f} GB free"
    if free < LEAST_DISK:
        return Finding("disk", "error", f"{found}: too little to train; make room")
    if free < LITTLE_DISK:
        return Finding(
            "disk", "warning", f"{found}: little; a state of a training is three times its weights"
        )
    return Finding("disk", "ok", found)


def _check_memory() -> Finding:
    free = count_free_memory()
    if free is None:
        return Finding("memory", "not checked", "this system does not tell")
    found = f"{free / GIGABYTE:.1f} GB free"
    if free < LITTLE_MEMORY:
        return Finding("memory", "warning", f"{found}: a training may be killed; end other programs")
    return Finding("memory", "ok", found)


def _check_shared_memory(params: Params) -> Finding:
    """Compare the shared memory with the batches of images that the loader processes hold in it at least."""
    if not SHARED.is_dir():
        return Finding("shared memory", "not checked", f"there is no {SHARED}")
    train, free = params.train, shutil.disk_usage(SHARED).free
    images = -(-train.expressions_per_batch // train.expressions_per_image)
    need = train.workers * PREFETCHED * images * CHANNELS * params.vision.image_size**2
    found = f"{free / GIGABYTE:.2f} GB free in {SHARED}"
    if need > free:
        return Finding(
            "shared memory",
            "warning",
            f"{found}, {need / GIGABYTE:.2f} GB are needed for train.workers={train.workers}: loader "
            "processes may die; lower it, or give a container more (docker run --shm-size)",
        )
    return Finding("shared memory", "ok", found)


def _check_device(params: Params) -> Iterator[Finding]:
    import torch

    from s2rm.core.devices import find_gpu_obstacle, has_nvidia_device

    asked = params.train.device
    obstacle = find_gpu_obstacle() if asked != "cpu" else ""
    if obstacle is not None:
        if asked == "cuda":
            yield Finding("device", "error", f"train.device is 'cuda', but {obstacle}")
        elif asked == "auto" and has_nvidia_device():
            yield Finding("device", "warning", f"the CPU, although there seems to be a GPU: {obstacle}")
        else:
            yield Finding("device", "ok", "the CPU")
        return
    memory = torch.cuda.get_device_properties(0).total_memory
    yield Finding("device", "ok", f"{torch.cuda.get_device_name(0)}, {memory / GIGABYTE:.0f} GB")
    bf16 = "bf16" in (params.train.precision, params.evaluate.precision)
    if bf16 and not torch.cuda.is_bf16_supported(including_emulation=False):
        yield Finding("precision", "warning", "this GPU computes bf16 slowly: set train.precision=float32")
    yield _check_compiler()


def _check_compiler() -> Finding:
    """Check for what Triton compiles its kernels' launchers with."""
    from s2rm.scan.triton_probe import TOOLS, find_missing_tools

    if missing := find_missing_tools():
        said = f"{' and '.join(missing)} missing, so the sweep is slow; {TOOLS}"
        return Finding("compiler", "warning", said)
    return Finding("compiler", "ok", "a C compiler and Python's headers, for Triton")


def _check_launcher(launcher: str, params: Params) -> str:
    try:
        words = shlex.split(launcher)
    except ValueError as error:
        raise UserError(f"S2RM_LAUNCH is {launcher!r}: {error}") from None
    if not words or not shutil.which(words[0]):
        raise UserError(f"S2RM_LAUNCH is {launcher!r}: there is no such program on PATH")
    named = PROCESSES.search(" ".join(words))
    processes = int(named[1]) if named else 1
    if processes < 1 or params.train.expressions_per_batch % processes:
        raise UserError(
            f"S2RM_LAUNCH starts {processes} processes, and train.expressions_per_batch is "
            f"{params.train.expressions_per_batch}: it must be a multiple of them"
        )
    gpus = 0 if params.train.device == "cpu" else _count_gpus()
    if gpus and processes > gpus:
        raise UserError(f"S2RM_LAUNCH starts {processes} processes, but this machine has {gpus} GPUs")
    return launcher


def _count_gpus() -> int:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.cuda.device_count()
