"""The vision encoder, and the backbones that it refuses."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file, save_model
from timm.layers import resize_rel_pos_bias_table
from torch import nn

from s2rm.core.errors import UserError
from s2rm.model.encoders.backbone import build_backbone
from s2rm.model.encoders.vision import StageProjection, VisionEncoder
from s2rm.model.layers import coordinate_map


def build(name: str, weights: Path | None = None, **options: object) -> torch.nn.Module:
    return build_backbone(name, weights=weights, image_size=64, options=options)


def test_an_unknown_backbone_names_near_ones() -> None:
    with pytest.raises(
        UserError, match=r"vision\.backbone is 'resnet10x'.*did you mean .*resnet10t.*\?"
    ) as caught:
        build("resnet10x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {"depth": 4, "embed_dim": 24, "num_heads": 2}),
        ("resnet10t", {"output_stride": 8}),
    ],
)
def test_a_backbone_without_the_strides_is_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"strides .*\[4, 8, 16, 32\] are needed"):
        build(name, **options)


def test_options_that_the_backbone_does_not_take() -> None:
    with pytest.raises(UserError, match=r"vision\.backbone=resnet10t cannot be built.*no_such_option"):
        build("resnet10t", no_such_option=1)


def test_coordinates_are_centres_of_pixels() -> None:
    grid = coordinate_map(torch.zeros(5, 7, 2, 4))
    assert grid.shape == (1, 2, 2, 4)
    torch.testing.assert_close(grid[0, 0], torch.tensor([[-0.75, -0.25, 0.25, 0.75]] * 2))  # columns
    torch.testing.assert_close(grid[0, 1], torch.tensor([[-0.5] * 4, [0.5] * 4]))  # rows


@pytest.mark.parametrize("coordinates", [False, True])
def test_only_coordinates_tell_places_apart(coordinates: bool) -> None:
    torch.manual_seed(0)
    projection = StageProjection(3, 8, coordinates=coordinates)
    flat = torch.tensor([1.0, -2.0, 3.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert (projection(flat).std((2, 3)).max() > 0.01) == coordinates


SMALL_SWIN = {"embed_dim": 8, "depths": [1] * 4, "num_heads": [1] * 4, "window_size": 2}


@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet10t", {"channels": [8, 8, 8, 8]}), ("swin_tiny_patch4_window7_224", SMALL_SWIN)],
)
def test_maps_have_the_widths_at_the_strides(name: str, options: dict[str, object]) -> None:
    encoder = VisionEncoder(
        name, [8, 16, 24, 32], weights=None, image_size=64, coordinates=True, options=options
    )
    maps = encoder(torch.randn(2, 3, 64, 96))
    assert [stage.shape for stage in maps] == [(2, 8, 16, 24), (2, 16, 8, 12), (2, 24, 4, 6), (2, 32, 2, 3)]
    assert len(encoder.mean) == len(encoder.std) == 3


def saved(path: Path, name: str, **options: object) -> dict[str, torch.Tensor]:
    """Save a whole model of timm, with its classifier, as the Hub has it; return its weights."""
    model = timm.create_model(name, pretrained=False, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    save_model(model, str(path))
    return dict(model.state_dict())


def test_a_backbone_starts_from_the_file(tmp_path: Path) -> None:
    small = {"channels": [8, 8, 8, 8]}
    state = saved(tmp_path / "vision.safetensors", "resnet10t", **small)
    torch.manual_seed(0)
    backbone = build("resnet10t", tmp_path / "vision.safetensors", **small)
    drawn = torch.rand(())
    started = backbone.state_dict()
    assert started
    assert all(torch.equal(tensor, state[key]) for key, tensor in started.items())
    torch.manual_seed(0)
    build("resnet10t", **small)
    assert drawn == torch.rand(())  # nothing more was drawn from the seed than without a file


def test_a_swin_of_another_grid_starts_from_the_file(tmp_path: Path) -> None:
    """Windows that do not fit into the smaller grid are cut, and their tables of positions resized."""
    name, small = "swin_tiny_patch4_window7_224", SMALL_SWIN | {"window_size": 4}
    state = saved(tmp_path / "vision.safetensors", name, **small)
    backbone = build(name, tmp_path / "vision.safetensors", **small)
    resized = []
    for key, tensor in backbone.state_dict().items():
        origin = state[key.replace("layers_", "layers.")]
        if tensor.shape != origin.shape:
            resized.append(key)
            window = backbone.get_submodule(key.removesuffix(".relative_position_bias_table")).window_size
            origin = resize_rel_pos_bias_table(origin, window, tensor.shape)
        assert torch.equal(tensor, origin), key
    assert resized
    assert all(key.endswith("relative_position_bias_table") for key in resized)


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    """timm ignores what the file lacks, and would leave the backbone random."""
    saved(tmp_path / "vision.safetensors", "resnet10t", channels=[8, 8, 8, 8])
    with pytest.raises(UserError, match=r"vision.backbone=swin_tiny\S+ cannot be built .* Missing") as caught:
        build("swin_tiny_patch4_window7_224", tmp_path / "vision.safetensors", **SMALL_SWIN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "key"),
    [
        ("resnet10t", {"channels": [8, 8, 8, 8]}, "layer4.0.bn1.bias"),  # starts as 0, whatever the seed
        ("resnet10t", {"channels": [8, 8, 8, 8]}, "layer1.0.bn1.running_mean"),
        ("swin_tiny_patch4_window7_224", SMALL_SWIN, "layers.2.downsample.norm.weight"),
        ("swin_tiny_patch4_window7_224", SMALL_SWIN, "layers.3.blocks.0.attn.relative_position_bias_table"),
    ],
)
@pytest.mark.parametrize("fault", ["Missing", "Unexpected"])
def test_a_key_too_few_or_too_many_is_named(
    tmp_path: Path, name: str, options: dict[str, object], key: str, fault: str
) -> None:
    path = tmp_path / "vision.safetensors"
    state = saved(path, name, **options)
    if fault == "Missing":
        del state[key]
    else:
        key = f"{key}_again"
        state[key] = torch.zeros(3)
    save_file(state, path)
    with pytest.raises(UserError, match=rf'{fault} key\(s\) in state_dict: "{key}"') as caught:
        build(name, path, **options)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_timm_itself_would_leave_random_is_refused(tmp_path: Path) -> None:
    """For a few architectures it ignores missing keys, even in the whole model."""
    path = tmp_path / "vision.safetensors"
    state = saved(path, "dla46x_c")
    assert build("dla46x_c", path)
    del state["level5.tree1.conv1.weight"]
    save_file(state, path)
    with pytest.raises(UserError, match=r"is missing 1 parameters .*\(e\.g\. level5\.tree1\.conv1\.weight\)"):
        build("dla46x_c", path)


@pytest.mark.parametrize("name", ["convnext_atto", "mvitv2_tiny"])
def test_backbones_of_other_names_start_from_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "vision.safetensors"
    loaded = saved(path, name)
    for key, parameter in build(name, path).named_parameters():
        of_whole = key.removeprefix("model.").replace("stages_", "stages.").replace("stem_", "stem.")
        assert torch.equal(parameter, loaded[of_whole]), key


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (None, {}),
        (b"", {}),
        (b"\x10\0\0\0\0\0\0\0not tensors at all", {}),
        (None, {"channels": [8, 8, 8, 16]}),
    ],
    ids=["missing", "empty", "no safetensors", "other widths"],
)
def test_a_file_that_does_not_fit_is_named_in_one_line(
    tmp_path: Path, content: bytes | None, options: dict[str, object]
) -> None:
    path = tmp_path / "vision.safetensors"
    if options:
        saved(path, "resnet10t", **options)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"vision\.backbone=resnet10t cannot be built from ") as caught:
        build("resnet10t", path, channels=[8, 8, 8, 8])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


SWIN = {"embed_dim": 8, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 2, 2], "window_size": 4}


def build_swin() -> VisionEncoder:
    torch.manual_seed(0)
    return VisionEncoder(
        "swin_tiny_patch4_window7_224",
        [8, 8, 8, 8],
        weights=None,
        image_size=64,
        coordinates=False,
        options=SWIN,
    )


def test_swin_s_fused_attention_and_kept_masks_change_no_value() -> None:
    encoder = build_swin().double()
    for name, parameter in encoder.named_parameters():
        if name.endswith("relative_position_bias_table"):
            nn.init.normal_(parameter)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    found = encoder(images)
    assert any(block.attn_mask is not None for block in encoder.windows)
    for block in encoder.windows:
        assert block.attn.fused_attn
        block.attn.fused_attn = False
        block.dynamic_mask = True
    for fused, plain in zip(found, encoder(images), strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-12, atol=1e-12)


def test_swin_takes_other_sizes_in_between() -> None:
    encoder = build_swin().eval()
    images, larger = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 96, 128)
    first = encoder(images)
    assert encoder(larger)[0].shape[-2:] == (24, 32)
    for before, after in zip(first, encoder(images), strict=True):
        assert torch.equal(before, after)
