"""The commands `s2rm ui` and `s2rm track`, and the store's part of `s2rm check`."""

import argparse
import os
from pathlib import Path

from s2rm.config.load import load_params
from s2rm.core.project import enter_project
from s2rm.tracking.address import find_store, has_store
from s2rm.tracking.database import opened_database
from s2rm.tracking.mlflow_store import MlflowStore
from s2rm.tracking.synchronise import Sent, synchronise
from s2rm.tracking.web import serve_runs


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `ui` and `track` to the parser of the command line."""
    ui = commands.add_parser("ui", help="start MLflow's web pages of the recorded runs")
    ui.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    ui.add_argument("--port", type=int, default=5000, help="default: 5000")
    ui.set_defaults(command=_ui)

    track = commands.add_parser("track", help="the records of trainings and evaluations")
    actions = track.add_subparsers(required=True, metavar="ACTION")
    sync = actions.add_parser(
        "sync",
        help="send to MLflow what it lacks",
        description="Sends what .tracking/ holds and the store lacks, also of finished runs and to a store "
        "that was lost; twice is the same as once. $MLFLOW_TRACKING_URI names the store.",
    )
    sync.set_defaults(command=_sync)


def check_store(root: Path, experiment: str) -> None:
    """Check in seconds that runs can be recorded; no store is created, but a missing experiment is.

    Args:
        root: folder of the project.
        experiment: name of the MLflow experiment.

    Raises:
        StoreError: they cannot, with the reason and what helps.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")  # seconds
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    if has_store(root):
        MlflowStore(root, experiment)
    else:
        with opened_database(find_store(root)):
            pass


def _ui(arguments: argparse.Namespace) -> None:
    """Run MLflow's server on the recorded runs until it is stopped."""
    serve_runs(enter_project(), load_params().tracking.experiment, arguments.host, arguments.port)


def _sync(arguments: argparse.Namespace) -> None:
    """Send to MLflow what it lacks."""
    root = enter_project()
    sent = synchronise(root)
    if sent == Sent():
        print("nothing is recorded in .tracking/: a training records itself")
        return
    for line in sent.left_out:
        print(f"left out: {line}")
    print(
        f"{find_store(root).shown} holds {sent.trainings} trainings and {sent.evaluations} evaluations of "
        f".tracking/; {sent.points} points were missing"
    )
