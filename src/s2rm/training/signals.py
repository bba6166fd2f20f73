"""SIGTERM and SIGINT stop a training at the end of a step, so that its state can be saved first."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from s2rm.core.errors import StoppedError

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ECHO = 2.0  # seconds: Ctrl-C reaches a process from the terminal and from its launcher, and is one wish


class SignalFlag:
    """Which signal has come, if one has; a second one, later, stops at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._since = 0.0

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        now = time.monotonic()
        if self.signal is not None and now - self._since > ECHO:
            raise KeyboardInterrupt
        if self.signal is None:
            self.signal, self._since = number, now

    def raise_stopped(self, step: int, steps: int) -> None:
        name = signal.Signals(self.signal or signal.SIGTERM).name
        raise StoppedError(
            f"{name} after step {step} of {steps}: the state is saved, the same command continues it",
            self.signal or signal.SIGTERM,
        )


@contextmanager
def deferred_signals() -> Iterator[SignalFlag]:
    """While open, a signal is noted and not yet obeyed; in the main thread only, as Python has it."""
    stop = SignalFlag()
    before = {number: signal.signal(number, stop.receive) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
