"""Explain in one line what a store of runs answers instead of what it was asked for."""

import re

from s2rm.core.errors import UserError

LONGEST_REASON = 200  # characters of a foreign message

NO_MLFLOW = "answers, but not as an MLflow server does: is the address right?"

# What is found in a message of MLflow or of the libraries below it → what that means.
MEANINGS = (
    (r"Invalid Host header", "refuses this address: start the server with --allowed-hosts and its name"),
    (
        r"error code 40[13]\b|Unauthorized|not authenticated|UNAUTHENTICATED",
        "refuses the access: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    (r"too many 5\d\d|failed with error code 5\d\d", "answers with errors: look into its log"),
    (
        r"not in a valid JSON format|failed with error code 4\d\d|No such API|ENDPOINT_NOT_FOUND",
        NO_MLFLOW,
    ),
    (
        r"failed with timeout|timed out|Max retries exceeded|failed with exception|Connection refused|"
        r"could not translate host|Connection aborted",
        "does not answer: is the server running, and its address right?",
    ),
    (
        r"out-of-date database schema",
        "was written by an older MLflow: copy it, then run `mlflow db upgrade STORE`",
    ),
    (r"database is locked", "is locked by another process: wait for it, or end it"),
    (r"readonly database|\[Errno (13|30)\]", "is read-only: make it writable, or name another store"),
    (
        r"unable to open database file",
        "cannot be opened: its folder must exist and be writable",
    ),
    (
        r"file is not a database",
        "is not a database: if it was one, move the file away, then `s2rm track sync` records the runs again",
    ),
    (
        r"malformed|disk image",
        "is corrupt: move the file away, then `s2rm track sync` records the runs again",
    ),
    (
        r"No module named '(psycopg2?|MySQLdb|pymysql|pyodbc)|psycopg2 is not installed",
        "needs a driver that is missing: for postgresql+psycopg2://… pip install 's2rm[server]'",
    ),
)
UNREACHABLE = "UNREACHABLE"
DELETED = "DELETED"


class StoreError(UserError):
    """The store of runs cannot do what it was asked for.

    Attributes:
        code: MLflow's error code, as "RESOURCE_DOES_NOT_EXIST"; DELETED for what a user has deleted in
            MLflow; UNREACHABLE where the store does not work as a whole; "" if there is none.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


def explain(error: Exception, shown: str, secret: str = "") -> StoreError:
    """Return the error in one line.

    Args:
        error: what MLflow has raised.
        shown: how the message names the store.
        secret: a password that the message must not contain.
    """
    text = " ".join(str(error).split())
    for pattern, meaning in MEANINGS:
        if re.search(pattern, text, re.IGNORECASE):
            return StoreError(f"the MLflow store {shown} {meaning.replace('STORE', shown)}", UNREACHABLE)
    if secret:
        text = text.replace(secret, "***")
    code = DELETED if "Current state is deleted" in text else str(getattr(error, "error_code", ""))
    return StoreError(f"the MLflow store {shown}: {text[:LONGEST_REASON] or type(error).__name__}", code)
