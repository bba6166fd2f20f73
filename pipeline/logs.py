"""Logging of the stages: where several processes run one stage, only the main process reports progress."""

import logging
import os


def set_up_logging() -> None:
    """Log plain messages to stderr: all from the main process, warnings and errors from the others."""
    logging.basicConfig(level=logging.INFO if is_main_process() else logging.WARNING, format="%(message)s")
    for chatty in ("httpx", "httpx2", "huggingface_hub", "matplotlib", "fontTools"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings contain full URLs, with secrets


def is_main_process() -> bool:
    """Return whether this is the process of rank 0, or the only one."""
    return os.environ.get("RANK", "0") == "0"
