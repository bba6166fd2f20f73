"""Speed and memory of one GPU, measured within ten minutes, beside what `s2rm plan` expects.

    bash benchmarks/gpu.sh [FOLDER]
    python benchmarks/gpu.py --params presets/paper.yaml --output gpu.json [--trace trace.json]

The first command also tests the sweep's kernels on the device. Random weights and random batches. torch,
timm, transformers and triton are needed; DVC, MLflow and pycocotools are not. Measured are:

- the machine's own limits: matrix products in bf16, copying
- whether the device computes what the CPU computes, in float32
- the sweep of the stride-8 stage, forward and backward, compared with copying the bytes that it must read and
  write
- a training step with each `train.activation_checkpointing`, eager and compiled, on a batch that the
  training's sampler draws; and evaluation: images/s, expressions/s, peak memory, and MFU, the model's own
  FLOPs as a share of the matrix-product rate (a training step counts as three forward passes)
- the kernels of one training step by time, and how long the GPU is idle
- from these rates, the hours of the paper's run: five trainings, and the evaluation of their eleven splits
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
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
from s2rm.core.project import PREPARED
from s2rm.evaluation.scores import split_batch
from s2rm.model.profile import ModelPart, describe
from s2rm.model.s2rm import S2RM
from s2rm.planning.batches import make_sampler
from s2rm.planning.gpus import GIB, find_device
from s2rm.planning.step import EVALUATED_PER_IMAGE, MODES, plan_evaluation, plan_training
from s2rm.refer.split_sizes import load_official
from s2rm.scan import reference
from s2rm.training.activation_checkpointing import checkpoint_activations
from s2rm.training.loss import segmentation_loss
from s2rm.training.optim import build_optimiser

LAST_COMPILE = 330  # seconds after the start, when nothing more is compiled: ten minutes are the limit
DIRECTIONS = (False, True)
SMALL = "presets/study.yaml"  # its model is compared with the CPU's
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


def make_step(model: S2RM, params: Params, batch: RandomBatch) -> Callable[[], None]:
    """Return a function that makes one training step in bf16; the batch is on the GPU."""
    optimiser = build_optimiser(model, params.train)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            masks = model(*batch.inputs)
        segmentation_loss(masks, batch.masks, params.loss)["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), params.train.clip)
        optimiser.step()
        optimiser.zero_grad()

    return step


def measure_agreement(path: str) -> dict[str, float]:
    """Compare the logits of the CPU and of the device, in float32, for a small model of these parameters."""
    params = load_params(path, [])
    model = make_model(params).eval()
    batch = make_batch(params, [3, 1, 2])
    tf32, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    with torch.inference_mode():
        expected = model(*batch.inputs).logits
        found = model.cuda()(*to_gpu(batch).inputs).logits.cpu()
    torch.backends.cuda.matmul.allow_tf32 = tf32
    return {
        "largest_logit": expected.abs().max().item(),
        "largest_difference": (expected - found).abs().max().item(),
        "pixels_that_differ": ((expected > 0) != (found > 0)).double().mean().item(),
    }


def measure_training(
    params: Params, total: ModelPart, limit: float, trace: Path | None, started: float
) -> dict[str, Any]:
    """Time a training step with each checkpointing mode, eager and compiled, beside its plan.

    Args:
        params: the parameters of the training.
        total: FLOPs of the whole model.
        limit: FLOPs per second of a large product.
        trace: where the trace of an eager step is written, if anywhere.
        started: when the benchmark began, by `time.monotonic`.
    """
    sampler, _ = make_sampler(params, params.get_run(next(iter(params.runs))), PREPARED)
    each = [len(group) for group in next(iter(sampler))]
    images, expressions = len(each), sum(each)
    flops = 3 * (images * total.flops_image + expressions * total.flops_expression)
    batch = to_gpu(make_batch(params, each))
    gpu = find_device(torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory / GIB)
    found: dict[str, Any] = {"images": images, "expressions": expressions, "steps": {}}
    for mode in MODES:
        planned = plan_training(params, images, expressions, mode)
        plan = {"peak_gib": planned.peak / GIB}
        if gpu is not None:
            plan["roofline_s"] = planned.meter.seconds(gpu)
        row: dict[str, Any] = {"plan": plan}
        found["steps"][mode] = row
        for name in ("eager", "compiled"):
            if name == "compiled" and time.monotonic() - started > LAST_COMPILE:
                row[name] = {"failed": "not measured: the time was up"}
                continue
            torch.cuda.empty_cache()
            model = make_model(params).train().cuda()
            checkpoint_activations(model, mode)
            if name == "compiled":
                model.compile()
            try:
                step = make_step(model, params, batch)
                step()  # makes the optimiser's state
                torch.cuda.reset_peak_memory_stats()
                seconds = time_on_gpu(step)["median_s"]
                row[name] = rates(images, expressions, seconds, flops, limit)
                if (mode, name) == ("none", "eager"):
                    found["kernels"] = profile(step, trace)
            except RuntimeError as error:  # out of memory; or compiling, which may fail in many ways
                row[name] = {"failed": " ".join(str(error).split())[:300]}
            del model
    return found


def measure_evaluation(params: Params, total: ModelPart, limit: float) -> dict[str, Any]:
    """Time a batch of the evaluation, in parts as it takes them, beside its plan."""
    images = params.evaluate.images_per_batch
    expressions = EVALUATED_PER_IMAGE * images
    model = make_model(params).eval().cuda()
    batch = to_gpu(make_batch(params, images * [EVALUATED_PER_IMAGE]))
    _, ids, mask, index = batch.inputs
    parts = list(split_batch(index.tolist()))

    def work() -> None:
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
            maps = model.encode_images(batch.images)
            for part, seen in parts:
                language = model.encode_expressions(ids[part], mask[part])
                some = [each[seen] for each in maps]
                model.segment(some, language, index[part] - seen.start, batch.images.shape[-2:])

    torch.cuda.reset_peak_memory_stats()
    seconds = time_on_gpu(work)["median_s"]
    flops = images * total.flops_image + expressions * total.flops_expression
    planned = plan_evaluation(params, images, expressions)
    return {
        "plan": {"peak_gib": planned.peak / GIB},
        "eager": rates(images, expressions, seconds, flops, limit),
    }


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


def estimate(params: Params, training: dict[str, Any], evaluation: dict[str, Any]) -> dict[str, float]:
    """Return the hours of the paper's run at the measured rates: training; validation and evaluation.

    Nothing is estimated where the step failed with the parameters' own `train.activation_checkpointing`.
    """
    step = training["steps"][params.train.activation_checkpointing]["eager"]
    if "failed" in step:
        return {}
    counts = {"train": 0.0, "val": 0.0, "others": 0.0}
    for row in load_official():
        if row.route == "refer":
            split = row.split if row.split in counts else "others"
            counts[split] += row.numbers.get("expressions", EXPRESSIONS_PER_REF * row.numbers["refs"])
    train, evaluate = (row["expressions_per_s"] for row in (step, evaluation["eager"]))
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
    started = time.monotonic()
    torch.backends.cuda.enable_cudnn_sdp(False)  # as a training sets it
    result: dict[str, Any] = {"device": torch.cuda.get_device_name(), "machine": describe_machine()}

    def save() -> None:
        replace_text(arguments.output, json.dumps(result, indent=2) + "\n")

    result["limits"] = measure_limits()
    save()
    result["sweep"] = measure_sweep(
        params, params.train.expressions_per_batch, result["limits"]["copy_bytes"]
    )
    save()
    result["agreement"] = measure_agreement(SMALL)
    save()
    total = describe(params)["total"]
    limit = result["limits"]["product_flops"]
    result["evaluation"] = measure_evaluation(params, total, limit)
    save()
    result["training"] = measure_training(params, total, limit, arguments.trace, started)
    result["paper_run"] = estimate(params, result["training"], result["evaluation"])
    save()
    print("\n".join(render(result)))


def render(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a table: each step, as planned and as measured."""
    columns = ("roofline ms", "ms", "planned GiB", "GiB", "images/s", "expressions/s", "MFU %")
    training = result["training"]
    yield f"{result['device']}: {training['images']} images, {training['expressions']} expressions"
    yield f"{'':22}" + "".join(f"{column:>15}" for column in columns)
    rows = {f"train, {mode}": row for mode, row in training["steps"].items()}
    for name, row in {**rows, "evaluate": result["evaluation"]}.items():
        for form in ("eager", "compiled"):
            if form not in row:
                continue
            found, plan = row[form], row["plan"]
            if "failed" in found:
                yield f"{name}, {form:12} {found['failed'][:80]}"
                continue
            values = (
                1e3 * plan.get("roofline_s", float("nan")),
                1e3 * found["seconds"],
                plan["peak_gib"],
                found["peak_gib"],
                found["images_per_s"],
                found["expressions_per_s"],
                100 * found["mfu"],
            )
            yield f"{name + ', ' + form:22}" + "".join(f"{value:15.1f}" for value in values)
    agreement = result["agreement"]
    yield (
        f"CPU and device in float32: logits up to {agreement['largest_logit']:.1f}, apart by at most "
        f"{agreement['largest_difference']:.1e}; {agreement['pixels_that_differ']:.1e} of the pixels differ"
    )
    if result["paper_run"]:
        train, evaluate = result["paper_run"].values()
        yield f"the paper's run at these rates: {train:.0f} h of training, {evaluate:.1f} h of evaluation"


if __name__ == "__main__":
    exit_on_user_error(main)
