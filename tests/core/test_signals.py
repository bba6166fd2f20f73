"""Signals are recorded or end the command, and a second one stops at once."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from s2rm.core import signals
from s2rm.core.signals import STOP_SIGNALS, StopSignal, stop_signals


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_recorded_and_the_handlers_are_restored(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_signals(at_once=False) as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal == number
    assert signal.getsignal(number) is before


def test_a_signal_that_arrives_twice_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with stop_signals(at_once=False) as stop:
        for number in (signal.SIGINT, *STOP_SIGNALS):
            os.kill(os.getpid(), number)
        assert stop.signal == signal.SIGINT
        monkeypatch.setattr(signals, "ECHO", -1.0)
        with pytest.raises(StopSignal):
            os.kill(os.getpid(), signal.SIGHUP)


def test_the_handlers_of_a_training_are_those_of_the_command_again() -> None:
    with stop_signals(at_once=True):
        with stop_signals(at_once=False) as stop:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stop.signal == signal.SIGUSR1
        with pytest.raises(StopSignal):
            os.kill(os.getpid(), signal.SIGUSR1)


def test_outside_of_the_main_thread_nothing_changes() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def work() -> None:
        with stop_signals(at_once=True) as stop:
            found.append((stop.signal, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(None, before)]


LOADING = """
import sys, time
from s2rm.core.signals import stop_while_loading
stop_while_loading()
print("started", flush=True)
time.sleep(30)
"""
COMMAND = """
import signal, sys, time
from s2rm.core.errors import exit_on_user_error
def main():
    print("started", flush=True)
    try:
        time.sleep(30)
    finally:
        time.sleep(0.3)  # something is put in order, and more signals arrive
exit_on_user_error(main)
"""


def start(prefix: tuple[str, ...] = (), code: str = COMMAND) -> subprocess.Popen[str]:
    command = subprocess.Popen(
        [*prefix, sys.executable, "-c", code],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert command.stdout is not None
    assert command.stdout.readline() == "started\n"
    return command


@pytest.mark.kill
@pytest.mark.parametrize(
    "numbers",
    [*([number] for number in STOP_SIGNALS), [signal.SIGHUP, signal.SIGTERM], list(STOP_SIGNALS)],
    ids=str,
)
def test_any_command_ends_with_one_line(numbers: list[signal.Signals]) -> None:
    command = start()
    for number in numbers:
        os.kill(command.pid, number)
        time.sleep(0.02)
    _, errors = command.communicate(timeout=30)
    first = numbers[0]
    assert command.returncode == 128 + first
    assert errors == f"stopped: {first.name}; the same command does it again\n"


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_a_command_that_still_loads_its_modules_ends_with_one_line(number: signal.Signals) -> None:
    command = start(code=LOADING)
    os.kill(command.pid, number)
    _, errors = command.communicate(timeout=30)
    assert command.returncode == 128 + number
    assert errors == f"stopped: {number.name}; the same command does it again\n"


@pytest.mark.kill
def test_nohup_stays_what_it_is() -> None:
    command = start(("nohup",))
    os.kill(command.pid, signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        command.wait(0.3)
    os.kill(command.pid, signal.SIGUSR1)
    assert command.wait(30) == 128 + signal.SIGUSR1


@pytest.mark.kill
def test_the_exit_code_is_the_same_when_nobody_can_read_the_line() -> None:
    command = start()
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.close()
    command.stderr.close()
    os.kill(command.pid, signal.SIGHUP)
    assert command.wait(30) == 128 + signal.SIGHUP


def test_output_that_is_cut_off_is_no_fault() -> None:
    """As by `s2rm env | head -1`."""
    code = "from s2rm.core.errors import exit_on_user_error\nexit_on_user_error(lambda: print('x' * 10**6))"
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.close()
    assert command.stderr.read() == b""
    command.stderr.close()
    assert command.wait(30) == 128 + signal.SIGPIPE


HELPER = """
import multiprocessing, os, signal, sys, time
from s2rm.core.signals import STOP_SIGNALS, ignore_stop_signals
def helper():
    ignore_stop_signals()
    print(os.getpid(), flush=True)
    time.sleep(60)
process = multiprocessing.get_context("fork").Process(target=helper)
process.start()
sys.stdin.readline()
print(process.is_alive(), flush=True)
process.terminate()
process.join()
"""


@pytest.mark.kill
@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="the system does not tell who sends a signal")
def test_a_helper_process_heeds_its_parent_only() -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", HELPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    helper = int(command.stdout.readline())
    time.sleep(0.1)
    for number in STOP_SIGNALS:
        os.kill(helper, number)
    assert command.communicate("\n", timeout=30)[0] == "True\n"
    assert command.returncode == 0
