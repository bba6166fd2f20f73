"""Two processes on the CPU (gloo) against one: the same global batches, weights and metrics."""

import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import torch
from accelerate.state import PartialState
from apart import RUN, SERVER, Apart, damp_rounding
from tiny_model import save

from s2rm.config.params import Params
from s2rm.data.image_zip import ImageFiles
from s2rm.data.processor import Processor
from s2rm.data.rows import Rows
from s2rm.data.table import load_table
from s2rm.evaluation.scores import score_expressions
from s2rm.evaluation.sharding import score_together
from s2rm.model.s2rm import S2RM
from s2rm.training import loop
from s2rm.training.checkpoint import Progress, load_state

pytestmark = pytest.mark.distributed
STEPS = 20
TINY = Callable[..., Params]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def as_rank(rank: int, count: int, port: int, work: Callable[[], None]) -> None:
    names = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_PORT": port,
    }
    os.environ.update({name: str(value) for name, value in names.items()}, MASTER_ADDR="127.0.0.1")
    work()


def start_processes(count: int, work: Callable[[], None]) -> list[Any]:
    """Start `work` in `count` processes, which know of each other like those of torchrun."""
    port = free_port()
    processes = [SERVER.Process(target=as_rank, args=(rank, count, port, work)) for rank in range(count)]
    for process in processes:
        process.start()
    return processes


def in_processes(count: int, work: Callable[[], None]) -> list[int]:
    """Run `work` in `count` processes and return their exit codes."""
    return wait_for(start_processes(count, work))


def wait_for(processes: list[Any]) -> list[int]:
    for process in processes:
        process.join(180)
        if process.exitcode is None:
            for each in processes:
                each.kill()
            raise TimeoutError("the processes hang")
    return [int(process.exitcode or 0) for process in processes]


def prepare_steps(wanted: int) -> None:
    """Make an epoch of `wanted` expressions, whole batches, so that the last is not smaller; damp AdamW."""
    original = loop.load_rows

    def rows(*arguments: Any) -> Rows:
        table = original(*arguments).table
        return Rows(pa.concat_tables([table] * -(-wanted // len(table)))[:wanted])

    loop.load_rows, loop.build_optimiser = rows, damp_rounding


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_weights_after_twenty_steps(
    tmp_path: Path, tiny_data: Any, tiny_params: TINY, accumulation: int
) -> None:
    params = tiny_params(
        "train.epochs=1", "train.expressions_per_batch=16", f"train.accumulation={accumulation}",
        "train.learning_rate=0.0003", "~vision.options",
        "+vision.options={channels: [8, 8, 8, 8], norm_layer: groupnorm1}",
    )  # fmt: skip
    prepare = partial(prepare_steps, STEPS * 16 * accumulation)
    weights = []
    for count in (1, 2):
        training = Apart(tmp_path / str(count), tiny_data.prepared, tiny_data.raw, params, RUN, prepare)
        training.folder.mkdir()
        assert in_processes(count, training.main) == [0] * count, training.output
        assert training.steps == list(range(1, STEPS + 1))  # logged by one process
        weights.append(training.last_weights())
    assert weights[0].keys() == weights[1].keys()
    for name, alone in weights[0].items():
        torch.testing.assert_close(alone, weights[1][name], rtol=0, atol=1e-5, msg=name)


OPTIONS = {"images_per_batch": 2, "threshold": 0.5, "device": torch.device("cpu")}


def score(model: Path, table: pd.DataFrame, raw: Path, output: Path) -> None:
    PartialState(cpu=True)
    together = score_together(
        S2RM.from_pretrained(model), Processor.from_pretrained(model), table, ImageFiles(raw), **OPTIONS
    )
    together.table.to_parquet(output / f"{os.environ['RANK']}.parquet")


@pytest.fixture
def model(tmp_path: Path, build_tiny: Any, tiny_tokenizer: Any) -> Path:
    save(build_tiny(), tiny_tokenizer, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.slow)])
# Fewer images than processes, and all.
@pytest.mark.parametrize("images", [pytest.param(1, marks=pytest.mark.slow), 1000])
def test_every_expression_is_scored_once(
    tmp_path: Path, tiny_data: Any, model: Path, count: int, images: int
) -> None:
    table = load_table(tiny_data.prepared / "refcoco_unc.parquet").query("split == 'val'")
    table = table[table["image_id"].isin(table["image_id"].unique()[:images])]
    table = table.sample(frac=1, random_state=0)
    assert in_processes(count, partial(score, model, table, tiny_data.raw, tmp_path)) == [0] * count
    processor, images = Processor.from_pretrained(model), ImageFiles(tiny_data.raw)
    alone = score_expressions(S2RM.from_pretrained(model), processor, table, images, **OPTIONS).table
    for rank in range(count):
        together = pd.read_parquet(tmp_path / f"{rank}.parquet")
        pd.testing.assert_frame_equal(together.drop(columns="score"), alone.drop(columns="score"))
        pd.testing.assert_series_equal(together["score"], alone["score"], rtol=1e-5)


def test_a_batch_that_cannot_be_divided(tmp_path: Path, tiny_data: Any, tiny_params: TINY) -> None:
    params = tiny_params("train.expressions_per_batch=33")
    training = Apart(tmp_path / "odd", tiny_data.prepared, tiny_data.raw, params, RUN)
    training.folder.mkdir()
    assert in_processes(2, training.main) == [2, 2]
    assert "train.expressions_per_batch is 33: it must be a multiple of the 2 processes" in training.output


def go_on_from_elsewhere() -> None:
    if os.environ["RANK"] == "1":
        loop.load_state = lambda *arguments, **states: (Progress(step=7), None)  # type: ignore[assignment]


def test_nodes_that_see_different_states(tmp_path: Path, tiny_data: Any, tiny_params: TINY) -> None:
    training = Apart(
        tmp_path / "apart", tiny_data.prepared, tiny_data.raw, tiny_params(), RUN, go_on_from_elsewhere
    )
    training.folder.mkdir()
    assert in_processes(2, training.main) == [2, 2], training.output
    assert "the processes found saved states of different steps (0, 7): " in training.output
    assert "scratch must be one folder that all nodes share" in training.output


@pytest.mark.slow
@pytest.mark.parametrize("override", ["decoder.kind=fpn", "decoder.foreground_guidance=false"])
def test_mask_heads_without_a_gradient(
    tmp_path: Path, tiny_data: Any, tiny_params: TINY, override: str
) -> None:
    """DDP waits for the gradient of each parameter that may have one."""
    params = tiny_params("train.epochs=1", "loss.auxiliary=0", override)
    training = Apart(tmp_path / "idle", tiny_data.prepared, tiny_data.raw, params, RUN)
    training.folder.mkdir()
    assert in_processes(2, training.main) == [0, 0], training.output
    assert len(training.steps) > 1


@pytest.mark.slow
def test_two_processes_stopped_in_an_epoch(tmp_path: Path, tiny_data: Any, tiny_params: TINY) -> None:
    """One of them gets the signal; both stop at the same step, and go on to the same bits."""
    params = tiny_params("train.expressions_per_batch=16", "train.log_every=2", "language.dropout=0.2")
    trainings = [
        Apart(tmp_path / name, tiny_data.prepared, tiny_data.raw, params, RUN)
        for name in ("whole", "stopped")
    ]
    for training in trainings:
        training.folder.mkdir()
    whole, stopped = trainings
    assert in_processes(2, whole.main) == [0, 0]
    processes = start_processes(2, stopped.main)
    deadline = time.monotonic() + 60
    while not stopped.steps:
        assert time.monotonic() < deadline, stopped.output
        time.sleep(0.01)
    os.kill(processes[1].pid, signal.SIGTERM)
    assert wait_for(processes) == [128 + signal.SIGTERM] * 2, stopped.output
    assert len(stopped.steps) < len(whole.steps)
    draws = [load_state(stopped.folder / "scratch" / "state.pt", process)[1] for process in (0, 1)]
    assert draws[0] is not None
    assert draws[1] is not None
    assert not torch.equal(draws[0].cpu, draws[1].cpu)  # each has a dropout of its own
    assert in_processes(2, stopped.main) == [0, 0], stopped.output
    assert stopped.steps == whole.steps
    assert stopped.files == whole.files
