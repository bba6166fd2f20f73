"""Describe the machine, the libraries and the settings that results and speed depend on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

LIBRARIES = (
    *("s2rm", "torch", "torchvision", "timm", "transformers", "accelerate"),
    *("numba", "triton", "numpy", "pandas", "dvc", "mlflow"),
)
# Threads, determinism and the number of training processes. None of these variables holds a path or a secret.
VARIABLES = (
    *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"),
    *("CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "PYTHONHASHSEED"),
    *("WORLD_SIZE", "S2RM_LAUNCH"),
)


def describe_environment() -> dict[str, Any]:
    """Return the environment as JSON values by name.

    `s2rm env` prints it, and MLflow keeps it for each training as environment.json. Libraries that are not
    installed and variables that are not set are left out.
    """
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _processor() -> str:
    """Return the processor's model name on Linux, otherwise its architecture."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
