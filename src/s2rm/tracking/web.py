"""Start MLflow's web pages of the recorded runs."""

import errno
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from s2rm.core.errors import UserError
from s2rm.tracking.address import SERVERS, StoreAddress, find_store, has_store
from s2rm.tracking.client import SETTINGS
from s2rm.tracking.mlflow_store import MlflowStore
from s2rm.tracking.store_errors import StoreError
from s2rm.tracking.synchronise import advise_recording
from s2rm.tracking.views import KEY, write_view

EVERYWHERE = ("0.0.0.0", "::")
NOT_OURS = (errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAFNOSUPPORT)
LOCAL = ("127.0.0.1", "localhost", "::1")


def serve_runs(root: Path, experiment: str, host: str, port: int) -> NoReturn:
    """Become MLflow's server on the recorded runs, until it is stopped.

    The process itself becomes the server, so that whoever ends the command ends the server.

    Args:
        root: folder of the project.
        experiment: name of the MLflow experiment whose page is printed.
        host: address to listen at.
        port: port to listen at.

    Raises:
        UserError: the port cannot be used, nothing is recorded, or the runs are on a server already.
    """
    address = find_store(root)
    if address.uri.startswith(SERVERS):
        store = MlflowStore(root, experiment)
        raise UserError(
            f"the runs are recorded on the server {address.shown}: open "
            f"{address.shown.rstrip('/')}{_page(store.experiment_id)}"
        )
    if not has_store(root):
        raise UserError(f"no runs are recorded, {address.shown} does not exist: {advise_recording(root)}")
    _check_port(host, port)
    store = MlflowStore(root, experiment)
    with suppress(StoreError):  # the link then shows all columns
        write_view(store)
    variables = {**SETTINGS, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    shown = host
    if host not in LOCAL:
        print(
            f"{host} is open to the network: whoever reaches port {port} of this machine can read, "
            "change and delete the runs; MLflow asks for no password"
        )
        shown = socket.gethostname() if host in EVERYWHERE else host
        names = [host, *LOCAL, *_own_names()]
        variables["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(_patterns(names, "{}"))
        variables["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(_patterns(names, "http://{}"))
    print(f"MLflow on {address.shown} (stop with Ctrl-C), the runs:")
    print(f"http://{f'[{shown}]' if ':' in shown else shown}:{port}{_page(store.experiment_id)}", flush=True)
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    os.environ |= _describe_store(address)
    server = ["uvicorn", "--host", host, "--port", str(port), "--log-level", "warning"]
    os.execv(sys.executable, [sys.executable, "-W", "ignore", "-m", *server, "mlflow.server.fastapi_app:app"])


def _describe_store(address: StoreAddress) -> dict[str, str]:
    """Return the variables by which `mlflow server` tells the server that it starts where the store is.

    It is left out here, because a server that it has started survives it.
    """
    from mlflow.server import constants

    files = str(address.artifacts or "mlartifacts")
    return {
        constants.BACKEND_STORE_URI_ENV_VAR: address.uri,
        constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: files,
    }


def _page(experiment_id: str) -> str:
    # Without the kind of workflow MLflow opens its pages about language models.
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={KEY}"


def _patterns(names: list[str], form: str) -> list[str]:
    """Return each name, alone and with any port, as MLflow compares them."""
    bracketed = dict.fromkeys(f"[{name}]" if ":" in name else name for name in names)
    return [form.format(name) + port for name in bracketed for port in ("", ":*")]


def _own_names() -> list[str]:
    """Return the names and addresses by which other machines may know this one."""
    name = socket.gethostname()
    names = [name, socket.getfqdn()]
    with suppress(OSError):
        names += [str(place[0]) for *_, place in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    with suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as route:
        route.connect(("192.0.2.1", 9))  # nothing is sent: the system names the address that it would use
        names.append(route.getsockname()[0])
    return names


def _check_port(host: str, port: int) -> None:
    if not 0 < port < 65536:
        raise UserError(f"--port is {port}: a port is a number from 1 to 65535")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
    except (OSError, UnicodeError) as error:
        if isinstance(error, (socket.gaierror, UnicodeError)) or error.errno in NOT_OURS:
            raise UserError(f"--host is {host!r}, which is not an address of this machine") from None
        raise UserError(
            f"port {port} of {host} cannot be used ({error.strerror}): try --port {_free_port()}"
        ) from None


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
