"""The one exception for what the user can mend: shown as one line, exit code 2."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user gave is wrong; the message says what, where, and how to mend it."""


def exit_on_user_error(main: Callable[[], int | None]) -> None:
    """Runs a command's `main`; a `UserError` becomes one line on stderr and exit code 2."""
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
