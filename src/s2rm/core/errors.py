"""How a command ends early, in one line: what the user can mend (exit code 2), and a signal."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user gave is wrong; the message says what, where, and how to mend it."""


class StoppedError(Exception):
    """A signal ended the work where it can be taken up again."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


def exit_on_user_error(main: Callable[[], int | None]) -> None:
    """Runs a command's `main`; a `UserError` becomes one line on stderr and exit code 2.

    A `StoppedError` becomes one line and the exit code of a process that its signal ended, 128 + its number.
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
