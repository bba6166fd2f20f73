"""Real servers for tests: PostgreSQL, MLflow on it as docker/compose.yaml sets it up, and an S3 store."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0  # seconds
PASSWORD = "a-word-of-the-tests"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(address: str, process: "subprocess.Popen[Any]") -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def find_postgres() -> Path:
    """The folder of initdb and postgres; Debian keeps it off the path."""
    on_path = shutil.which("initdb")
    folders = (
        [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    )
    if not folders:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return folders[-1]


@contextmanager
def postgres(folder: Path) -> Iterator[int]:
    """A fresh server with the database and the role `mlflow`; its port."""
    programs, port = find_postgres(), free_port()
    as_user: dict[str, object] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        account = pwd.getpwnam("postgres")
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        os.chown(folder, account.pw_uid, account.pw_gid)
        for parent in (folder, *folder.parents):
            if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
                parent.chmod(parent.stat().st_mode | 0o011)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    data = folder / "data"
    make = [programs / "initdb", "--pgdata", data, "--username", "mlflow", "--auth", "scram-sha-256"]
    subprocess.run([*make, "--pwfile", secret], check=True, capture_output=True, cwd=folder, **as_user)
    options = ["-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", folder, "-F"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs / "postgres", *options], stdout=log, stderr=log, cwd=folder, **as_user
        )
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    create = [programs / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "mlflow", "mlflow"]
    try:
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(create, env=environment, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.2)
        yield port
    finally:
        stop(process)


def compose_settings(database: int, port: int, artifacts: Path) -> dict[str, str]:
    """The environment of compose.yaml's mlflow service, with this machine's addresses in it."""
    service = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]["mlflow"]
    here = {
        "${POSTGRES_PASSWORD:?set it in docker/.env}": PASSWORD,
        "@postgres/": f"@127.0.0.1:{database}/",
        "${MLFLOW_ARTIFACTS_DESTINATION:-/artifacts}": str(artifacts),
        "${MLFLOW_ALLOWED_HOSTS:-mlflow:5000,localhost:5000,127.0.0.1:5000}": f"127.0.0.1:{port}",
    }
    settings = {}
    for name, value in service["environment"].items():
        for there, replacement in here.items():
            value = value.replace(there, replacement)
        assert "$" not in value
        settings[name] = value
    return settings


@contextmanager
def mlflow_server(folder: Path, database: int) -> Iterator[str]:
    """MLflow's server on that PostgreSQL; its address."""
    port = free_port()
    settings = compose_settings(database, port, folder / "artifacts")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--workers", "1"], env={**os.environ, **settings}, cwd=folder, stdout=log, stderr=log
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


@contextmanager
def mlflow_on_sqlite(folder: Path, port: int = 0) -> Iterator[str]:
    """MLflow's server on an SQLite file, which keeps the artifacts of its clients; its address."""
    port = port or free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/server.db"]
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--artifacts-destination", str(folder / "artifacts")],
            env={**os.environ, **settings}, cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


@contextmanager
def s3_store(folder: Path) -> Iterator[str]:
    """An S3 server (moto); its address."""
    port = free_port()
    with (folder / "s3.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=log
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)
