"""Planned steps: memory against a real one, FLOPs against counts by another way."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.model.profile import describe
from s2rm.planning.gpus import find_gpu
from s2rm.planning.step import plan_evaluation, plan_training

TinyParams = Callable[..., Params]
ROOT = Path(__file__).parents[2]
STUDY = ROOT / "presets" / "study.yaml"
SCRIPT = ROOT / "tests" / "helpers" / "peak_memory.py"
CONVNEXT = ("vision.backbone=convnext_atto", "~vision.options.channels", "fusion.stages=[1, 2, 3, 4]")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/statm")
@pytest.mark.parametrize(
    "settings",
    [
        ("vision.image_size=192", "train.activation_checkpointing=none"),
        ("vision.image_size=192", "train.activation_checkpointing=all"),
        (*CONVNEXT, "vision.image_size=128", "train.activation_checkpointing=none"),
        (*CONVNEXT, "vision.image_size=128", "train.activation_checkpointing=all"),
    ],
)
def test_the_memory_is_that_of_a_real_step(settings: tuple[str, ...]) -> None:
    images, expressions = 8, 48
    # Large blocks come from the system and return to it at once: what is measured is what is in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    command = [sys.executable, str(SCRIPT), str(STUDY), str(images), str(expressions), *settings]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    planned = plan_training(load_params(STUDY, list(settings)), images, expressions)
    assert planned.peak == pytest.approx(int(found.stdout), rel=0.1)


def test_the_flops_of_an_evaluation_are_those_of_describe(tiny_params: TinyParams) -> None:
    params, images, expressions = tiny_params(), 2, 5
    total = describe(params)["total"]
    planned = plan_evaluation(params, images, expressions)
    expected = images * total.flops_image + expressions * total.flops_expression
    assert planned.meter.flops == pytest.approx(expected, rel=0.02)
    assert planned.parameters == total.parameters


@pytest.mark.slow
def test_checkpointing_costs_flops_and_saves_memory(tiny_params: TinyParams) -> None:
    peaks, flops = zip(
        *(
            (step.peak, step.meter.flops)
            for mode in ("none", "head", "all")
            for step in [plan_training(tiny_params(f"train.activation_checkpointing={mode}"), 4, 16)]
        ),
        strict=True,
    )
    assert peaks[0] > peaks[1] >= peaks[2]
    assert flops[0] < flops[1] <= flops[2]


def test_a_plan_uses_no_memory_and_leaves_no_trace(tiny_params: TinyParams) -> None:
    attention, mode = torch.nn.functional.scaled_dot_product_attention, torch.get_default_device()
    state = torch.get_rng_state()
    plan_training(tiny_params(), 2, 4)
    assert torch.nn.functional.scaled_dot_product_attention is attention
    assert torch.get_default_device() == mode
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(torch.zeros(1).item(), float)


@pytest.mark.slow
def test_an_average_of_the_weights_is_held_too(tiny_params: TinyParams) -> None:
    plain = plan_training(tiny_params(), 2, 4)
    averaged = plan_training(tiny_params("train.ema=0.9"), 2, 4)
    assert averaged.held - plain.held >= 4 * plain.parameters


def test_a_step_is_as_fast_as_the_gpu(tiny_params: TinyParams) -> None:
    meter = plan_training(tiny_params(), 2, 4).meter
    assert meter.seconds(find_gpu("H200")) < meter.seconds(find_gpu("H100")) < meter.seconds(find_gpu("T4"))
