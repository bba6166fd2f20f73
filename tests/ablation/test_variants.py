"""The names of variants, and what makes numbers comparable."""

from collections.abc import Callable

import pytest

from s2rm.ablation.variants import describe_full, find_differing, must_equal, name_variant, order_variants
from s2rm.config.params import Params

Make = Callable[..., Params]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "full"),
        (["fusion.balancing=false"], "fusion.balancing=false"),
        (
            ["train.epochs=9", "fusion.coparsing=none", "fusion.balancing=false"],
            "fusion.coparsing=none, fusion.balancing=false, train.epochs=9",
        ),
        (["fusion.stages=[3, 4]"], "fusion.stages=[3,4]"),
        (["language.pretrained=bert"], "language.pretrained=bert"),
        (["~vision.options.channels"], "vision.options.channels=null"),
        (["vision.options.channels=[8, 8]"], "vision.options.channels=[8,8]"),
        (
            [
                "train.seed=5",
                "train.device=cuda",
                "train.workers=3",
                "train.log_every=7",
                "train.activation_checkpointing=all",
            ],
            "full",
        ),
        (["report.decimals=1", "tracking.experiment=other", "evaluate.images_per_batch=1"], "full"),
    ],
)
def test_a_variant_is_named_by_what_differs(tiny_params: Make, overrides: list[str], name: str) -> None:
    assert name_variant(tiny_params(*overrides), tiny_params()) == name


def test_the_order_is_that_of_the_parameters(tiny_params: Make) -> None:
    ordered = [
        "full",
        "vision.coordinates=false",
        "fusion.stages=[3,4]",
        "fusion.coparsing=language_to_vision",
        "fusion.coparsing=none",
        "decoder.kind=fpn",
        "fusion.coparsing=none, fusion.balancing=false",
    ]
    assert order_variants(reversed(ordered), tiny_params()) == ordered


@pytest.mark.parametrize(
    ("override", "differing"),
    [
        ("fusion.kind=none", []),
        ("train.seed=2", []),
        ("data.refshapes.eval_images=3", ["data.refshapes.eval_images"]),
        ("data.refshapes.two_hops_eval_images=3", []),  # not drawn
        ("preprocess.sentence=raw", ["preprocess.sentence"]),
        ("evaluate.threshold=0.4", ["evaluate.threshold"]),
        ("runs.joint.train_on=[refcoco_unc]", ["runs.joint.train_on"]),
    ],
)
def test_what_must_be_equal(tiny_params: Make, override: str, differing: list[str]) -> None:
    found, wanted = (must_equal(tiny_params(*given), ["joint"]) for given in ([override], []))
    assert find_differing(found, wanted) == differing


def test_the_size_of_a_partition_that_is_drawn_must_be_equal(tiny_params: Make) -> None:
    drawn, size = "data.benchmarks=[refcoco_unc, refshapes_two_hops]", "data.refshapes.two_hops_eval_images"
    run = "runs={joint: {train_on: [refcoco_unc], evaluate_on: [refcoco_unc]}}"
    found, wanted = (must_equal(tiny_params(drawn, run, f"{size}={count}"), ["joint"]) for count in (3, 4))
    assert find_differing(found, wanted) == [size]


def test_the_full_model_is_described_by_all_that_counts(tiny_params: Make) -> None:
    described = describe_full(tiny_params())
    for override in ("fusion.kind=none", "evaluate.threshold=0.4", "data.refshapes.seed=8"):
        assert describe_full(tiny_params(override)) != described
    for override in ("train.seed=2", "report.decimals=1", "train.workers=4"):
        assert describe_full(tiny_params(override)) == described
