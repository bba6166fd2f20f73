"""A stage behind a launcher: signals reach its processes, and the exit code is that of the signal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGE = """
import sys, time
sys.path[:0] = [{pipeline!r}, {src!r}]
from launch import launch
from s2rm.core.errors import StoppedError, exit_on_user_error
from s2rm.core.signals import stop_signals

def say(word):
    # In one piece: print() writes a line's end apart where $PYTHONUNBUFFERED is set, and two processes mix.
    sys.stdout.write(word + "\\n")
    sys.stdout.flush()

def main():
    launch()
    with stop_signals(at_once=False) as stop:
        say("started")
        while stop.signal is None:
            time.sleep(0.01)
        time.sleep(0.5)  # the state is saved, and more signals arrive
        say("saved")
        raise StoppedError("saved", stop.signal)

exit_on_user_error(main)
"""
TORCHRUN = f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node 2"


def start(folder: Path, launcher: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    script = folder / "a stage.py"
    script.write_text(STAGE.format(pipeline=str(ROOT / "pipeline"), src=str(ROOT / "src")))
    return subprocess.Popen(
        [*prefix, sys.executable, str(script)], env={**os.environ, "S2RM_LAUNCH": launcher}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def end(stage: subprocess.Popen[str], *numbers: int, processes: int = 1) -> list[str]:
    """Signal the stage once all of its processes run, and return what all of them wrote."""
    assert stage.stdout is not None
    lines = []
    while lines.count("started\n") < processes:
        lines.append(stage.stdout.readline())
        assert lines[-1], lines
    for number in numbers:
        os.killpg(stage.pid, number)  # as a terminal does, or `tini -g`
        time.sleep(0.05)
    output, _ = stage.communicate(timeout=60)
    return [*lines, *output.splitlines(keepends=True)]


@pytest.mark.kill
@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGINT], [signal.SIGHUP], [signal.SIGUSR1], [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]],
    ids=str,
)
def test_the_launched_process_saves_its_state(tmp_path: Path, numbers: list[signal.Signals]) -> None:
    stage = start(tmp_path, sys.executable)
    output = end(stage, *numbers)
    assert "saved\n" in output
    assert stage.returncode == 128 + numbers[0]


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_torchrun_waits_until_all_have_saved(tmp_path: Path, number: signal.Signals) -> None:
    stage = start(tmp_path, TORCHRUN)
    output = end(stage, number, processes=2)
    assert output.count("saved\n") == 2, "".join(output)
    assert stage.returncode == 128 + number


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.distributed
def test_torchrun_survives_a_closed_connection_under_nohup(tmp_path: Path) -> None:
    stage = start(tmp_path, TORCHRUN, ("nohup",))
    output = end(stage, signal.SIGHUP, signal.SIGTERM, processes=2)
    assert output.count("saved\n") == 2, "".join(output)
    assert stage.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("launcher", ["no-such-launcher --fast", "torchrun 'unclosed", "/etc"])
def test_a_launcher_that_cannot_be_started(tmp_path: Path, launcher: str) -> None:
    output, _ = (stage := start(tmp_path, launcher)).communicate(timeout=60)
    assert stage.returncode == 2
    assert output.startswith(f"error: $S2RM_LAUNCH is {launcher!r}: ")
    assert output.count("\n") == 1


def test_a_blank_launcher_is_none(tmp_path: Path) -> None:
    stage = start(tmp_path, "  ")
    assert end(stage, signal.SIGTERM)[0] == "started\n"
    assert stage.returncode == 128 + signal.SIGTERM


def test_a_launcher_that_fails_passes_its_exit_code_on(tmp_path: Path) -> None:
    (stage := start(tmp_path, "sh -c 'exit 7'")).communicate(timeout=60)
    assert stage.returncode == 7
    (stage := start(tmp_path, "sh -c 'kill -KILL $$'")).communicate(timeout=60)
    assert stage.returncode == 128 + signal.SIGKILL
