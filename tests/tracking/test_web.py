"""`s2rm ui`: what it refuses, and the server that it becomes."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from recorded import make_journal, run_of, send
from servers import free_port, wait_for

from s2rm.core.errors import UserError
from s2rm.tracking import MlflowStore
from s2rm.tracking.web import serve_runs

ROOT = Path(__file__).parents[2]


def test_without_a_store_it_says_what_records_runs(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"mlflow\.db does not exist: `dvc repro` trains and records what is new"
    ):
        serve_runs(tmp_path, "s2rm", "127.0.0.1", 5000)
    make_journal(tmp_path)
    with pytest.raises(UserError, match=r"mlflow\.db does not exist: `s2rm track sync` records"):
        serve_runs(tmp_path, "s2rm", "127.0.0.1", 5000)


def test_a_port_in_use_names_a_free_one(root: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            UserError, match=rf"port {port} of 127\.0\.0\.1 cannot be used .*: try --port \d+"
        ):
            serve_runs(root, "s2rm", "127.0.0.1", port)


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        ("127.0.0.1", 0, "--port is 0: a port is a number from 1 to 65535"),
        ("127.0.0.1", 65536, "--port is 65536"),
        ("127.0.0.1", -1, "--port is -1"),
        ("no.such.host.invalid", 5000, "--host is 'no.such.host.invalid', which is not an address"),
        ("", 70000, "--port is 70000"),
        ("192.0.2.1", 5000, "--host is '192.0.2.1', which is not an address of this machine"),
        ("fe80::1", 5000, "which is not an address of this machine"),
        ("a..b", 5000, "--host is 'a..b', which is not an address"),
        ("x" * 70, 5000, "which is not an address of this machine"),
        ("127.0.0.1:5000", 5000, "which is not an address of this machine"),
        ("http://localhost", 5000, "which is not an address of this machine"),
    ],
)
def test_what_nobody_can_listen_at(root: Path, host: str, port: int, reason: str) -> None:
    with pytest.raises(UserError) as error:
        serve_runs(root, "s2rm", host, port)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple["subprocess.Popen[bytes]", str, str]]:
    """The command's process, its address and what it has printed, open to the network."""
    made = tmp_path_factory.mktemp("ui") / "made"
    made.mkdir()
    (made / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store = MlflowStore(made, "s2rm")
        journal = make_journal(made)
        send(journal, store)
        store.log_json(run_of(store, journal.identity).info.run_id, {"here": True}, "file.json")
    root = made.rename(made.with_name("moved"))
    port = free_port()
    command = [sys.executable, "-m", "s2rm.cli", "ui", "--host", "0.0.0.0", "--port", str(port)]
    with (root / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=root, stdout=output, stderr=output)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield process, f"http://127.0.0.1:{port}", (root / "output").read_text()
    finally:
        process.kill()
        process.wait()


def ask(address: str, host: str, origin: str = "") -> int:
    """The status of the request by which the page lists the runs."""
    headers = {"Host": host, "Content-Type": "application/json", **({"Origin": origin} if origin else {})}
    body = b'{"experiment_ids": ["1"]}'
    request = urllib.request.Request(f"{address}/ajax-api/2.0/mlflow/runs/search", body, headers)
    try:
        return int(urllib.request.urlopen(request, timeout=20).status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
@pytest.mark.server
def test_the_server_is_reached_by_the_names_of_this_machine(
    ui: tuple["subprocess.Popen[bytes]", str, str],
) -> None:
    _, address, output = ui
    port = address.rpartition(":")[2]
    name = socket.gethostname()
    lines = output.splitlines()
    assert lines[0].startswith(f"0.0.0.0 is open to the network: whoever reaches port {port}")
    page = "/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=s2rm"
    assert f"http://{name}:{port}{page}" in lines
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"{name}:{port}"):
        assert ask(address, host, f"http://{host}") == 200, host
    assert ask(address, "elsewhere.example") == 403
    assert urllib.request.urlopen(address, timeout=20).status == 200
    assert ask(address, f"{name}:{port}", "http://elsewhere.example") == 403


@pytest.mark.slow
@pytest.mark.server
def test_the_pages_show_the_files_of_a_project_that_was_moved(
    ui: tuple["subprocess.Popen[bytes]", str, str],
) -> None:
    client = MlflowClient(ui[1])
    (run,) = client.search_runs(["1"])
    address = f"{ui[1]}/get-artifact?path=file.json&run_uuid={run.info.run_id}"
    assert json.load(urllib.request.urlopen(address, timeout=20)) == {"here": True}


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.kill
def test_no_server_outlives_the_command(ui: tuple["subprocess.Popen[bytes]", str, str]) -> None:
    process, address, _ = ui
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{address}/health", timeout=5)
