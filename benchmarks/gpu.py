"""Everything that is to be known of one GPU, within ten minutes: `bash benchmarks/gpu.sh`.

    python benchmarks/gpu.py --params presets/paper.yaml --output gpu.json [--trace trace.json]

Random weights and made-up batches. Needs torch, timm, transformers and triton; no DVC, MLflow or pycocotools.

- the machine's own limits: matrix products in bf16, copying
- the sweep of the stride-8 stage, forward and backward, against copying the bytes that it must read and write
- a training step and evaluation: images/s, expressions/s, peak memory, the share of the matrix-product
  rate that the model's own FLOPs make (MFU; a training step counts three forward passes), eager and compiled
- the kernels of one training step by time, and where the GPU waits
- the paper's run from there: five trainings and the evaluation of their eleven splits
"""

import argparse
import csv
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from made_up import Made, make_batch, make_model
from timing import machine
from torch import nn

from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.core.errors import UserError, exit_on_user_error
from s2rm.model.profile import Part, describe
from s2rm.model.s2rm import S2RM
from s2rm.model.scan import reference as loop
from s2rm.model.scan import triton_gpu as gpu
from s2rm.training.loss import segmentation_loss
from s2rm.training.optim import build_optimiser

EACH = (
    3  # expressions an image: RefCOCO has 2.5 refs an image and 7 expressions, of which a batch takes up to 6
)
SENSES = (False, True)
OFFICIAL = Path(__file__).parents[1] / "src" / "s2rm" / "data" / "split_sizes.csv"


def seconds_of(work: Callable[[], object], repeats: int = 10, warm_up: int = 3) -> dict[str, float]:
    """Of the device, by its own clock."""
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
    return {"median_s": statistics.median(times), "min_s": min(times), "max_s": max(times)}


def measure_limits() -> dict[str, float]:
    """FLOPs a second of a large bf16 product, bytes a second of a large copy (read and written)."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = seconds_of(lambda: a @ b)["median_s"]
    source = torch.empty(2**30, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    copy = seconds_of(lambda: target.copy_(source))["median_s"]
    return {"product_flops": 2 * 8192**3 / product, "copy_bytes": 2 * source.nbytes / copy}


def measure_sweep(params: Params, expressions: int, copy_bytes: float) -> dict[str, Any]:
    """Both directions of an axis of the stride-8 stage; forward moves 4 maps at least, backward 6."""
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
        for name, implementation in (("triton", gpu), ("loop", loop)):
            for dim in (2, 3):
                forward = seconds_of(partial(implementation.forward, z, c, dim, SENSES))
                backward = seconds_of(partial(implementation.backward, z, c, gradients, dim, SENSES))
                found[f"{name}, {dtype}, dim {dim}"] = {
                    "forward_s": forward["median_s"],
                    "backward_s": backward["median_s"],
                    "forward_of_copy": 4 * z.nbytes / forward["median_s"] / copy_bytes,
                    "backward_of_copy": 6 * z.nbytes / backward["median_s"] / copy_bytes,
                }
    return found


def to_gpu(batch: Made) -> Made:
    return Made(*(tensor.to("cuda") for tensor in vars(batch).values()))


def rates(images: int, expressions: int, seconds: float, flops: float, limit: float) -> dict[str, float]:
    return {
        "seconds": seconds,
        "images_per_s": images / seconds,
        "expressions_per_s": expressions / seconds,
        "flops_per_s": flops / seconds,
        "mfu": flops / seconds / limit,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }


def train_step(model: S2RM, run: Callable[..., Any], params: Params, batch: Made) -> Callable[[], None]:
    optimiser = build_optimiser(model, params.train)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            masks = run(*batch.inputs)
        segmentation_loss(masks, batch.masks, params.loss)["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), params.train.clip)
        optimiser.step()
        optimiser.zero_grad()

    return step


def measure_model(params: Params, total: Part, limit: float, trace: Path | None) -> dict[str, Any]:
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
            step = train_step(model.train(), run, params, batch)
            torch.cuda.reset_peak_memory_stats()
            seconds = seconds_of(step)["median_s"]
            found[f"train, {name}"] = rates(images, expressions, seconds, 3 * flops, limit)
            if name == "eager":
                found["kernels"] = profile(step, trace)
            model.eval()
            torch.cuda.reset_peak_memory_stats()
            with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
                seconds = seconds_of(lambda run=run: run(*batch.inputs))["median_s"]
            found[f"evaluate, {name}"] = rates(images, expressions, seconds, flops, limit)
        except RuntimeError as error:  # compiling fails in its own ways; what was measured before stays
            found[f"{name}, failed"] = " ".join(str(error).split())[:500]
    return found


def profile(step: Callable[[], None], trace: Path | None) -> dict[str, Any]:
    """One step: the kernels by time, and how much of the step the GPU has none."""
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
    """Hours of the paper's run at the measured rates: trainings, validations, evaluation."""
    counts = {"train": 0.0, "val": 0.0, "others": 0.0}
    with OFFICIAL.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["route"] == "refer":
                split = row["split"] if row["split"] in counts else "others"
                # The Google partition's expressions are not published; UMD's have 1.9 a ref.
                counts[split] += float(row["expressions"] or 1.9 * int(row["refs"]))
    train, evaluate = (model[f"{what}, eager"]["expressions_per_s"] for what in ("train", "evaluate"))
    scored = (params.train.epochs // params.train.validate_every + 1) * counts["val"] + counts["others"]
    return {
        "train_h": params.train.epochs * counts["train"] / train / 3600,
        "evaluate_h": scored / evaluate / 3600,
    }


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("--params", default="presets/paper.yaml")
    command.add_argument("--output", type=Path, required=True)
    command.add_argument("--trace", type=Path, help="where the step's trace goes, for chrome://tracing")
    arguments = command.parse_args()
    if not torch.cuda.is_available():
        raise UserError("torch sees no GPU")
    params = load_params(arguments.params, ["language.pretrained=null", "vision.pretrained=false"])
    torch.backends.cuda.matmul.allow_tf32 = True
    result: dict[str, Any] = {"device": torch.cuda.get_device_name(), "machine": machine()}

    def keep() -> None:  # after each part: nothing is lost to a time limit
        arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")

    result["limits"] = measure_limits()
    keep()
    result["sweep"] = measure_sweep(
        params, params.train.expressions_per_batch, result["limits"]["copy_bytes"]
    )
    keep()
    total = describe(params)["total"]
    result["model"] = measure_model(params, total, result["limits"]["product_flops"], arguments.trace)
    result["paper_run"] = estimate(params, result["model"])
    keep()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    exit_on_user_error(main)
