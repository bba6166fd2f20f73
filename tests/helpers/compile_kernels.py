"""Compile the sweep's kernels for GPUs that are not there, as its launches would; print JSON lines.

Each line: architecture, kernel, registers of a thread, and the bytes and instructions that did not fit them.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from s2rm.scan import triton_gpu

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
SHAPE = (64, 64, 120, 120)
DIRECTIONS = ((2, (False, True)), (3, (True, False)), (2, (False,)))


def read_resources(cubin: bytes) -> dict[str, int]:
    """Return what a compiled kernel needs."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage, code = (
            subprocess.run([CUOBJDUMP, option, file.name], check=True, capture_output=True, text=True).stdout
            for option in ("-res-usage", "-sass")
        )
    found = {name.lower(): int(number) for name, number in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    return found | {"local_accesses": len(re.findall(r"\b(?:LDL|STL)\b", code))}


def main(architecture: int) -> None:
    """Compile both kernels for both layouts, two dtypes and both axes."""
    target = GPUTarget("cuda", architecture, 32)
    triton.runtime.driver.set_active(
        SimpleNamespace(
            get_current_device=lambda: 0,
            get_current_stream=lambda device: 0,
            get_current_target=lambda: target,
        )
    )
    launch = JITFunction.run
    compiled: list[tuple[str, Any]] = []

    def compile_only(self: Any, *arguments: Any, warmup: bool, **options: Any) -> None:
        compiled.append((self.fn.__name__, launch(self, *arguments, warmup=True, **options)))

    JITFunction.run = compile_only
    for dtype in (torch.bfloat16, torch.float32):
        for layout in (torch.channels_last, torch.contiguous_format):
            maps = [torch.empty(SHAPE, dtype=dtype, device="meta").contiguous(memory_format=layout)] * 4
            for dim, directions in DIRECTIONS:
                triton_gpu.forward(maps[0], maps[1], dim, directions)
                triton_gpu.backward(maps[0], maps[1], maps[2 : 2 + len(directions)], dim, directions)
    for name, kernel in compiled:
        about = {"architecture": architecture, "kernel": name}
        print(json.dumps(about | read_resources(kernel.asm["cubin"])))


if __name__ == "__main__":
    main(int(sys.argv[1]))
