"""Choose the device to run on, and say why torch cannot use a GPU."""

import logging
import os
import shutil
import warnings
from pathlib import Path
from typing import Literal

import torch

from s2rm.core.errors import UserError

logger = logging.getLogger(__name__)

DRIVER = Path("/proc/driver/nvidia/version")
DEVICE_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")  # the last one: WSL
HELP = "docs/cluster.md#the-driver"
# NVIDIA's table of CUDA's minor version compatibility: CUDA's version → the oldest driver.
OLDEST_DRIVER = {"11": 450, "12": 525, "13": 580}


def choose_device(asked: Literal["auto", "cpu", "cuda"], key: str = "train.device") -> torch.device:
    """Return the device to run on; one line warns of an NVIDIA device that torch cannot use.

    Args:
        asked: auto takes a GPU where torch can use one.
        key: the parameter that asks, for the message.

    Raises:
        UserError: a GPU is asked for, and torch cannot use one.
    """
    if asked == "cpu":
        return torch.device("cpu")
    obstacle = find_gpu_obstacle()
    if obstacle is None:
        # cuDNN's attention: its gradients were seen to be NaN with masks (pytorch issue 196678).
        torch.backends.cuda.enable_cudnn_sdp(False)
        return torch.device("cuda")
    if asked == "cuda":
        raise UserError(f"{key} is 'cuda', but {obstacle}")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")  # on purpose
    if has_nvidia_device() and not hidden:
        warn_once_per_machine(
            logger, f"running on the CPU, although this machine seems to have an NVIDIA GPU: {obstacle}"
        )
    return torch.device("cpu")


def find_gpu_obstacle() -> str | None:
    """Return why torch cannot use a GPU, in its own words, and what helps; None if it can."""
    with warnings.catch_warnings():  # what they say is part of the message
        warnings.simplefilter("ignore")
        if torch.cuda.is_available():
            return None
        if torch.version.cuda is None and torch.version.hip is None:
            return f"torch {torch.__version__} is a build without CUDA: install another ({HELP})"
        try:
            torch.cuda.init()
            reason = "it finds no device"
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0].split(". ")[0].rstrip(".")
    parts = [f"torch {torch.__version__} cannot use a GPU: {reason}"]
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        parts.append(f"CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r}")
    oldest = OLDEST_DRIVER.get((torch.version.cuda or "").split(".")[0])
    if oldest:
        parts.append(
            f"its CUDA {torch.version.cuda} needs NVIDIA's driver {oldest} or newer, and "
            f"{_describe_driver()} ({HELP})"
        )
    return "; ".join(parts)


def has_nvidia_device() -> bool:
    """Return whether this machine has an NVIDIA device or its driver, whether torch can use it or not."""
    return (
        DRIVER.exists()
        or any(Path(name).exists() for name in DEVICE_FILES)
        or shutil.which("nvidia-smi") is not None
    )


def warn_once_per_machine(logger: logging.Logger, message: str) -> None:
    """Log a warning that concerns the machine: of the processes that a launcher starts on it, one does."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        logger.warning("%s", message)


def _describe_driver() -> str:
    """Return what is installed: "this machine has 535.129.03"."""
    try:
        words = DRIVER.read_text(encoding="utf-8").splitlines()[0].split()
    except (OSError, IndexError):
        return "this machine has none" if not has_nvidia_device() else "this machine's is unknown"
    version = next((word for word in words if word[0].isdigit() and "." in word), "unknown")
    return f"this machine has {version}"
