"""The command lines of the stages."""

import os
import sys
from collections.abc import Collection
from pathlib import Path

from s2rm.core.errors import UserError


def read_name(kind: str, known: Collection[str]) -> str:
    """Return the only argument of this command: the name of a run or of a benchmark.

    Args:
        kind: what it names, for the message, such as "RUN".
        known: the names that params.yaml has.

    Raises:
        UserError: there is not exactly one argument, or its name is unknown.
    """
    usage = f"usage: python pipeline/{Path(sys.argv[0]).name} {kind}; params.yaml has {', '.join(known)}"
    match sys.argv[1:]:
        case [name] if name in known:
            return name
        case [name]:
            raise UserError(f"unknown {kind.lower()} {name!r}; {usage}")
        case names:
            raise UserError(f"expected one {kind.lower()}, got {len(names)}; {usage}")


def is_offline() -> bool:
    """Return whether the network must not be used: --offline, the only argument, or $S2RM_OFFLINE.

    Raises:
        UserError: there are other arguments.
    """
    if sys.argv[1:] not in ([], ["--offline"]):
        raise UserError(f"unknown arguments {' '.join(sys.argv[1:])}: --offline is the only one")
    return bool(sys.argv[1:]) or os.environ.get("S2RM_OFFLINE", "0") not in ("", "0")
