"""Speed and memory of one GPU, measured within ten minutes.

    bash benchmarks/gpu.sh [FOLDER]
    python benchmarks/gpu.py --params presets/paper.yaml --output gpu.json [--trace trace.json]

The first command also tests the sweep's kernels on the device. Random weights and random batches. torch,
timm, transformers and triton are needed; DVC, MLflow and pycocotools are not. Measured are:

- the machine's own limits: matrix products in bf16, copying
- the sweep of the stride-8 stage, forward and backward, compared with copying the bytes that it must read and
  write
- a training step and evaluation, eager and compiled: images/s, expressions/s, peak memory, and MFU, the
  model's own FLOPs as a share of the matrix-product rate (a training step counts as three forward passes)
- the kernels of one training step by time, and how long the GPU is idle
- from these rates, the hours of the paper's run: five trainings, and the evaluation of their eleven splits
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from random_inputs import RandomBatch, make_batch, make_model
from timing import describe_machine, summarise
from torch import nn

from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.core.errors import UserError, exit_on_user_error
from s2rm.core.files import replace_text
from s2rm.model.profile import ModelPart, describe
from s2rm.model.s2rm import S2RM
from s2rm.refer.split_sizes import load_official
from s2rm.scan import reference
from s2rm.training.loss import segmentation_loss
from s2rm.training.optim import build_optimiser

# Expressions per image in the random batches; RefCOCO has 7, of which a training batch takes up to 6.
EACH = 3
DIRECTIONS = (False, True)
# UMD's expressions per ref, for the Google partition of RefCOCOg, whose expressions are not published.
EXPRESSIONS_PER_REF = 1.9


def time_on_gpu(work: Callable[[], object], repeats: int = 10, warm_up: int = 3) -> dict[str, float]:
    """Return the device's seconds by its own clock: median, minimum and maximum."""
    for _ in range(warm_up):
        work()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return summarise(times)


def measure_limits() -> dict[str, float]:
    """Return FLOPs per second of a large bf16 product, and bytes per second of a large copy (both ways)."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = time_on_gpu(lambda: a @ b)["median_s"]
    source = torch.empty(2**30, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    copy = time_on_gpu(lambda: target.copy_(source))["median_s"]
    return {"product_flops": 2 * 8192**3 / product, "copy_bytes": 2 * source.nbytes / copy}


def measure_sweep(params: Params, expressions: int, copy_bytes: float) -> dict[str, Any]:
    """Time both directions of an axis of the stride-8 stage, by Triton and by the reference.

    Forward moves at least 4 maps, backward 6.

    Args:
        params: for the size of the maps.
        expressions: maps swept together.
        copy_bytes: bytes per second of a copy.
    """
    from s2rm.scan import triton_gpu  # not everywhere where this file is imported

    width, side = params.fusion.widths[1], params.vision.image_size // 8
    found: dict[str, Any] = {"map": [expressions, width, side, side]}
    for dtype in (torch.bfloat16, torch.float32):
        maps = [
            torch.rand(expressions, width, side, side, device="cuda", dtype=dtype).contiguous(
                memory_format=torch.channels_last
            )
            for _ in range(4)
        ]
        z, c, *gradients = maps
        for name, implementation in (("triton", triton_gpu), ("reference", reference)):
            for dim in (2, 3):
                forward = time_on_gpu(partial(implementation.forward, z, c, dim, DIRECTIONS))
                backward = time_on_gpu(partial(implementation.backward, z, c, gradients, dim, DIRECTIONS))
                found[f"{name}, {dtype}, dim {dim}"] = {
                    "forward_s": forward["median_s"],
                    "backward_s": backward["median_s"],
                    "forward_of_copy": 4 * z.nbytes / forward["median_s"] / copy_bytes,
                    "backward_of_copy": 6 * z.nbytes / backward["median_s"] / copy_bytes,
                }
    return found


def to_gpu(batch: RandomBatch) -> RandomBatch:
    """Copy a batch to the GPU."""
    return RandomBatch(*(tensor.to("cuda") for tensor in vars(batch).values()))


def rates(images: int, expressions: int, seconds: float, flops: float, limit: float) -> dict[str, float]:
    """Return throughput, MFU and peak memory.

    Args:
        images: in a batch.
        expressions: in a batch.
        seconds: per batch.
        flops: per batch.
        limit: FLOPs per second of a large product.
    """
    return {
        "seconds": seconds,
        "images_per_s": images / seconds,
        "expressions_per_s": expressions / seconds,
        "flops_per_s": flops / seconds,
        "mfu": flops / seconds / limit,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }


def make_step(model: S2RM, run: Callable[..., Any], params: Params, batch: RandomBatch) -> Callable[[], None]:
    """Return a function that makes one training step in bf16.

    Args:
        model: whose parameters are trained.
        run: the model, or its compiled form.
        params: the parameters of the training.
        batch: on the GPU.
    """
    optimiser = build_optimiser(model, params.train)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            masks = run(*batch.inputs)
        segmentation_loss(masks, batch.masks, params.loss)["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), params.train.clip)
        optimiser.step()
        optimiser.zero_grad()

    return step


def measure_model(params: Params, total: ModelPart, limit: float, trace: Path | None) -> dict[str, Any]:
    """Time a training step and evaluation, eager and compiled.

    Args:
        params: the parameters of the training.
        total: FLOPs of the whole model.
        limit: FLOPs per second of a large product.
        trace: where the trace of an eager step is written, if anywhere.
    """
    model = make_model(params).cuda()
    expressions = params.train.expressions_per_batch
    images = expressions // EACH
    expressions = images * EACH
    batch = to_gpu(make_batch(params, images, EACH))
    flops = images * total.flops_image + expressions * total.flops_expression
    found: dict[str, Any] = {"images": images, "expressions": expressions}
    for name in ("eager", "compiled"):
        run: Callable[..., Any] = model
        if name == "compiled":
            run = torch.compile(model)
        try:
            step = make_step(model.train(), run, params, batch)
            torch.cuda.reset_peak_memory_stats()
            seconds = time_on_gpu(step)["median_s"]
            found[f"train, {name}"] = rates(images, expressions, seconds, 3 * flops, limit)
            if name == "eager":
                found["kernels"] = profile(step, trace)
            model.eval()
            torch.cuda.reset_peak_memory_stats()
            with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
                seconds = time_on_gpu(lambda run=run: run(*batch.inputs))["median_s"]
            found[f"evaluate, {name}"] = rates(images, expressions, seconds, flops, limit)
        except RuntimeError as error:  # compiling may fail in many ways; earlier measurements are kept
            found[f"{name}, failed"] = " ".join(str(error).split())[:500]
    return found


def profile(step: Callable[[], None], trace: Path | None) -> dict[str, Any]:
    """Profile one step: its duration, how long the GPU was busy, and the kernels by time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    torch.cuda.synchronize()
    with torch_profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        wall = time.perf_counter() - start
    if trace:
        profiler.export_chrome_trace(str(trace))
    kernels = [row for row in profiler.key_averages() if row.self_device_time_total > 0]
    kernels.sort(key=lambda row: -row.self_device_time_total)
    busy = sum(row.self_device_time_total for row in kernels) / 1e6
    return {
        "wall_s": wall,
        "busy_s": busy,
        "top": [[row.key[:120], row.count, row.self_device_time_total / 1e6] for row in kernels[:40]],
    }


def estimate(params: Params, model: dict[str, Any]) -> dict[str, float]:
    """Return the hours of the paper's run at the measured rates: training; validation and evaluation."""
    counts = {"train": 0.0, "val": 0.0, "others": 0.0}
    for row in load_official():
        if row.route == "refer":
            split = row.split if row.split in counts else "others"
            counts[split] += row.numbers.get("expressions", EXPRESSIONS_PER_REF * row.numbers["refs"])
    train, evaluate = (model[f"{what}, eager"]["expressions_per_s"] for what in ("train", "evaluate"))
    scored = (params.train.epochs // params.train.validate_every + 1) * counts["val"] + counts["others"]
    return {
        "train_h": params.train.epochs * counts["train"] / train / 3600,
        "evaluate_h": scored / evaluate / 3600,
    }


def main() -> None:
    """Measure everything, write the result after each part, because time may run out, and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--params", default="presets/paper.yaml", help="parameter file (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--trace", type=Path, help="file for the trace of a step, for chrome://tracing")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise UserError("torch finds no GPU: run this on a machine with one")
    params = load_params(arguments.params, ["language.pretrained=null", "vision.pretrained=false"])
    torch.backends.cuda.matmul.allow_tf32 = True
    result: dict[str, Any] = {"device": torch.cuda.get_device_name(), "machine": describe_machine()}

    def save() -> None:
        replace_text(arguments.output, json.dumps(result, indent=2) + "\n")

    result["limits"] = measure_limits()
    save()
    result["sweep"] = measure_sweep(
        params, params.train.expressions_per_batch, result["limits"]["copy_bytes"]
    )
    save()
    total = describe(params)["total"]
    result["model"] = measure_model(params, total, result["limits"]["product_flops"], arguments.trace)
    result["paper_run"] = estimate(params, result["model"])
    save()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    exit_on_user_error(main)
