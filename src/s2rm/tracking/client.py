"""MLflow's client, which answers with one line instead of an exception of some library."""

import logging
import os
from typing import Any

from s2rm.core.errors import StoppedError, UserError
from s2rm.tracking.address import StoreAddress
from s2rm.tracking.store_errors import StoreError, explain

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # By default MLflow asks a server that is down for four minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}


def load_mlflow() -> Any:
    """Import MLflow with our settings, all of it that a store needs, and return it.

    Raises:
        StoreError: it is not installed, or broken.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow
        import mlflow.store.tracking.sqlalchemy_store
    except ImportError as error:
        raise StoreError(f"MLflow cannot be loaded ({error}): `make setup` installs it") from None
    for chatty in ("alembic", "mlflow.store.db", "urllib3"):  # what they warn of is an error of ours
        logging.getLogger(chatty).setLevel(logging.ERROR)
    # Otherwise MLflow asks a database that refuses for 100 seconds.
    mlflow.store.db.utils.MAX_RETRY_COUNT = 1
    return mlflow


class OneLineClient:
    """The methods of MLflow's client, each of whose exceptions is a `StoreError`.

    Args:
        address: of the store.
    """

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        mlflow = load_mlflow()
        try:
            self._client = mlflow.MlflowClient(address.uri)
        except Exception as error:
            raise explain(error, address.shown, address.secret) from error

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            try:
                return method(*arguments, **named)
            except (UserError, StoppedError):
                raise
            except Exception as error:
                raise explain(error, self._address.shown, self._address.secret) from error

        return call
