"""Stop a training on SIGTERM and SIGINT at the end of a step, so that its state can be saved first."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from s2rm.core.errors import StoppedError

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Seconds. Ctrl-C reaches a process from the terminal and from its launcher, and should count once.
ECHO = 2.0


class SignalFlag:
    """Remembers the first signal that was received.

    Attributes:
        signal: number of the signal; None before one was received.
    """

    def __init__(self) -> None:
        """Create a flag that has received no signal."""
        self.signal: int | None = None
        self._since = 0.0

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """Record a signal; a handler for `signal.signal`.

        Raises:
            KeyboardInterrupt: a second signal, more than ECHO seconds after the first: stop at once.
        """
        now = time.monotonic()
        if self.signal is not None and now - self._since > ECHO:
            raise KeyboardInterrupt
        if self.signal is None:
            self.signal, self._since = number, now

    def raise_stopped(self, step: int, steps: int) -> None:
        """End the training, whose state is saved.

        Args:
            step: the optimiser steps done.
            steps: the optimiser steps of the whole training.

        Raises:
            StoppedError: always; it names the signal and the step.
        """
        name = signal.Signals(self.signal or signal.SIGTERM).name
        raise StoppedError(
            f"{name} after step {step} of {steps}: the state is saved, the same command continues it",
            self.signal or signal.SIGTERM,
        )


@contextmanager
def deferred_signals() -> Iterator[SignalFlag]:
    """Record SIGTERM and SIGINT within this context instead of acting on them.

    It works in the main thread only, a restriction of Python.

    Yields:
        The flag that tells whether a signal was received.
    """
    stop = SignalFlag()
    before = {number: signal.signal(number, stop.receive) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
