"""What is kept of a training: its commit, its machine, when it ended and how long it took."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from revision import describe_commit

from s2rm.core.environment import describe_environment
from s2rm.core.files import load_json, replace_text


@contextmanager
def counted(path: Path) -> Iterator[None]:
    """Add the seconds until the context ends to those in a file: a training may run in several sessions."""
    before = load_json(path)["seconds"] if path.is_file() else 0.0
    started = time.monotonic()
    try:
        yield
    finally:
        seconds = before + time.monotonic() - started
        replace_text(path, json.dumps({"seconds": round(seconds, 1)}) + "\n")


def describe_end(seconds: Path) -> dict[str, Any]:
    """Return what is kept of a training that has just ended.

    Args:
        seconds: the file of `counted`.
    """
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **load_json(seconds),
        "commit": describe_commit(),
        "environment": describe_environment(),
    }
