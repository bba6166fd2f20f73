"""Find out once whether Triton's kernels run on this machine.

Triton compiles a small C program at its first launch, so it needs a C compiler and Python's headers, which
a machine that runs torch may lack.
"""

import functools
import logging
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import torch

from s2rm.core.devices import warn_once_per_machine

logger = logging.getLogger(__name__)

TOOLS = "install a C compiler and Python's headers (Debian, Ubuntu: apt install gcc libc6-dev python3-dev)"


@functools.cache
def runs_triton() -> bool:
    """Return whether the sweep's kernels run on the current GPU; where they do not, one line warns of it.

    The first call launches them on a small map. Call it before the first step: compiled there, they would be
    a part of that step's time.

    Raises:
        torch.OutOfMemoryError: the GPU has no memory left.
    """
    try:
        _launch()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton, its compilers and the driver have many
        warn_once_per_machine(
            logger,
            "Triton's kernels do not run, so the sweep runs as plain torch operations, which are slower: "
            + _explain(error),
        )
        return False
    return True


def _launch() -> None:
    """Run both kernels on the current GPU."""
    from s2rm.scan import triton_gpu

    z = torch.zeros((1, 1, 2, 2), device="cuda")
    states = triton_gpu.forward(z, z, 2, (False, True))
    triton_gpu.backward(z, z, states, 2, (False, True))
    torch.cuda.synchronize()


def _explain(error: Exception) -> str:
    """Return the reason in one line, and what helps."""
    reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    if isinstance(error, ImportError):
        return f"Triton cannot be imported ({reason}); it comes with torch's CUDA builds for Linux"
    if isinstance(error, PermissionError):
        return f"{reason}; set TRITON_CACHE_DIR to a folder that can be written"
    if missing := find_missing_tools():
        return f"{' and '.join(missing)} missing; {TOOLS}"
    if isinstance(error, subprocess.CalledProcessError):  # of libc6-dev, for example
        return f"the C compiler {error.cmd[0]} fails; {TOOLS}"
    return f"{reason}; {TOOLS}" if isinstance(error, FileNotFoundError) else reason


def find_missing_tools() -> list[str]:
    """Return what Triton compiles with and this machine lacks; Triton looks in the same places."""
    missing = []
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        missing.append("a C compiler is")
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # Debian's own
    headers = Path(sysconfig.get_path("include", scheme))
    if not (headers / "Python.h").exists():
        missing.append(f"{headers / 'Python.h'} is")
    return missing
