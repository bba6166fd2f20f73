"""What tests of all folders share."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faulty_server import FaultyServer
from hypothesis import settings
from tiny_refer import TinyRefer

from s2rm.config.load import load_params
from s2rm.config.params import Params, Preprocess, RefShapes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from s2rm.model.s2rm import S2RM

ROOT = Path(__file__).parents[1]
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, and the tested processes inherit that
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tensors of tests are too small to be shared out
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when kernels are defined

settings.register_profile("repeatable", derandomize=True, deadline=None)  # the same examples in every run
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The pipeline's tests take minutes: they go first, and another worker does the rest meanwhile."""
    items.sort(key=lambda item: item.path.parent.name != "pipeline")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder with genuine REFER data, by $S2RM_REAL_DATA."""
    folder = os.environ.get("S2RM_REAL_DATA")
    if not folder:
        pytest.skip("S2RM_REAL_DATA is not set: it names a folder with real REFER data")
    return Path(folder)


# Nothing that the tests of model and training rest upon is left to params.yaml's present defaults.
TINY = (
    "vision.backbone=resnet10t",
    "vision.pretrained=false",
    "vision.options={channels: [8, 8, 8, 8]}",
    "vision.image_size=64",
    "vision.coordinates=true",
    "language.pretrained=null",
    "language.tokens=12",
    "language.vocabulary=100",
    "language.hidden=16",
    "language.layers=1",
    "language.heads=2",
    "language.dropout=0.0",
    "fusion.kind=s2rm",
    "fusion.widths=[8, 8, 16, 8]",
    "fusion.stages=[1, 2, 3, 4]",
    "fusion.distribution=attention",
    "fusion.query=sentence",
    "fusion.affinity=sigmoid",
    "fusion.refine=true",
    "fusion.coordinates=false",
    "fusion.coparsing=both",
    "fusion.rotations=4",
    "fusion.state=generator",
    "fusion.recurrence=scan",
    "fusion.slice_kernel=3",
    "fusion.balancing=true",
    "fusion.cascade=none",
    "decoder.kind=casg",
    "decoder.width=8",
    "decoder.language_guidance=true",
    "decoder.foreground_guidance=true",
    "loss={bce: 1.0, dice: 1.0, auxiliary: 0.4}",
    "train.seed=1",
    "train.device=cpu",
    "train.precision=float32",
    "train.compile=false",
    "train.epochs=2",
    "train.drop_evaluated=false",
    "train.expressions_per_batch=32",
    "train.expressions_per_image=4",
    "train.accumulation=1",
    "train.learning_rate=0.001",
    "train.vision_rate=1.0",
    "train.language_rate=1.0",
    "train.ema=0",
    "train.warmup=0.05",
    "train.validate_every=1",
    "train.select_by=mIoU",
    "train.workers=0",
    "train.activation_checkpointing=none",
    "train.deterministic=true",
    "train.save_minutes=0",
    "train.log_every=1",
)


@pytest.fixture(scope="session")
def tiny_params() -> Callable[..., Params]:
    """params.yaml with everything as small as it goes; takes further overrides."""
    return lambda *overrides: load_params(ROOT / "params.yaml", [*TINY, *overrides])


@pytest.fixture(scope="session")
def tiny_tokenizer() -> "PreTrainedTokenizerBase":
    from s2rm.data.tokenizer import build_tokenizer

    words = ["the red circle", "a blue square on the left", "the second star from the right"]
    return build_tokenizer(words * 2, load_params(ROOT / "params.yaml", TINY).language)


@pytest.fixture(scope="session")
def build_tiny(
    tiny_params: Callable[..., Params], tiny_tokenizer: "PreTrainedTokenizerBase"
) -> Callable[..., "S2RM"]:
    """A tiny model of the given overrides, in float64 and evaluation mode, none of its weights zero."""

    def build(*overrides: str) -> "S2RM":
        import torch

        from s2rm.model.create import create_for_training

        torch.manual_seed(3)
        model = create_for_training(tiny_params(*overrides), tiny_tokenizer).double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        return model

    return build


@dataclass(frozen=True)
class TinyData:
    """RefShapes of a few images, written and prepared."""

    raw: Path
    prepared: Path


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    from s2rm.refer.prepare import prepare
    from s2rm.refshapes import write_refshapes

    root = tmp_path_factory.mktemp("tiny")
    data = TinyData(root / "raw", root / "prepared")
    names = ["refcoco_unc", "referit_berkeley"]
    write_refshapes(
        RefShapes(seed=7, train_images=8, eval_images=3, structured_train_images=8, structured_eval_images=3),
        names,
        data.raw,
        progress=False,
    )
    for name in names:
        prepare(
            name, data.raw, data.prepared, Preprocess(sentence="sent", faults="repair", statistics="refuse")
        )
    return data


@pytest.fixture
def tiny_refer(tmp_path: Path) -> TinyRefer:
    return TinyRefer(tmp_path / "raw")


@pytest.fixture
def faulty_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """Serves `tmp_path/served`; whatever proxy the machine uses is out of the way."""
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)
    folder = tmp_path / "served"
    folder.mkdir()
    with FaultyServer(folder) as server:
        yield server
