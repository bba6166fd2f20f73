"""The paper's model at its full size: it trains within a machine's memory, and its encoders load."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resize_rel_pos_bias_table
from transformers import BertConfig, BertForPreTraining

from s2rm.config.load import load_params
from s2rm.core.errors import UserError
from s2rm.model.encoders.backbone import build_backbone
from s2rm.model.encoders.text_encoders import build_text_model, pretrained_config
from s2rm.model.profile import describe

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "presets/paper.yaml"
GIGABYTE = 10**9
SWIN_B = 170e9  # FLOPs of one image of 480×480, without the projections of its maps

# Each value of each switch at least once; one at a time at a tiny scale in test_7_switches.py.
VARIANTS = [
    (),
    ("fusion.recurrence=gru", "fusion.cascade=bottom_up", "fusion.slice_kernel=5"),  # needs the most
    ("fusion.state=match",),
    ("fusion.kind=pwam", "fusion.query=word", "decoder.kind=fpn"),
    ("fusion.kind=concat", "loss.auxiliary=0.0"),
    ("fusion.kind=none", "vision.coordinates=false"),
    ("fusion.coparsing=language_to_vision", "fusion.rotations=2", "decoder.language_guidance=false"),
    ("fusion.coparsing=vision_to_language", "fusion.rotations=1", "fusion.balancing=false",
     "fusion.distribution=tile", "decoder.foreground_guidance=false"),
    ("fusion.coparsing=none", "fusion.stages=[3, 4]"),
]  # fmt: skip

STEP = """
import json, resource, sys
import torch
from s2rm.model.create import create_untrained
from s2rm.config.load import load_params
from s2rm.training.loss import segmentation_loss

path, *overrides = sys.argv[1:]
params = load_params(path, overrides)
torch.manual_seed(0)
model = create_untrained(params).train()
size, tokens = params.vision.image_size, params.language.tokens
ids = torch.randint(1000, params.language.vocabulary, (1, tokens))
masks = model(torch.randn(1, 3, size, size), ids, torch.ones_like(ids), torch.tensor([0]))
loss = segmentation_loss(masks, torch.rand(1, 1, size, size) > 0.9, params.loss)["loss"]
loss.backward()
gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
print(json.dumps({
    "loss": loss.item(),
    "without": [name for name, each in gradients.items() if each is None or not each.isfinite().all()],
    "bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
}))
"""


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("overrides", VARIANTS, ids=lambda value: "-".join(value) or "full")
def test_every_variant_trains_within_12_gigabytes(overrides: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STEP, str(PAPER), *overrides],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(f"{' '.join(overrides) or 'full'}: {found['bytes'] / GIGABYTE:.2f} GB")
    assert torch.isfinite(torch.tensor(found["loss"]))
    assert not found["without"]
    assert found["bytes"] <= 12 * GIGABYTE


@pytest.mark.slow
@pytest.mark.long
def test_fusion_and_decoder_cost_little_beside_the_encoders() -> None:
    parts = describe(load_params(PAPER))
    ours = sum(part.parameters for name, part in parts.items() if name not in ("vision", "language", "total"))
    assert 5e6 < ours <= 25e6
    assert 0 < parts["total"].flops_expression <= 0.2 * SWIN_B


@pytest.mark.slow
@pytest.mark.long
def test_swin_b_starts_from_the_published_layout(tmp_path: Path) -> None:
    """The file holds the whole model for 384×384 with its 21,841 classes; the backbone is for 480×480."""
    vision = load_params(PAPER).vision
    path = tmp_path / "vision.safetensors"
    whole = timm.create_model(vision.backbone, pretrained=False)
    assert whole.patch_embed.img_size == (384, 384)
    state = {
        key: tensor + 0.01 * torch.randn_like(tensor)  # no norm or bias stays as it is initialised
        for key, tensor in whole.state_dict().items()
    }
    assert {"head.fc.weight", "norm.weight"} < state.keys()
    assert sum(tensor.numel() for tensor in state.values()) == sum(p.numel() for p in whole.parameters())
    save_file(state, path, metadata={"format": "pt"})

    def build(image_size: int) -> torch.nn.Module:
        return build_backbone(vision.backbone, weights=path, image_size=image_size, options={})

    left_out = {key for key in state if key.startswith(("head.", "norm."))}
    for image_size, smaller_windows in ((vision.image_size, 0), (320, 2)):
        backbone, resized = build(image_size), 0
        started = backbone.state_dict()
        assert {key.replace("layers_", "layers.") for key in started} == state.keys() - left_out
        for key, tensor in started.items():
            origin = state[key.replace("layers_", "layers.")]
            if tensor.shape != origin.shape:
                attention = backbone.get_submodule(key.removesuffix(".relative_position_bias_table"))
                origin = resize_rel_pos_bias_table(origin, attention.window_size, tensor.shape)
                resized += 1
            assert torch.equal(tensor, origin), key
        assert resized == smaller_windows  # the last stage's 10×10 grid holds no window of 12

    save_file(state | {"layers.4.extra.weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match=r'Unexpected key\(s\) in state_dict: "layers.4.extra.weight"'):
        build(vision.image_size)


@pytest.mark.slow
@pytest.mark.long
def test_bert_base_starts_from_the_published_layout(tmp_path: Path) -> None:
    """As bert-base-uncased: 110,106,428 numbers, which include its pooler and heads."""
    config = BertConfig()
    state = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): (
            tensor + 0.01 * torch.randn_like(tensor)
        )
        for name, tensor in BertForPreTraining(config).state_dict().items()
        if not name.startswith("cls.predictions.decoder.")  # tied to others
    }
    assert sum(tensor.numel() for tensor in state.values()) == 110_106_428
    config.save_pretrained(tmp_path)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    started = build_text_model(pretrained_config(tmp_path), tmp_path).state_dict()
    left_out = {name for name in state if name.startswith(("cls.", "bert.pooler."))}
    expected = {
        name.removeprefix("bert.").replace(".gamma", ".weight").replace(".beta", ".bias"): state[name]
        for name in state.keys() - left_out
    }
    assert started.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in started.items())
