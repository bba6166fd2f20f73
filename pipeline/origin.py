"""Where a run comes from: the commit, and the machine and the time of its training."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paths import ROOT

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
    """Return what is kept of a training that has just ended."""
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **load_json(seconds),
        "environment": describe_environment(),
    }


def describe_commit() -> dict[str, str]:
    """Return the commit for people, and whether there are changes to code or parameters; {} without git."""
    commit = _git("log", "-1", "--format=%h of %cs")
    if commit is None:
        return {}
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "src", "pipeline", "params.yaml")
    return {"commit": commit + (", with changes that are not committed" if changed else "")}


def describe_training(training: dict[str, Any]) -> dict[str, str]:
    """Say when, where and how long a run was trained, as the page does."""
    found = {}
    if "finished" in training:
        minutes = training["seconds"] / 60
        took = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
        found["trained"] = f"until {training['finished']}, {took}"
        about = training["environment"]
        gpus = ", ".join(about["gpus"])
        libraries = ", ".join(f"{name} {version}" for name, version in about["libraries"].items())
        found["machine"] = gpus or f"{about['processor']}, {about['threads']} threads"
        found["software"] = f"{about['platform']}, Python {about['python']}, {libraries}"
    if training.get("run_id"):
        found["MLflow run"] = training["run_id"]
    return found


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.strip()
