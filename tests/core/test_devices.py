"""The choice of the device, and what is said where torch cannot use a GPU."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from s2rm.core import devices
from s2rm.core.devices import choose_device, find_gpu_obstacle
from s2rm.core.errors import UserError

OLD = (
    "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver by "
    "downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)
REASONS = {
    OLD: "too old (found version 12020);",
    "Found no NVIDIA driver on your system. Please check that you": "Found no NVIDIA driver",
    "No CUDA GPUs are available": "No CUDA GPUs are available;",
    "CUDA unknown error - this may be due to an incorrectly set up environment": "CUDA unknown",
    "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions\nmore": "Unexpected error",
}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """A machine where torch finds no GPU, and says why."""

    def build(reason: str, *, driver: str = "", cuda: str | None = "13.2", device: bool = False) -> None:
        def init() -> None:
            raise RuntimeError(reason)

        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(devices, "DRIVER", tmp_path / "version")
        monkeypatch.setattr(devices, "DEVICE_FILES", (str(tmp_path / "nvidia0"),))
        if driver:
            (tmp_path / "version").write_text(
                f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Thu Sep 21 19:58:42 UTC 2023\n"
            )
        if device:
            (tmp_path / "nvidia0").touch()

    return build


@pytest.mark.parametrize("reason", REASONS)
def test_who_asks_for_a_gpu_is_told_what_torch_says(machine: Callable[..., None], reason: str) -> None:
    machine(reason, driver="535.129.03")
    with pytest.raises(UserError) as error:
        choose_device("cuda")
    message = str(error.value)
    assert message.startswith("train.device is 'cuda', but torch ")
    assert REASONS[reason] in message
    assert "needs NVIDIA's driver 580 or newer, and this machine has 535.129.03" in message
    assert "auto" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("cuda", "oldest"), [("11.8", "450"), ("12.6", "525"), ("13.0", "580"), ("14.1", None)]
)
def test_the_driver_is_that_of_torch_own_cuda(
    machine: Callable[..., None], cuda: str, oldest: str | None
) -> None:
    machine(OLD, cuda=cuda, device=True)
    obstacle = find_gpu_obstacle() or ""
    assert (f"its CUDA {cuda} needs NVIDIA's driver {oldest} or newer" in obstacle) is (oldest is not None)
    assert ("this machine's is unknown" in obstacle) is (oldest is not None)


def test_a_build_without_cuda(machine: Callable[..., None]) -> None:
    machine("Torch not compiled with CUDA enabled", cuda=None)
    with pytest.raises(UserError, match="is a build without CUDA: install another"):
        choose_device("cuda")


def test_devices_that_are_hidden(machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    machine("No CUDA GPUs are available")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES is '7'"):
        choose_device("cuda")


@pytest.mark.parametrize("has", [{"driver": "535.129.03"}, {"device": True}], ids=str)
def test_auto_warns_of_a_gpu_that_torch_cannot_use(
    machine: Callable[..., None], caplog: pytest.LogCaptureFixture, has: dict[str, str | bool]
) -> None:
    machine(OLD, **has)
    assert choose_device("auto") == torch.device("cpu")
    (record,) = caplog.records
    assert "running on the CPU, although this machine seems to have an NVIDIA" in record.getMessage()
    assert "too old (found version 12020)" in record.getMessage()


def test_auto_is_silent_where_there_is_no_gpu_or_it_is_hidden(
    machine: Callable[..., None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("Found no NVIDIA driver on your system.")
    assert choose_device("auto") == torch.device("cpu")
    machine("No CUDA GPUs are available", device=True)
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert choose_device("auto") == torch.device("cpu")
    assert choose_device("cpu") == torch.device("cpu")
    assert not caplog.records


def test_a_gpu_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert {choose_device(asked).type for asked in ("auto", "cuda")} == {"cuda"}
    assert choose_device("cpu").type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_torch_prints_nothing_of_its_own() -> None:
    """The reason is in the message; torch's own warning would say it twice."""
    code = "from s2rm.core.devices import choose_device; choose_device('auto')"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True
    )
    assert "CUDA" not in done.stderr
