"""A training in a separate process, to be stopped or killed."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from torch.optim import AdamW

from s2rm.config.params import Params, Run
from s2rm.core.errors import exit_on_user_error
from s2rm.core.process import make_deterministic
from s2rm.training import checkpoint, loop
from s2rm.training.optim import build_optimiser

PATIENCE = 60.0  # seconds
RUN = Run(train_on=["refcoco_unc", "referit_berkeley"], evaluate_on=["refcoco_unc"])
SETTINGS = (
    "train.epochs=2",
    "train.expressions_per_batch=16",
    "language.dropout=0.2",  # draws random numbers
    "train.save_minutes=0",
)
# The server has imported torch and started no thread: processes forked from it start within a second.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["s2rm.training.loop"])


def nothing() -> None:
    """No preparation."""


def damp_rounding(*arguments: Any) -> AdamW:
    """Build AdamW with a larger epsilon: dividing by the gradient's size turns rounding into steps."""
    optimiser = build_optimiser(*arguments)
    for group in optimiser.param_groups:
        group["eps"] = 1e-3
    return optimiser


@dataclass
class Apart:
    """Trainings of the same parameters, one after another, in one folder."""

    folder: Path
    prepared: Path
    raw: Path
    params: Params
    run: Run
    prepare: Callable[[], None] = nothing  # in the new process, before it trains; pickled
    to_children: bool = False  # whether a signal goes to the loader processes first

    def start(self) -> Any:
        """Start a process that trains."""
        self.folder.mkdir(exist_ok=True)
        process = SERVER.Process(target=self.main)
        process.start()
        return process

    def main(self) -> None:
        """Train, with all output in a file and the exit codes of a stage's script."""
        with (self.folder / "output.txt").open("a") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        multiprocessing.set_start_method("fork", force=True)  # for the loader, as outside tests
        make_deterministic(self.params.train.deterministic)  # as the stage's script does
        self.prepare()
        exit_on_user_error(self._train)

    def _train(self) -> None:
        loop.train_run(
            self.params,
            self.run,
            prepared=self.prepared,
            raw=self.raw,
            weights=self.folder / "weights",
            output=self.folder / "model",
            scratch=self.folder / "scratch",
            log=self._log,
        )

    def _log(self, metrics: dict[str, float], step: int) -> None:
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps([step, metrics]) + "\n")

    def last_weights(self) -> dict[str, Any]:
        """Return the weights after the last step, from the saved state."""
        saved = checkpoint._read(self.folder / "scratch" / "state.pt")
        assert saved is not None
        return dict(saved["model"])

    def finish(self) -> int:
        """Train until the process ends; return its exit code."""
        process = self.start()
        return self.wait(process)

    def wait(self, process: Any) -> int:
        """Wait for the end of the process; return its exit code."""
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"the training hangs: {self.output}")
        return int(process.exitcode)

    def stop(self, number: int, at: int, delay: float = 0.0) -> int:
        """Train and send a signal `delay` seconds after step `at` is logged; return the exit code."""
        process = self.start()
        deadline = time.monotonic() + PATIENCE
        while process.is_alive() and (self.steps or [0])[-1] < at:
            if time.monotonic() > deadline:
                process.kill()
                raise TimeoutError(f"step {at} is not reached: {self.output}")
            time.sleep(0.002)
        time.sleep(delay)
        if process.is_alive():
            children = psutil.Process(process.pid).children() if self.to_children else []
            for pid in (*(child.pid for child in children), process.pid):
                os.kill(pid, number)
        return self.wait(process)

    def kill(self, at: int, delay: float = 0.0) -> int:
        """Train and kill the process; see `stop`."""
        return self.stop(signal.SIGKILL, at, delay)

    @property
    def log(self) -> list[tuple[int, dict[str, float]]]:
        """Step and metrics of every whole line of the log."""
        path = self.folder / "log.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [tuple(json.loads(line)) for line in lines if line.endswith("\n")]

    @property
    def steps(self) -> list[int]:
        """The logged optimiser steps, in their order."""
        return [step for step, metrics in self.log if "train/loss" in metrics]

    @property
    def output(self) -> str:
        """What all processes wrote to stdout and stderr."""
        return (self.folder / "output.txt").read_text()

    @property
    def files(self) -> dict[str, bytes]:
        """Name → content of the files in the model's folder."""
        return {path.name: path.read_bytes() for path in sorted((self.folder / "model").iterdir())}
