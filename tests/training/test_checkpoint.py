"""The state of an unfinished training."""

import errno
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from s2rm.core.errors import UserError
from s2rm.training import checkpoint
from s2rm.training.checkpoint import Progress, RngState, StateWriter, load_state, previous_of


def trained() -> tuple[torch.nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 3)).square().sum().backward()
    optimiser.step()
    return model, optimiser


def save(path: Path, progress: Progress, **states: Any) -> None:
    with StateWriter(path) as writer:
        writer.save(progress, [RngState.now()], **states)


def test_round_trip(tmp_path: Path) -> None:
    model, optimiser = trained()
    progress = Progress(epoch=3, batch=5, step=17, best=41.5, seen=80, sums={"loss": 0.1 + 0.2})
    progress.history.append({"epoch": 3, "val/mean/mIoU": 41.5})
    path = tmp_path / "new" / "state.pt"
    save(path, progress, model=model, optimiser=optimiser)
    drawn = torch.rand(3)
    fresh = torch.nn.Linear(3, 2)
    fresh_optimiser = torch.optim.AdamW(fresh.parameters())
    torch.manual_seed(99)
    found, rng_state = load_state(path, model=fresh, optimiser=fresh_optimiser)
    assert found == progress
    assert rng_state is not None
    rng_state.restore()
    assert torch.equal(torch.rand(3), drawn)
    assert torch.equal(fresh.weight, model.weight)
    for state, other in zip(
        optimiser.state_dict()["state"].values(), fresh_optimiser.state_dict()["state"].values(), strict=True
    ):
        assert torch.equal(state["exp_avg"], other["exp_avg"])
    assert [file.name for file in path.parent.iterdir()] == ["state.pt"]  # nothing partial is left


def test_each_process_has_its_own_random_state(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first, drawn = RngState.now(), torch.rand(2)
    torch.manual_seed(2)
    second, other = RngState.now(), torch.rand(2)
    with StateWriter(tmp_path / "state.pt") as writer:
        writer.save(Progress(step=1), [first, second])
    for process, expected in enumerate((drawn, other)):
        rng_state = load_state(tmp_path / "state.pt", process)[1]
        assert rng_state is not None
        rng_state.restore()
        assert torch.equal(torch.rand(2), expected)
    assert load_state(tmp_path / "state.pt", 2) == (Progress(step=1), None)  # there were two


def test_the_next_epoch_starts_with_empty_sums() -> None:
    progress = Progress(
        epoch=3, batch=5, step=17, best=41.5, seen=80, sums={"loss": 0.3}, history=[{"epoch": 3}]
    )
    progress.finish_epoch()
    assert progress == Progress(epoch=4, batch=0, step=17, best=41.5, seen=0, sums={}, history=[{"epoch": 3}])


def test_nothing_to_continue(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state.pt") == (Progress(epoch=0, step=0, history=[]), None)


def test_the_previous_state_is_kept_and_used_where_the_last_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.pt"
    for step in (1, 2, 3):
        save(path, Progress(step=step))
    assert load_state(path)[0].step == 3
    content = path.read_bytes()
    for damaged in (b"", content[:-1], content[:50], content[:100] + b"x" + content[101:], content + b"x"):
        path.write_bytes(damaged)
        caplog.clear()
        assert load_state(path)[0].step == 2
        assert "state.pt is damaged" in caplog.text
    path.unlink()  # as between the two moves of a writer
    assert load_state(path)[0].step == 2


def test_a_state_is_that_of_its_step_and_the_training_goes_on_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = trained()
    weight, written = model.weight.detach().clone(), threading.Event()
    monkeypatch.setattr(checkpoint.os, "fsync", lambda descriptor: written.wait(30))
    with StateWriter(tmp_path / "state.pt") as writer:
        writer.save(Progress(step=1), [RngState.now()], model=model)
        with torch.no_grad():
            model.weight.zero_()
        assert not (tmp_path / "state.pt").exists()
        written.set()
    load_state(tmp_path / "state.pt", model=model)
    assert torch.equal(model.weight, weight)


def test_a_state_that_could_not_be_written_does_not_hide_what_ended_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint.os, "fsync", lambda descriptor: 1 / 0)

    def train() -> None:
        with StateWriter(tmp_path / "state.pt") as writer:
            writer.save(Progress(step=1), [RngState.now()])
            raise RuntimeError("the cause")

    with pytest.raises(RuntimeError, match="the cause"):
        train()


class Unwritable:
    def state_dict(self) -> dict[str, object]:
        raise OSError("disk full")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_an_error_before_or_during_the_write_keeps_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    model, _ = trained()
    path = tmp_path / "state.pt"
    save(path, Progress(epoch=1), model=model)
    with pytest.raises(OSError, match="disk full"):
        save(path, Progress(epoch=2), model=Unwritable())

    def refuse(descriptor: int) -> None:
        raise OSError(error, "refused")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.os, "fsync", refuse)
        with pytest.raises(UserError, match=r"cannot be written to .*: refused; make room"):
            save(path, Progress(epoch=2), model=model)
    assert load_state(path, model=model)[0].epoch == 1
    save(path, Progress(epoch=2), model=model)
    assert load_state(path, model=model)[0].epoch == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == [previous_of(path).name, path.name]
