"""Output of the stages: where several processes run one stage, only the main process reports progress."""

import logging
import os
import sys
from typing import Any, TextIO


def set_up_logging() -> None:
    """Log plain messages to stderr: all from the main process, warnings and errors from the others.

    Output that nobody can read any more is dropped: Ctrl-C also ends the `tee` of `dvc repro | tee log`, and
    the training must then still save its state.
    """
    sys.stdout, sys.stderr = _Droppable(sys.stdout), _Droppable(sys.stderr)  # type: ignore[assignment]
    logging.basicConfig(level=logging.INFO if is_main_process() else logging.WARNING, format="%(message)s")
    for chatty in ("httpx", "httpx2", "huggingface_hub", "matplotlib", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings contain full URLs, with secrets


def is_main_process() -> bool:
    """Return whether this is the process of rank 0, or the only one."""
    return os.environ.get("RANK", "0") == "0"


class _Droppable:
    """A stream that goes to the null device once its reader has ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
