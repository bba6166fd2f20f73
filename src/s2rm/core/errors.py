"""Define the errors that end a command early with one line: a mistake of the user, and a signal."""

import sys
from collections.abc import Callable


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

    A `UserError` becomes one line on stderr and exit code 2; a `StoppedError` becomes one line and 128 plus
    the number of the signal, as for a process that the signal ended.

    Raises:
        SystemExit: always, with the exit code.
    """
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except StoppedError as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        sys.exit(128 + stopped.signal)
    except KeyboardInterrupt:
        sys.exit(130)
