"""Signals are recorded, and a second one stops at once."""

import os
import signal

import pytest

from s2rm.core.errors import StoppedError
from s2rm.training import signals
from s2rm.training.signals import deferred_signals


def test_a_signal_is_recorded_and_the_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with deferred_signals() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(StoppedError, match="SIGTERM after step 3 of 10") as stopped:
            stop.raise_stopped(3, 10)
    assert stopped.value.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_arrives_twice_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with deferred_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGINT
        monkeypatch.setattr(signals, "ECHO", -1.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
