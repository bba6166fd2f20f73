"""Where Triton's kernels do not run, one warning says why and the reference takes over.

There need be no GPU: the launch is replaced by the part of it that fails.
"""

import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from apart import Apart

from s2rm import scan
from s2rm.scan import reference, triton_probe
from s2rm.scan.triton_probe import runs_triton

pytest.importorskip("triton", reason="Triton is not installed: it comes with torch on Linux only")


@pytest.fixture(autouse=True)
def _first_call() -> Iterator[None]:
    runs_triton.cache_clear()
    yield
    runs_triton.cache_clear()


def find_compiler() -> None:
    """What Triton does before its first launch."""
    from triton.runtime import build

    build._find_compiler.cache_clear()
    build._find_compiler("c")


def raising(error: Exception) -> Callable[[], None]:
    def launch() -> None:
        raise error

    return launch


def on_gpu(dtype: torch.dtype) -> Any:
    return SimpleNamespace(device=torch.device("cuda"), dtype=dtype)


def test_no_compiler(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(triton_probe, "_launch", find_compiler)
    for dtype in (torch.float32, torch.bfloat16, torch.float32):
        assert scan.implementation_for(on_gpu(dtype)) is reference
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert "a C compiler is missing" in message
    assert "apt install gcc libc6-dev python3-dev" in message
    assert "\n" not in message


def test_no_headers_of_python(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    failed = subprocess.CalledProcessError(1, ["/usr/bin/gcc", "main.c"])
    monkeypatch.setattr(triton_probe, "_launch", raising(failed))
    monkeypatch.setattr(triton_probe.sysconfig, "get_path", lambda *arguments: str(tmp_path))
    assert not runs_triton()
    assert f"{tmp_path}/Python.h is missing; install a C compiler" in caplog.text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ModuleNotFoundError("No module named 'triton'"),
            "Triton cannot be imported (No module named 'triton')",
        ),
        (
            subprocess.CalledProcessError(1, ["gcc", "main.c"]),
            "the C compiler gcc fails; install a C compiler",
        ),
        (FileNotFoundError(2, "No such file or directory", "/no/cc"), "'/no/cc'; install a C compiler"),
        (PermissionError(13, "Permission denied", "/.triton"), "'/.triton'; set TRITON_CACHE_DIR"),
        (AssertionError("libcuda.so cannot found!\nPossible files"), "are slower: libcuda.so cannot found!"),
        (RuntimeError("ptxas fatal: Value 'sm_61' is not defined"), "Value 'sm_61' is not defined"),
        (ValueError(), "are slower: ValueError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_any_failure_of_the_first_launch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, words: str
) -> None:
    monkeypatch.setattr(triton_probe, "_launch", raising(error))
    monkeypatch.setattr(triton_probe, "find_missing_tools", list)
    assert not runs_triton()
    assert not runs_triton()
    (record,) = caplog.records
    assert words in record.getMessage()
    assert "\n" not in record.getMessage()


def test_memory_that_is_full_is_no_fault_of_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_probe, "_launch", raising(torch.OutOfMemoryError("full")))
    with pytest.raises(torch.OutOfMemoryError):
        runs_triton()


def test_of_several_processes_on_a_machine_one_warns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(triton_probe, "_launch", raising(RuntimeError("broken")))
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not runs_triton()
    assert not caplog.records


def test_kernels_that_run_are_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from s2rm.scan import triton_gpu

    monkeypatch.setattr(triton_probe, "_launch", lambda: None)
    assert scan.implementation_for(on_gpu(torch.bfloat16)) is triton_gpu
    assert scan.implementation_for(on_gpu(torch.float64)) is reference
    assert not caplog.records


def lose_the_compiler() -> None:
    """Sweep the CPU's maps as a GPU's, on a machine without a C compiler."""
    os.environ["PATH"] = "/nowhere"
    os.environ.pop("CC", None)
    logging.basicConfig(format="%(message)s")
    triton_probe._launch = find_compiler
    original = scan.implementation_for
    scan.implementation_for = lambda z: original(on_gpu(z.dtype))


@pytest.mark.slow
@pytest.mark.faults
def test_a_training_goes_on_without_a_compiler(tmp_path: Path, tiny_data: Any, tiny_params: Any) -> None:
    from apart import RUN

    params = tiny_params("train.epochs=1", "train.expressions_per_batch=64")
    training = Apart(tmp_path / "x", tiny_data.prepared, tiny_data.raw, params, RUN, lose_the_compiler)
    assert training.finish() == 0, training.output
    assert training.output.count("the sweep runs as plain torch operations") == 1
    assert "apt install gcc libc6-dev python3-dev" in training.output
    assert "Traceback" not in training.output


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dim", [2, 3])
def test_the_reference_keeps_the_state_in_float32(dtype: torch.dtype, dim: int) -> None:
    torch.manual_seed(0)
    shape = (1, 4, 40, 5) if dim == 2 else (1, 4, 5, 40)
    z, c, up, down = (torch.rand(shape).to(dtype) for _ in range(4))
    z = 0.05 * z  # gates so small that a rounded state would drift
    found = [
        *reference.forward(z, c, dim, (False, True)),
        *reference.backward(z, c, [up, down], dim, (False, True)),
    ]
    wide = z.double(), c.double(), [up.double(), down.double()]
    exact = [
        *reference.forward(*wide[:2], dim, (False, True)),
        *reference.backward(*wide, dim, (False, True)),
    ]
    for a, e in zip(found, exact, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), e, rtol=torch.finfo(dtype).eps, atol=1e-5)
