"""A failure gives one line and exit code 2; the same command then resumes and ends with the same bits."""

import ctypes
import gc
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from apart import Apart, nothing
from torch.utils.data import DataLoader, Dataset

from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.data import dataset
from s2rm.data.image_zip import MissingFileError
from s2rm.training import epoch
from s2rm.training.checkpoint import Progress
from s2rm.training.failures import explain_failures

pytestmark = pytest.mark.faults
Start = Callable[..., Apart]


def one_line_and_on(training: Apart, whole: Apart, *words: str) -> None:
    """Train with the fault and check its line, then run the same training without the fault."""
    assert training.finish() == 2, training.output
    (line,) = [line for line in training.output.splitlines() if line.startswith("error: ")]
    assert all(word in line for word in words), line
    assert "Traceback" not in training.output
    assert not (training.folder / "model").exists()
    training.prepare = nothing
    assert training.finish() == 0, training.output
    assert training.files == whole.files


def limit_files(size: int) -> None:
    """Limit the size of files: a larger write fails as on a full disk (EFBIG instead of ENOSPC)."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.slow
def test_a_full_disk(start: Start, whole: Apart) -> None:
    state = whole_state_size(whole)
    one_line_and_on(start(prepare=partial(limit_files, state // 2)), whole, "cannot be written", "make room")


@pytest.mark.slow
def test_a_disk_that_is_full_for_the_weights(start: Start, whole: Apart) -> None:
    weights = (whole.folder / "model" / "model.safetensors").stat().st_size
    training = start("train.save_minutes=15", prepare=partial(limit_files, weights // 2))
    one_line_and_on(training, whole, "after step 5", "make room or repair the disk, then the same command")


def whole_state_size(whole: Apart) -> int:
    return (whole.folder / "scratch" / "state.pt").stat().st_size


def mount_read_only(folder: Path) -> None:
    """Mount a read-only tmpfs over the folder, in a mount namespace of this process alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    clone_newns, ms_rdonly, ms_rec, ms_private = 0x00020000, 1, 16384, 1 << 18
    folder.mkdir(parents=True, exist_ok=True)
    steps = (
        lambda: libc.unshare(clone_newns),
        lambda: libc.mount(b"none", b"/", None, ms_rec | ms_private, None),
        lambda: libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", ms_rdonly, None),
    )
    for step in steps:
        if step():
            os._exit(77)  # not allowed here


def test_a_read_only_disk(start: Start, whole: Apart, tmp_path: Path) -> None:
    training = start(prepare=partial(mount_read_only, tmp_path / "training" / "scratch"))
    if training.finish() == 77:
        pytest.skip("mount namespaces are not allowed here")
    (training.folder / "output.txt").unlink()
    (training.folder / "log.jsonl").unlink(missing_ok=True)
    one_line_and_on(training, whole, "cannot be written", "Read-only file system")


def break_step(at: int, error: Callable[[], None]) -> None:
    """Raise the error in step `at`."""
    original, steps = epoch.segmentation_loss, [0]

    def loss(*arguments: Any) -> dict[str, torch.Tensor]:
        steps[0] += 1
        if steps[0] == at:
            error()
        return original(*arguments)

    epoch.segmentation_loss = loss  # type: ignore[assignment]


def allocate_too_much() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def test_out_of_memory(start: Start, whole: Apart) -> None:
    one_line_and_on(
        start(prepare=partial(break_step, 5, allocate_too_much)),
        whole,
        "out of memory",
        "train.expressions_per_batch",
        "set train.activation_checkpointing=all: the training continues from the last saved state",
        "raise train.accumulation (1) by the same factor: the training then starts over",
    )


def die() -> None:
    os._exit(1)


def break_loading(error: Callable[[], None]) -> None:
    """Raise the error in the loader, at an image in the middle of the first epoch."""
    original, images = dataset.decode_image, [0]

    def decode(*arguments: Any) -> Any:
        images[0] += 1
        if images[0] == 15:
            error()
        return original(*arguments)

    dataset.decode_image = decode  # type: ignore[assignment]


def test_a_loader_process_that_dies(start: Start, whole: Apart, tmp_path: Path) -> None:
    training = start("train.workers=1", prepare=partial(break_loading, die))
    one_line_and_on(training, whole, "a loader process died", "train.workers (1)")


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_loader_process_that_dies_while_it_passes_on_a_batch(
    error: Exception, tiny_params: Callable[..., Params]
) -> None:
    params = tiny_params("train.workers=3")
    with (
        pytest.raises(UserError, match=r"a loader process died after step 7, .*train\.workers \(3\)"),
        explain_failures(params.train, Progress(step=7)),
    ):
        raise error


def test_a_loader_process_that_dies_while_its_loader_ends(
    tiny_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    def read() -> None:
        batches = iter(DataLoader(DiesLater(), num_workers=1, batch_size=None))
        next(batches)
        raise ConnectionResetError(104, "Connection reset by peer")

    with (
        pytest.raises(UserError, match="a loader process died"),
        explain_failures(tiny_params("train.workers=1").train, Progress()),
    ):
        read()
    gc.collect()
    assert not unraisable


class DiesLater(Dataset[int]):
    """Its second item never arrives: the process dies while the loader waits for its end."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        if index:
            time.sleep(0.3)
            if os.fork():
                os._exit(1)
            time.sleep(0.5)  # a child holds the pipe that the loader waits at: the signal comes first
            os._exit(0)
        return index


DEAD = "DataLoader worker (pid(s) 7) exited unexpectedly"
BUS = "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that"
UNWRITABLE = (
    "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
    "RuntimeError: unable to allocate shared memory(shm) for file </torch_7_1_2>: No space left (28)"
)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError(DEAD), r"a loader process died after step 7, .*lower train\.workers \(3\)"),
        (RuntimeError(BUS), r"shared memory ran out after step 7: /dev/shm has .*lower train\.workers \(3\)"),
        (RuntimeError(UNWRITABLE), r"shared memory ran out after step 7: /dev/shm has [0-9.]+ GiB"),
        (
            OSError("Caught OSError\nOriginal Traceback\nOSError: [Errno 5] I/O error"),
            r"^after step 7: OSError: \[",
        ),
        (MemoryError(), r"out of memory after step 7: set train\.activation_checkpointing=all"),
        (BrokenPipeError(), r"a loader process died after step 7"),
    ],
    ids=["dead", "bus error", "unwritable", "disk", "memory", "pipe"],
)
def test_what_is_said_of_loader_processes_is_theirs(
    error: Exception, words: str, tiny_params: Callable[..., Params]
) -> None:
    train = tiny_params("train.workers=3").train
    with pytest.raises(UserError, match=words) as raised, explain_failures(train, Progress(step=7)):
        raise error
    assert "\n" not in str(raised.value)


def test_an_error_of_the_code_in_a_loader_process_is_not_taken_for_its_death(
    tiny_params: Callable[..., Params],
) -> None:
    error = RuntimeError(
        "Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: shapes do not fit"
    )
    with (
        pytest.raises(RuntimeError, match="shapes"),
        explain_failures(tiny_params("train.workers=3").train, Progress()),
    ):
        raise error


def test_no_loader_process_is_blamed_where_there_is_none(tiny_params: Callable[..., Params]) -> None:
    with pytest.raises(UserError, match="repair the disk"), explain_failures(tiny_params().train, Progress()):
        raise ConnectionResetError(104, "Connection reset by peer")


def test_out_of_memory_with_checkpointing_on(tiny_params: Callable[..., Params]) -> None:
    train = tiny_params("train.activation_checkpointing=all").train
    with (
        pytest.raises(UserError, match=r"step 0: lower train\.expressions_per_batch"),
        explain_failures(train, Progress()),
    ):
        raise MemoryError


def raise_corrupt() -> None:
    raise MissingFileError("train2014/1.jpg cannot be read as an image: fetch it again")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_in_the_middle_of_an_epoch(
    start: Start, whole: Apart, tmp_path: Path, workers: int
) -> None:
    training = start(f"train.workers={workers}", prepare=partial(break_loading, raise_corrupt))
    one_line_and_on(training, whole, "error: train2014/1.jpg cannot be read as an image: fetch it again")


def poison() -> None:
    original = epoch.segmentation_loss

    def loss(*arguments: Any) -> dict[str, torch.Tensor]:
        return {name: value * float("nan") for name, value in original(*arguments).items()}

    epoch.segmentation_loss = loss  # type: ignore[assignment]


def test_a_training_whose_steps_are_all_skipped_ends(start: Start) -> None:
    training = start("train.log_every=100", prepare=poison)
    assert training.finish() == 2, training.output
    assert "the gradient was not finite" in training.output


def test_other_errors_stay_what_they_are(tiny_params: Callable[..., Params]) -> None:
    with pytest.raises(RuntimeError, match="shapes"), explain_failures(tiny_params().train, Progress()):
        raise RuntimeError("shapes do not fit")
