"""Which trainings are the same."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import s2rm
from s2rm.config.params import Params, Run
from s2rm.training.fingerprint import fingerprint

RUN = Run(train_on=["refcoco_unc"], evaluate_on=["refcoco_unc"])


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    for name in ("refcoco_unc", "referit_berkeley"):
        (tmp_path / f"{name}.parquet").write_bytes(name.encode())
    return tmp_path


@pytest.mark.parametrize(
    "override",
    [
        "vision.coordinates=false",
        "language.layers=2",
        "fusion.balancing=false",
        "decoder.kind=fpn",
        "loss.dice=0.5",
        "train.seed=5",
        "train.epochs=77",
    ],
)
def test_another_training(tiny_params: Callable[..., Params], prepared: Path, override: str) -> None:
    assert fingerprint(tiny_params(override), RUN, prepared, prepared) != fingerprint(
        tiny_params(), RUN, prepared, prepared
    )


@pytest.mark.parametrize(
    "override",
    ["evaluate.threshold=0.4", "evaluate.images_per_batch=3", "report.decimals=1", "tracking.enabled=false"],
)
def test_the_same_training(tiny_params: Callable[..., Params], prepared: Path, override: str) -> None:
    assert fingerprint(tiny_params(override), RUN, prepared, prepared) == fingerprint(
        tiny_params(), RUN, prepared, prepared
    )


def test_the_data_counts_but_only_what_is_trained_on(
    tiny_params: Callable[..., Params], prepared: Path
) -> None:
    params = tiny_params()
    before = fingerprint(params, RUN, prepared, prepared)
    evaluated_elsewhere = Run(train_on=["refcoco_unc"], evaluate_on=["referit_berkeley"])
    assert fingerprint(params, evaluated_elsewhere, prepared, prepared) == before
    both = Run(train_on=["refcoco_unc", "referit_berkeley"], evaluate_on=["refcoco_unc"])
    joint = fingerprint(params, both, prepared, prepared)
    assert joint != before
    (prepared / "refcocog_umd.parquet").write_bytes(b"its evaluation splits say what is dropped")
    assert fingerprint(params, both, prepared, prepared) != joint
    (prepared / "referit_berkeley.parquet").write_bytes(b"other")
    assert fingerprint(params, RUN, prepared, prepared) == before
    (prepared / "refcoco_unc.parquet").write_bytes(b"other")
    assert fingerprint(params, RUN, prepared, prepared) != before


def test_other_pretrained_weights_are_another_training(
    tiny_params: Callable[..., Params], prepared: Path
) -> None:
    before = fingerprint(tiny_params(), RUN, prepared, prepared)
    (prepared / "weights.json").write_text('{"vision": {"revision": "other"}}')
    assert fingerprint(tiny_params(), RUN, prepared, prepared) != before


def test_the_code_counts(
    tiny_params: Callable[..., Params], prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(tiny_params(), RUN, prepared, prepared)
    package = tmp_path / "copy"
    shutil.copytree(Path(s2rm.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(s2rm, "__file__", str(package / "__init__.py"))
    assert fingerprint(tiny_params(), RUN, prepared, prepared) == before
    module = package / "model" / "fusion" / "coparse.py"
    module.write_text(module.read_text() + "\n")
    assert fingerprint(tiny_params(), RUN, prepared, prepared) != before
