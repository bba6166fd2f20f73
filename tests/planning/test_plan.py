"""The plan of a training, as `s2rm plan` prints it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s2rm.config.benchmarks import BenchmarkName
from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.data.table import load_table
from s2rm.planning.batches import plan_batches
from s2rm.planning.gpus import GPU, find_gpu
from s2rm.planning.plan import CONTEXT, FRAGMENTS, describe_plan, make_plan
from s2rm.planning.step import plan_training

TinyParams = Callable[..., Params]
ROOT = Path(__file__).parents[2]
ONE_STAGE = "fusion.stages=[4]"  # is planned faster than four


def test_official_counts_where_nothing_is_prepared(tmp_path: Path) -> None:
    params = load_params(ROOT / "presets" / "paper.yaml", [])
    found = plan_batches(params, params.get_run("refcoco_unc"), tmp_path)
    assert (found.images, found.expressions) == (16_994, 120_624)  # split_sizes.csv
    assert found.batches == -(-120_624 // params.train.expressions_per_batch)
    assert found.source == "official counts"
    least = params.train.expressions_per_batch / params.train.expressions_per_image
    assert least < found.mean < found.most < params.train.expressions_per_batch


def test_prepared_tables_are_read(tiny_data: Any, tiny_params: TinyParams) -> None:
    names: list[BenchmarkName] = ["refcoco_unc", "referit_berkeley"]
    listed = f"[{', '.join(names)}]"
    params = tiny_params(
        f"data.benchmarks={listed}", "~runs", f"+runs={{two: {{train_on: {listed}, evaluate_on: {listed}}}}}"
    )
    run = params.get_run("two")
    found = plan_batches(params, run, tiny_data.prepared)
    rows = [load_table(tiny_data.prepared / f"{name}.parquet") for name in run.train_on]
    paths = [path for table in rows for path in table[table["split"] == "train"]["image_path"]]
    assert found.expressions == len(paths)
    assert found.images == len(set(paths))
    assert str(tiny_data.prepared) in found.source


def test_a_gpu_by_name_or_memory() -> None:
    assert find_gpu("h100").memory == 80
    assert find_gpu("24") == GPU("24 GiB", 24)
    with pytest.raises(UserError, match=r"unknown GPU 'A100': give its memory in GiB, or one of A100"):
        find_gpu("A100")
    for wrong in ("-1", "0", "nan", "inf"):
        with pytest.raises(UserError, match="unknown GPU"):
            find_gpu(wrong)


@pytest.mark.slow
def test_the_lines(tiny_params: TinyParams, tmp_path: Path) -> None:
    params, gpu = tiny_params(ONE_STAGE, "train.accumulation=2"), find_gpu("H100")
    lines = list(describe_plan(make_plan(params, tmp_path, gpu), gpu, tmp_path / "archives.yaml"))
    text = "\n".join(lines)
    assert text.count("fits H100") == 3
    assert "train.activation_checkpointing=none (as set)" in text
    assert "by the roofline of H100" in text
    assert "download" not in text  # drawn data


@pytest.mark.slow
def test_a_small_gpu_is_told_which_batch_fits(tiny_params: TinyParams, tmp_path: Path) -> None:
    params = tiny_params(ONE_STAGE, "train.activation_checkpointing=all")
    images = plan_batches(params, params.get_run(next(iter(params.runs))), tmp_path).most
    whole = plan_training(params, images, params.train.expressions_per_batch).peak
    gpu = GPU("small", (CONTEXT + FRAGMENTS * whole - 1) / 2**30)
    lines = list(describe_plan(make_plan(params, tmp_path, gpu), gpu, tmp_path))
    assert sum("does not fit small" in line for line in lines) == 3
    (advice,) = [line for line in lines if "train.expressions_per_batch=" in line]
    assert f"train.expressions_per_batch={params.train.expressions_per_batch // 2}" in advice
    assert "train.accumulation=2" in advice


@pytest.mark.slow
def test_no_batch_fits(tiny_params: TinyParams, tmp_path: Path) -> None:
    gpu = GPU("tiny", 0.5)  # less than a CUDA process takes
    lines = list(describe_plan(make_plan(tiny_params(ONE_STAGE), tmp_path, gpu), gpu, tmp_path))
    assert any("no batch fits tiny" in line for line in lines)
