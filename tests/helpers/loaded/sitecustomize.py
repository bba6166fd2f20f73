"""Notes which modules and files a process loads. Python imports this at its start from a folder on its path.

$NOTE_LOADED names the folder for the notes: one JSON file per process, with its script.
"""

import atexit
import json
import os
import sys
from pathlib import Path

opened: set[str] = set()


def note_open(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | os.PathLike):
        opened.add(os.path.abspath(os.fspath(arguments[0])))  # noqa: PTH100


def write_notes(folder: Path) -> None:
    modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    files = sorted({*filter(None, modules), *opened})
    note = {"script": sys.argv[0], "files": files}
    (folder / f"{os.getpid()}.json").write_text(json.dumps(note), encoding="utf-8")


if "NOTE_LOADED" in os.environ:
    sys.addaudithook(note_open)
    atexit.register(write_notes, Path(os.environ["NOTE_LOADED"]))
