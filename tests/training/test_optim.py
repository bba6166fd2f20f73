"""Groups of parameters and the schedule."""

from collections.abc import Callable

import pytest
import torch

from s2rm.config.params import Params, Train
from s2rm.core.errors import UserError
from s2rm.model.s2rm import S2RM
from s2rm.training.optim import build_optimiser, build_schedule


@pytest.fixture
def train(tiny_params: Callable[..., Params]) -> Callable[..., Train]:
    return lambda *overrides: tiny_params(*overrides).train


@pytest.mark.parametrize("kind", ["s2rm", "none"])
def test_groups(build_tiny: Callable[..., S2RM], train: Callable[..., Train], kind: str) -> None:
    model = build_tiny(f"fusion.kind={kind}")
    settings = train(
        "train.learning_rate=0.01",
        "train.vision_rate=0.1",
        "train.language_rate=0.2",
        "train.weight_decay=0.3",
    )
    groups = build_optimiser(model, settings).param_groups
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(model.parameters()))
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        factor = {"vision.backbone": 0.1, "language.text_model": 0.2}.get(".".join(name.split(".")[:2]), 1.0)
        decays = parameter.ndim > 1 and ".embeddings." not in name
        assert found[id(parameter)] == (pytest.approx(0.01 * factor), 0.3 if decays else 0), name


SWIN = (
    "vision.backbone=swin_tiny_patch4_window7_224",
    "~vision.options",
    "+vision.options={embed_dim: 8, depths: [1, 1, 1, 1], num_heads: [1, 1, 1, 1], window_size: 4}",
)


def test_what_does_not_decay(build_tiny: Callable[..., S2RM], train: Callable[..., Train]) -> None:
    """Of the matrices; vectors and scalars never do."""
    model = build_tiny(*SWIN)
    groups = build_optimiser(model, train("train.weight_decay=0.3")).param_groups
    exempt = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in exempt and p.ndim > 1}
    assert names == {
        *(
            f"vision.backbone.layers_{i}.blocks.0.attn.relative_position_bias_table" for i in range(4)
        ),
        *(
            f"language.text_model.embeddings.{table}_embeddings.weight"
            for table in ("word", "position", "token_type")
        ),
    }  # fmt: skip


def test_frozen_layers_are_not_trained(build_tiny: Callable[..., S2RM], train: Callable[..., Train]) -> None:
    model = build_tiny("language.layers=2")
    assert model.language is not None
    model.language.freeze(1)
    trained = {id(p) for group in build_optimiser(model, train()).param_groups for p in group["params"]}
    left_out = {name for name, p in model.named_parameters() if id(p) not in trained}
    bert = {name for name, _ in model.named_parameters() if name.startswith("language.text_model.")}
    assert left_out == {
        name
        for name in bert
        if name.startswith(("language.text_model.embeddings.", "language.text_model.encoder.layer.0."))
    }
    assert left_out < bert
    with pytest.raises(UserError, match=r"language\.frozen is 3: this text model has 2 layers"):
        model.language.freeze(3)


def rates(train: Train, steps: int) -> list[float]:
    """Return the rate of the first of two groups at each step; that of the second is 10 times as high."""
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimiser = torch.optim.AdamW(
        [{"params": [weight], "lr": rate} for weight, rate in zip(weights, (1.0, 10.0), strict=True)]
    )
    schedule = build_schedule(optimiser, train, steps)
    found = []
    for _ in range(steps):
        small, large = (group["lr"] for group in optimiser.param_groups)
        assert large == pytest.approx(10 * small)
        found.append(small)
        optimiser.step()
        schedule.step()
    assert optimiser.param_groups[0]["lr"] == 0  # the schedule ends at 0
    return found


@pytest.mark.parametrize("power", [0.9, 0.5])
def test_warm_up_then_polynomial_decay(train: Callable[..., Train], power: float) -> None:
    found = rates(train("train.warmup=0.1", f"train.power={power}"), steps=100)
    assert found[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert found[10:] == pytest.approx([(1 - step / 100) ** power for step in range(10, 100)])
    assert max(found) <= 1
    assert found[20:] == sorted(found[20:], reverse=True)


def test_without_warm_up_the_first_rate_is_the_full_one(train: Callable[..., Train]) -> None:
    assert rates(train("train.warmup=0", "train.power=1"), steps=4) == pytest.approx([1, 0.75, 0.5, 0.25])


def test_a_constant_rate(train: Callable[..., Train]) -> None:
    assert rates_before_end(train("train.warmup=0", "train.power=0")) == [1, 1, 1]


def rates_before_end(train: Train) -> list[float]:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.AdamW([weight], lr=1.0)
    schedule = build_schedule(optimiser, train, steps=3)
    found = []
    for _ in range(3):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found
