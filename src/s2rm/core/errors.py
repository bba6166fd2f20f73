"""Define the errors that end a command early with one line: a mistake of the user, and a signal."""

import os
import signal
import sys
from collections.abc import Callable

from s2rm.core.signals import AGAIN, StopSignal, stop_signals


class UserError(Exception):
    """Something that the user gave is wrong; the message says what, where, and how to correct it."""


class StoppedError(Exception):
    """A signal ended the work at a point where it can be resumed.

    Attributes:
        signal: number of the signal.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


def exit_on_user_error(main: Callable[[], int | None]) -> None:
    """Run the `main` of a command and exit with its code.

    A `UserError` becomes one line on stderr and exit code 2; a `StoppedError`, or a signal that ends the
    command, becomes one line and 128 plus the number of the signal, as for a process that the signal ended.

    Raises:
        SystemExit: always, with the exit code.
    """
    try:
        with stop_signals(at_once=True):
            code = main() or 0
            sys.stdout.flush()
    except UserError as error:
        code = _end(f"error: {error}", 2)
    except StoppedError as stopped:
        code = _end(f"stopped: {stopped}", 128 + stopped.signal)
    except KeyboardInterrupt as stopped:
        number = stopped.signal if isinstance(stopped, StopSignal) else signal.SIGINT
        name = signal.Signals(number).name
        code = _end(f"stopped: {name}; {AGAIN}", 128 + number)
    except BrokenPipeError:  # who reads the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    sys.exit(code)


def _end(line: str, code: int) -> int:
    """Print the line, unless nobody can read it: a closed connection takes the terminal with it."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    return code
