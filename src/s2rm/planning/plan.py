"""The plan of a training: `s2rm plan`.

What is counted and what is assumed is said beside each number. Nothing here was measured on a GPU.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2rm.acquire.archives.catalog import choose_route, load_catalog
from s2rm.config.params import Params
from s2rm.planning.batches import Batches, plan_batches
from s2rm.planning.gpus import GIB, GPU
from s2rm.planning.step import EVALUATED_PER_IMAGE, MODES, Step, plan_evaluation, plan_training

CONTEXT, FRAGMENTS = 1.0 * GIB, 1.1  # of a CUDA process, and the factor on its tensors: assumed
SLOWER = (1.3, 1.6)  # the factor of a real step on its roofline: assumed
STATES = 2  # that are kept of an unfinished training


@dataclass(frozen=True)
class Memory:
    """The memory of a step, in bytes, by `train.activation_checkpointing`."""

    tensors: dict[str, int]
    evaluation: int

    def needed(self, mode: str) -> float:
        """Return what a GPU must have for a training."""
        return CONTEXT + FRAGMENTS * self.tensors[mode]


@dataclass(frozen=True)
class Plan:
    """What a pipeline's trainings need."""

    params: Params
    batches: dict[str, Batches]
    """Run → its batches."""
    memory: Memory
    parameters: int
    step: Step
    """Of the run with the most images, on an average batch."""
    smaller: tuple[int, float] | None
    """The largest batch that fits a smaller GPU, with "all": expressions, and bytes needed."""


def make_plan(params: Params, prepared: Path, gpu: GPU | None) -> Plan:
    """Plan all runs of the parameters.

    Args:
        params: all parameters.
        prepared: folder of the prepared tables; it need not exist.
        gpu: whose memory a batch must fit into; None plans without.

    Raises:
        UserError: the model cannot be built, or the data's size is not known.
    """
    batches = {name: plan_batches(params, params.get_run(name), prepared) for name in params.runs}
    largest = max(batches.values(), key=lambda each: each.most)
    expressions = params.train.expressions_per_batch
    memory = Memory(
        {mode: plan_training(params, largest.most, expressions, mode).peak for mode in MODES},
        plan_evaluation(
            params,
            params.evaluate.images_per_batch,
            EVALUATED_PER_IMAGE * params.evaluate.images_per_batch,
        ).peak,
    )
    step = plan_training(params, round(largest.mean), expressions)
    smaller = None
    if gpu is not None and memory.needed("all") > gpu.memory * GIB:
        smaller = _shrink(params, largest, gpu)
    return Plan(params, batches, memory, step.parameters, step, smaller)


def _shrink(params: Params, batches: Batches, gpu: GPU) -> tuple[int, float] | None:
    """Halve the batch until it fits; None where a single expression does not."""

    def needed(images: int, expressions: int) -> float:
        return CONTEXT + FRAGMENTS * plan_training(params, images, expressions, "all").peak

    if needed(1, 1) > gpu.memory * GIB:
        return None
    expressions, images = params.train.expressions_per_batch, batches.most
    while True:
        expressions, images = -(-expressions // 2), -(-images // 2)
        if (size := needed(images, expressions)) <= gpu.memory * GIB:
            return expressions, size


def describe_plan(plan: Plan, gpu: GPU | None, catalog: Path) -> Iterator[str]:
    """Yield the lines of a plan, for people."""
    train = plan.params.train
    yield f"model      {plan.parameters / 1e6:,.1f} M parameters"
    for name, batches in plan.batches.items():
        steps = -(-batches.batches // train.accumulation)
        yield (
            f"batches    {name}: {batches.expressions:,} expressions of {batches.images:,} images "
            f"({batches.source}); {batches.mean:.1f} images per batch of {train.expressions_per_batch} "
            f"expressions, at most {batches.most}; {steps:,} steps an epoch, "
            f"{steps * train.epochs:,} in all"
        )
    memory = plan.memory
    for mode in MODES:
        fits = ""
        if gpu is not None:
            fits = "fits" if memory.needed(mode) <= gpu.memory * GIB else "does not fit"
            fits = f": {fits} {gpu.name} ({gpu.memory:g} GiB)"
        mark = " (as set)" if mode == train.activation_checkpointing else ""
        yield (
            f"memory     train.activation_checkpointing={mode}{mark}: {memory.tensors[mode] / GIB:.1f} GiB "
            f"of tensors, about {memory.needed(mode) / GIB:.0f} GiB in all{fits}"
        )
    yield f"memory     evaluation: {memory.evaluation / GIB:.1f} GiB of tensors"
    if plan.smaller is not None:
        count, needed = plan.smaller
        factor = -(-train.expressions_per_batch // count)
        yield (
            f"memory     train.expressions_per_batch={count} "
            f"train.accumulation={factor * train.accumulation} train.activation_checkpointing=all "
            f"needs about {needed / GIB:.0f} GiB"
        )
    elif gpu is not None and memory.needed("all") > gpu.memory * GIB:
        yield f"memory     no batch fits {gpu.name}: choose a smaller vision.backbone or vision.image_size"
    yield f"step       {plan.step.meter.flops / 1e12:.1f} TFLOP, forward, backward and what is computed again"
    if gpu is not None and gpu.bandwidth:
        yield from _describe_time(plan, gpu)
    yield from _describe_disk(plan, catalog)


def _describe_time(plan: Plan, gpu: GPU) -> Iterator[str]:
    params = plan.params
    if params.train.precision == "bf16" and not gpu.bfloat16:
        yield f"time       {gpu.name} has no bfloat16: set train.precision=fp16 (evaluate.precision=float32)"
    seconds = plan.step.meter.seconds(gpu)
    steps = sum(each.batches for each in plan.batches.values()) * params.train.epochs
    low, high = (factor * seconds * steps / 3600 for factor in SLOWER)
    yield (
        f"time       {1e3 * seconds:.0f} ms a step by the roofline of {gpu.name} (60 % of its products, "
        f"85 % of its bandwidth); a real step takes longer, by {SLOWER[0]} to {SLOWER[1]} as we assume: "
        f"{low:,.0f} to {high:,.0f} h of training"
    )


def _describe_disk(plan: Plan, catalog: Path) -> Iterator[str]:
    params, weights = plan.params, 4 * plan.parameters
    if params.data.source == "archives":
        known = load_catalog(catalog)
        names = {
            name
            for benchmark in params.data.benchmarks
            for name in known.files(benchmark, choose_route(benchmark, params.data.referit)).all
        }
        sizes: dict[str, Any] = {name: known.archive(name).size for name in sorted(names)}
        unknown = [name for name, size in sizes.items() if size is None]
        more = f", and {', '.join(unknown)} of unknown size" if unknown else ""
        yield f"download   {sum(size or 0 for size in sizes.values()) / 1e9:.1f} GB of archives{more}"
    yield (
        f"disk       {weights / 1e9:.1f} GB for each of {len(plan.batches)} models, "
        f"{STATES * 3 * weights / 1e9:.1f} GB while one is trained (two states)"
    )
