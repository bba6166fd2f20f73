"""Which backbones are refused, by what they are and at which size, and what is said of their options."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from dvc.utils.hydra import apply_overrides

from s2rm.config.load import load_params
from s2rm.config.network import FIXED_OPTIONS
from s2rm.config.params import Params
from s2rm.core import memory
from s2rm.core.errors import UserError
from s2rm.model.create import create_for_training
from s2rm.model.encoders.backbone import build_backbone
from s2rm.model.encoders.backbone_sketch import (
    STRIDES,
    count_parameters,
    describe_options,
    require_trainable,
    sketch_backbone,
)
from s2rm.model.named import explain_options

ROOT = Path(__file__).parents[3]


def sketch(name: str, image_size: int, **options: object) -> torch.nn.Module:
    return sketch_backbone(name, image_size=image_size, options=options)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "convnext_atto", "pvt_v2_b0", "twins_pcpvt_small", "focalnet_tiny_srf", "swin_s3_tiny_224"],
)
def test_backbones_of_any_family_are_accepted(name: str) -> None:
    found = sketch(name, 80)
    assert found.feature_info.reduction() == STRIDES
    assert count_parameters(found) > 10**6
    assert all(parameter.is_meta for parameter in found.parameters())


@pytest.mark.parametrize(
    ("name", "image_size"),
    [
        ("maxvit_tiny_rw_224", 80),
        ("hrnet_w18", 80),
        ("dla34", 80),
        ("efficientformer_l1", 96),
        *(
            pytest.param(name, size, marks=pytest.mark.slow)
            for name, size in (
                ("hiera_tiny_224", 480),
                ("coatnet_0_224", 96),
                ("coat_tiny", 96),
                ("gcvit_xxtiny", 480),
                ("efficientformerv2_s0", 96),
                ("sam2_hiera_tiny", 80),
                ("halonet26t", 80),
            )
        ),
    ],
)
def test_an_image_size_that_does_not_fit_is_refused_with_advice_that_helps(
    name: str, image_size: int, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=rf"vision\.backbone={name} does not take images of .*{image_size}"
    ) as caught:
        sketch(name, image_size)
    assert "\n" not in str(caught.value)
    assert works_as_advised(str(caught.value).rpartition("; ")[2], name, image_size, tmp_path)


def works_as_advised(advice: str, name: str, image_size: int, folder: Path) -> bool:
    """Do what the message says, with DVC's own reading of `-S`."""
    path = folder / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    options = [f"vision.backbone={name}", f"vision.image_size={image_size}", "~vision.options.channels"]
    advised = advice.removeprefix("it does with -S ").removesuffix(" would do").strip("'")
    apply_overrides(path, [*options, advised])
    vision = load_params(path).vision
    return bool(sketch_backbone(name, image_size=vision.image_size, options=vision.options))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vit_tiny_patch16_224", "has features at strides"),
        ("levit_128", "cannot be built"),
        ("pit_ti_224", "cannot be built"),
        ("visformer_tiny", "cannot be built"),
        ("efficientvit_m0", "cannot be built"),
        ("mixer_s16_224", "vision.backbone=mixer_s16_224"),
        ("inception_v4", "cuts the borders off"),
        ("legacy_xception", "cuts the borders off"),
        ("resnet18.no_such_tag", "no_such_tag"),
    ],
)
def test_a_backbone_that_is_not_a_pyramid_is_refused(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        sketch(name, 96)
    assert "\n" not in str(caught.value)
    assert "choose another backbone" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"channels": ["a", "b", "c", "d"]},
        {"channels": [8, 8]},
        {"channels": 8},
        {"output_stride": 3},
        {"out_indices": [1, 2, 3]},
        {"act_layer": "no_such_layer"},
        {"block_args": {"no": "thing"}},
    ],
)
def test_options_that_are_refused_name_how_dvc_removes_them(options: dict[str, object]) -> None:
    with pytest.raises(UserError) as caught:
        sketch("resnet10t", 80, **options)
    assert "\n" not in str(caught.value)
    assert f"dvc exp run -S '~vision.options.{min(options)}'" in str(caught.value)


@pytest.mark.parametrize("key", FIXED_OPTIONS)
def test_arguments_that_are_not_free_are_refused_with_the_parameters(
    tiny_params: Callable[..., Params], key: str
) -> None:
    with pytest.raises(UserError, match=rf"vision\.options\.{key} cannot be set: "):
        tiny_params(f"+vision.options.{key}=true")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("resnet50", {"channels": [32, 48, 64, 96]}, "has 1.3 M parameters, 23.5 M without"),
        ("resnet18", {"channels": [128, 256, 512, 1024]}, "M parameters, 11.2 M without"),
        ("convnext_tiny", {"depths": [1, 1, 1, 1]}, "M parameters, 27.8 M without"),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 24}, "M parameters, 27.5 M without"),
        ("pvt_v2_b0", {"depths": [1, 1, 1, 1], "embed_dims": [8, 16, 40, 64]}, "3.4 M without"),
        ("resnet50", {"drop_path_rate": 0.1}, None),
        ("resnet18", {"act_layer": "gelu"}, None),
        ("resnet18", {}, None),
    ],
)
def test_options_that_change_the_size_much_are_named(
    name: str, options: dict[str, object], said: str | None
) -> None:
    line = describe_options(name, image_size=96, options=options)
    assert (line is None) == (said is None)
    assert said is None or said in str(line)


def test_the_models_of_this_project_have_the_options_that_are_meant() -> None:
    for path in (ROOT / "params.yaml", *ROOT.glob("presets/*.yaml")):
        assert explain_options(load_params(path).vision) is None


def test_dvc_removes_the_options_as_the_line_says(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    vision = load_params(path).vision
    line = describe_options("resnet50", image_size=vision.image_size, options=vision.options)
    removal = str(line).partition("-S '")[2].partition("'")[0]
    apply_overrides(path, [removal, "vision.backbone=resnet50"])
    assert load_params(path).vision.options == {}
    assert yaml.safe_load(path.read_text())["vision"]["backbone"] == "resnet50"


def test_a_training_says_so_when_it_starts(
    tiny_params: Callable[..., Params], tiny_tokenizer: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    create_for_training(tiny_params(), tiny_tokenizer)
    assert "vision: resnet10t with channels=[8, 8, 8, 8] has" in caplog.text


@pytest.mark.parametrize(
    ("name", "size", "advice"),
    [
        ("resnet10t", 32, "set vision.image_size=64"),
        ("efficientnet_b0", 32, "set vision.image_size=64"),
        ("regnetx_002", 32, "set vision.image_size=64"),
        ("resnest14d", 96, "choose another backbone"),  # its attention normalises one value per image
        ("skresnet18", 96, "choose another backbone"),
    ],
)
def test_a_norm_that_cannot_train_on_a_single_image_is_refused(name: str, size: int, advice: str) -> None:
    sketch(name, size)  # it can be used otherwise
    with pytest.raises(UserError, match="more than 1 value per channel") as caught:
        require_trainable(name, image_size=size, options={})
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "size"), [("resnet10t", 48), ("convnext_atto", 32), ("resnet50_gn", 32)])
def test_other_norms_and_sizes_can_be_trained(name: str, size: int) -> None:
    require_trainable(name, image_size=size, options={})


def test_a_backbone_larger_than_the_memory_is_refused_before_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable:    100000 kB\nSwapFree:      0 kB\n")
    monkeypatch.setattr(memory, "MEMORY", tmp_path / "meminfo")
    with pytest.raises(
        UserError, match=r"has 2\d M parameters: they need 0\.1 GB of memory, 0\.1 GB are free"
    ):
        build_backbone("convnext_tiny", weights=None, image_size=96, options={})
    build_backbone("resnet10t", weights=None, image_size=96, options={})


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224"])
def test_the_sketch_draws_nothing_from_the_seed(name: str) -> None:
    torch.manual_seed(0)
    sketch(name, 64)
    drawn = torch.rand(())
    torch.manual_seed(0)
    assert drawn == torch.rand(())
