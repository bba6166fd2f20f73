"""Models by name."""

from pathlib import Path

import pytest
import torch

from s2rm.config.load import load_params
from s2rm.core.errors import UserError
from s2rm.model.create import MODELS, create_model, create_untrained, list_models

ROOT = Path(__file__).parents[2]
PRESETS = {
    "presets/paper.yaml": "s2rm_swin_base_480",
    "presets/refcoco.yaml": "s2rm_swin_base_480",
    "presets/joint.yaml": "s2rm_swin_base_480",
    "presets/study.yaml": "s2rm_resnet10t_96",
    "params.yaml": "s2rm_resnet10t_80",
}


def test_every_preset_has_a_name() -> None:
    assert set(list_models()) == set(PRESETS.values())
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("presets/*.yaml")}
    assert files == set(PRESETS) - {"params.yaml"}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_named_model_is_the_one_of_its_preset(preset: str) -> None:
    params = load_params(ROOT / preset)
    with torch.device("meta"):
        config = create_model(PRESETS[preset]).config
    for section in ("vision", "language", "fusion", "decoder"):
        assert getattr(config, section) == getattr(params, section)


def test_sections_change_a_model() -> None:
    model = create_model("s2rm_resnet10t_80", fusion={"balancing": False}, vision={"image_size": 64})
    assert not model.config.fusion.balancing
    assert model.config.vision.image_size == 64
    assert model.config.vision.backbone == "resnet10t"
    whole = create_untrained(load_params(ROOT / "params.yaml"))
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in whole.parameters())


@pytest.mark.parametrize(
    ("name", "sections", "said"),
    [
        ("s2rm_swin_base_384", {}, "unknown model 's2rm_swin_base_384': known are s2rm_swin_base_480"),
        ("other", {}, ", ".join(MODELS)),
        ("s2rm_resnet10t_80", {"train": {}}, "unknown section 'train'"),
        ("s2rm_resnet10t_80", {"fusion": {"balance": True}}, "balance: Extra inputs are not permitted"),
        ("s2rm_resnet10t_80", {"fusion": {"slice_kernel": 2}}, "slice_kernel is 2: it must be odd"),
    ],
)
def test_what_does_not_exist_gives_one_line(
    name: str, sections: dict[str, dict[str, object]], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        create_model(name, **sections)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
