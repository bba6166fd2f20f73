"""The state of an unfinished training."""

from pathlib import Path

import pytest
import torch

from s2rm.training.checkpoint import Progress, load_state, save_state


def trained() -> tuple[torch.nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 3)).square().sum().backward()
    optimiser.step()
    return model, optimiser


def test_round_trip(tmp_path: Path) -> None:
    model, optimiser = trained()
    progress = Progress(epoch=3, step=17, best=41.5, history=[{"epoch": 3, "val/mean/mIoU": 41.5}])
    path = tmp_path / "new" / "state.pt"
    save_state(path, progress, model=model, optimiser=optimiser)
    drawn = torch.rand(3)
    fresh = torch.nn.Linear(3, 2)
    fresh_optimiser = torch.optim.AdamW(fresh.parameters())
    torch.manual_seed(99)
    assert load_state(path, model=fresh, optimiser=fresh_optimiser) == progress
    assert torch.equal(torch.rand(3), drawn)  # the random state too
    assert torch.equal(fresh.weight, model.weight)
    for state, other in zip(
        optimiser.state_dict()["state"].values(), fresh_optimiser.state_dict()["state"].values(), strict=True
    ):
        assert torch.equal(state["exp_avg"], other["exp_avg"])
    assert [file.name for file in path.parent.iterdir()] == ["state.pt"]  # no .part is left


def test_nothing_to_continue(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state.pt") == Progress(epoch=0, step=0, history=[])


class Unwritable:
    def state_dict(self) -> dict[str, object]:
        raise OSError("disk full")


def test_a_crash_before_or_while_writing_keeps_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = trained()
    path = tmp_path / "state.pt"
    save_state(path, Progress(epoch=1), model=model)
    with pytest.raises(OSError, match="disk full"):
        save_state(path, Progress(epoch=2), model=Unwritable())

    def half_written(state: object, file: Path) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half_written)
        with pytest.raises(OSError, match="disk full"):
            save_state(path, Progress(epoch=2), model=model)
    assert load_state(path, model=model).epoch == 1
    save_state(path, Progress(epoch=2), model=model)
    assert load_state(path, model=model).epoch == 2
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]
