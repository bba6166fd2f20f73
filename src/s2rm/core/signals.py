"""End a command on a signal: at once with one line, or at a point where its work can be saved."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# Ctrl-C, the end of a container or of a job's time, a closed connection, and what clusters send before that.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# Seconds. Ctrl-C reaches a process from the terminal and from its launcher, and should count once.
ECHO = 2.0
AGAIN = "the same command does it again"  # said of what a signal ends at once


class StopSignal(KeyboardInterrupt):
    """A signal ends the command at once.

    Attributes:
        signal: number of the signal.
    """

    def __init__(self, signal: int) -> None:
        super().__init__()
        self.signal = signal


class SignalFlag:
    """Remembers the first signal that was received.

    Attributes:
        signal: number of the signal; None before one was received.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        """Create a flag that has received no signal.

        Args:
            at_once: whether the first signal ends the command, and not the second one only.
        """
        self.signal: int | None = None
        self._at_once = at_once
        self._since = 0.0

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """Record a signal; a handler for `signal.signal`.

        Raises:
            StopSignal: the signal ends the command at once. A second one always does, except within ECHO
                seconds after the first.
        """
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._since = number, now
            if not self._at_once:
                return
        elif now - self._since <= ECHO:
            return
        raise StopSignal(number)


def heeded_signals() -> list[signal.Signals]:
    """Return the signals that end this process: nohup has it ignore SIGHUP, and so it stays."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return [number for number in STOP_SIGNALS if number != signal.SIGHUP]
    return list(STOP_SIGNALS)


@contextmanager
def stop_signals(*, at_once: bool) -> Iterator[SignalFlag]:
    """Receive STOP_SIGNALS within this context.

    Outside of the main thread nothing changes, as Python has it.

    Args:
        at_once: whether the first signal raises `StopSignal`; otherwise the flag tells of it.

    Yields:
        The flag that tells whether a signal was received.
    """
    flag = SignalFlag(at_once=at_once)
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.signal(number, flag.receive) for number in heeded_signals()}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_while_loading() -> None:
    """End the process on a signal with one line, from now on until `stop_signals` takes over.

    To load the modules of a command takes seconds, and nothing is at work yet.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        with suppress(OSError):
            os.write(2, f"stopped: {signal.Signals(number).name}; {AGAIN}\n".encode())
        os._exit(128 + number)

    for number in heeded_signals():
        signal.signal(number, stop)


def ignore_stop_signals(worker: int = 0) -> None:
    """Leave the signals to the main process: run this first in each helper process.

    A terminal, a launcher and a cluster send a signal to all processes. A loader process that died of it
    would end the training before its state is saved.

    Args:
        worker: the process's number, which torch passes.
    """
    for number in STOP_SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        # The main process ends its helpers by SIGTERM: only that one counts.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_await_parent, args=[os.getppid()], daemon=True).start()


def _await_parent(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)
