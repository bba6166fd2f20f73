"""What the report says of where a run comes from."""

from typing import Any

from paths import ROOT

from s2rm.tracking.address import SERVERS, find_store
from s2rm.tracking.store_errors import StoreError


def describe_training(training: dict[str, Any]) -> dict[str, str]:
    """Say from which commit, when, where and how long a run was trained.

    Args:
        training: what `provenance.describe_end` has kept, and the id of the run's record.
    """
    found = {}
    if training.get("commit"):
        found["trained from commit"] = training["commit"]
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
        found["MLflow"] = f"{_find_server()}, the run with tags.`s2rm.id` = '{training['run_id']}'"
    return found


def _find_server() -> str:
    """Return where the runs are shown; a path of this machine would not help a reader elsewhere."""
    try:
        address = find_store(ROOT)
    except StoreError:
        return "s2rm ui"
    return address.shown if address.uri.startswith(SERVERS) else "s2rm ui"


def describe_data(tables: dict[str, str]) -> dict[str, str]:
    """Name the prepared data of a run by the beginnings of their checksums.

    Args:
        tables: file → checksum.
    """
    parts = [f"{file} {digest[:12]}" for file, digest in tables.items()]
    return {"data (checksums)": ", ".join(parts)} if parts else {}
