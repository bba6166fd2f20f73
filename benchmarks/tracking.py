"""Time of a training step with tracking off, and on with stores that are good, slow and dead.

    python benchmarks/tracking.py --json

Every step is logged. Each turn is a training of its own with each kind of store, so that it also contains the
connection to the store. The server is a real one behind a relay that holds each answer back for so many
seconds. A turn's step time is its mean, so that a single long step counts.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from timing import build_parser, describe_machine, print_result, summarise
from train import THREE, build_steps

from s2rm.config.load import load_params
from s2rm.core.errors import UserError, exit_on_user_error
from s2rm.core.process import keep_freed_memory
from s2rm.tracking.live import record_training

OFF, LOCAL, SLOW, DEAD = "tracking off", "SQLite file", "server, 2 s per answer", "dead server"
DELAY = 2.0  # seconds
PATIENCE = 120.0  # seconds for a server to start


def main() -> None:
    """Print the step times and their ratios to those without tracking."""
    parser = build_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=12.0, help="of a turn (default: %(default)s)")
    parser.add_argument("--relay", nargs=2, type=int, metavar=("FROM", "TO"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.relay:
        asyncio.run(relay(*arguments.relay))
        return
    keep_freed_memory()
    (step,) = build_steps(load_params(Path(arguments.params)), [THREE]).values()
    with tempfile.TemporaryDirectory() as temporary, slow_server(Path(temporary)) as slow:
        addresses = {OFF: None, LOCAL: "", SLOW: slow, DEAD: f"http://127.0.0.1:{free_port()}"}
        turns: dict[str, list[float]] = {name: [] for name in addresses}
        for turn in range(arguments.repeats + 1):
            for name, address in addresses.items():
                folder = Path(temporary) / f"{name}-{turn if address else 0}"
                folder.mkdir(exist_ok=True)
                seconds = run_turn(step, address, folder, arguments.seconds)
                if turn:
                    turns[name].append(seconds)
    ratios = {
        f"{name} / {OFF}": statistics.median(a / b for a, b in zip(turns[name], turns[OFF], strict=True))
        for name in addresses
        if name != OFF
    }
    result = {
        "seconds": {name: summarise(values) for name, values in turns.items()},
        "ratios": ratios,
        "machine": describe_machine(),
    }
    print_result(result, arguments.json)


def run_turn(step: Callable[[], None], address: str | None, folder: Path, seconds: float) -> float:
    """Return the mean step time of a training of so many seconds; `address` None records nothing."""
    os.environ["MLFLOW_TRACKING_URI"] = address or ""
    recording = (
        nullcontext()
        if address is None
        else record_training(folder, "s2rm", folder / "run.json", name="turn", params={}, tags={})
    )
    with recording as journal:
        start, count = time.perf_counter(), 0
        while time.perf_counter() < start + seconds:
            step()
            count += 1
            if journal:
                journal.log({"train/loss": 1.0, "train/bce": 1.0, "train/learning_rate": 1.0}, count)
        spent = time.perf_counter() - start
    (folder / "run.json").unlink(missing_ok=True)
    return spent / count


@contextmanager
def slow_server(folder: Path) -> Iterator[str]:
    """Yield the address of an MLflow server that answers DELAY seconds late."""
    port, front = free_port(), free_port()
    mlflow = ["-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    mlflow += ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    with (folder / "log").open("wb") as log:
        processes = [
            subprocess.Popen([sys.executable, *command], cwd=folder, stdout=log, stderr=log)
            for command in (mlflow, [str(Path(__file__).resolve()), "--relay", str(front), str(port)])
        ]
        try:
            wait_for(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{front}"
        finally:
            for process in processes:
                process.terminate()
                process.wait()


async def relay(front: int, port: int) -> None:
    """Pass on everything, what comes back DELAY seconds late."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, delay: float) -> None:
        while data := await source.read(1 << 16):
            await asyncio.sleep(delay)
            target.write(data)
        target.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, forth, 0), copy(back, writer, DELAY), return_exceptions=True)

    async with await asyncio.start_server(connect, "127.0.0.1", front) as server:
        await server.serve_forever()


def wait_for(address: str) -> None:
    """Wait until a server answers.

    Raises:
        UserError: it does not.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=5)
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise UserError(f"the MLflow server at {address} does not start")


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    exit_on_user_error(main)
