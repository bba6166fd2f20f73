"""Trainings that are killed or stopped at any moment end with the same bits as one that was not."""

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apart import RUN, SETTINGS, Apart

from s2rm.config.params import Params
from s2rm.training.checkpoint import previous_of

Start = Callable[..., Apart]


def test_the_epochs_are_long_enough_to_stop_inside_them(whole: Apart) -> None:
    assert whole.steps == list(range(1, len(whole.steps) + 1))
    assert len(whole.steps) >= 2 * 5


@pytest.mark.slow
@pytest.mark.kill
@pytest.mark.parametrize("moment", range(3))
def test_a_killed_training_ends_with_the_same_bits(whole: Apart, start: Start, moment: int) -> None:
    killed_and_finished(whole, start(), random.Random(moment))


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("moment", range(100, 130))
def test_a_training_killed_at_thirty_random_moments(whole: Apart, start: Start, moment: int) -> None:
    killed_and_finished(whole, start(), random.Random(moment))


def killed_and_finished(whole: Apart, training: Apart, drawn: random.Random) -> None:
    """Kill twice, at random steps and after a random delay, also while a state is written; then finish."""
    last = len(whole.steps)
    for _ in range(2):
        training.kill(drawn.randint(0, last), delay=drawn.random() * 0.3)
    assert training.finish() == 0, training.output
    assert training.files == whole.files
    # Steps that were repeated are logged twice, with the same values.
    values = {step: metrics["train/loss"] for step, metrics in whole.log if "train/loss" in metrics}
    for step, metrics in training.log:
        if "train/loss" in metrics:
            assert metrics["train/loss"] == values[step]


@pytest.mark.parametrize(
    ("number", "at"), [(signal.SIGTERM, 1), (signal.SIGINT, 4), (signal.SIGHUP, 3), (signal.SIGUSR1, 2)]
)
def test_a_stopped_training_loses_no_step(
    whole: Apart, start: Start, number: signal.Signals, at: int
) -> None:
    training = start()
    assert training.stop(number, at) == 128 + number
    reached = training.steps[-1]
    assert f"stopped: {number.name} after step {reached} of {len(whole.steps)}: " in training.output
    assert "Traceback" not in training.output
    assert not (training.folder / "model").exists()
    assert training.finish() == 0, training.output
    assert f"continuing after step {reached} of" in training.output or training.steps[-1] == len(whole.steps)
    assert training.steps == whole.steps  # none twice
    assert training.files == whole.files


@pytest.mark.kill
@pytest.mark.slow
def test_loader_processes_that_get_the_signal_too_stop_nothing(whole: Apart, start: Start) -> None:
    """As from a terminal, `scancel`, `tini -g` or torchrun, which signal the whole group."""
    training = start("train.workers=2")
    training.to_children = True
    assert training.stop(signal.SIGTERM, 2) == 128 + signal.SIGTERM, training.output
    assert "Traceback" not in training.output
    assert training.finish() == 0, training.output
    assert training.steps == whole.steps
    assert training.files == whole.files


def test_the_advice_after_a_failure_loses_no_step_and_changes_no_bit(
    whole: Apart, start: Start, tiny_params: Callable[..., Params]
) -> None:
    """Of a loader process that died, and of memory that ran out: the training goes on under the same key."""
    training = start("train.workers=2")
    training.stop(signal.SIGTERM, 2)
    training.params = tiny_params(*SETTINGS, "train.workers=0", "train.activation_checkpointing=all")
    assert training.finish() == 0, training.output
    assert training.steps == whole.steps
    assert training.files == whole.files


@pytest.mark.slow
def test_stopped_at_every_second_step(whole: Apart, start: Start) -> None:
    """The ends of epochs are among these steps."""
    training = start()
    for at in range(2, len(whole.steps) + 1, 2):
        training.stop(signal.SIGTERM, at)
    training.finish()
    assert training.steps == whole.steps
    assert training.files == whole.files


@pytest.mark.slow
def test_accumulated_batches_are_resumed_at_a_whole_step(
    start: Start, tmp_path: Path, tiny_data: Any, tiny_params: Callable[..., Params]
) -> None:
    settings = "train.accumulation=2", "train.expressions_per_batch=8"
    other = Apart(
        tmp_path / "other", tiny_data.prepared, tiny_data.raw, tiny_params(*SETTINGS, *settings), RUN
    )
    assert other.finish() == 0, other.output
    training = start(*settings)
    training.stop(signal.SIGTERM, 2)
    assert training.finish() == 0, training.output
    assert training.files == other.files


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("damage", ["a bit", "half", "empty"])
def test_a_damaged_state_is_skipped_for_the_previous_one(whole: Apart, start: Start, damage: str) -> None:
    training = start()
    training.kill(7)
    state = training.folder / "scratch" / "state.pt"
    assert previous_of(state).exists()
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(
        {"a bit": bytes(content), "half": bytes(content[: len(content) // 2]), "empty": b""}[damage]
    )
    assert training.finish() == 0, training.output
    assert "state.pt is damaged" in training.output
    assert training.files == whole.files


@pytest.mark.faults
@pytest.mark.slow
def test_two_damaged_states_start_over(whole: Apart, start: Start) -> None:
    training = start()
    training.kill(7)
    state = training.folder / "scratch" / "state.pt"
    state.write_bytes(b"")
    previous_of(state).write_bytes(b"")
    assert training.finish() == 0, training.output
    assert training.files == whole.files
