"""Which trainings are the same, and what the log says of those that are not."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import scratch
import training_key
from scratch import locked, mark_finished
from training_key import Parts, describe_training, find_scratch, open_scratch

from s2rm.config.params import Params, Run

ROOT = Path(__file__).parents[2]
RUN = Run(train_on=["refcoco_unc"], evaluate_on=["refcoco_unc"])


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    for name in ("refcoco_unc", "referit_berkeley"):
        (tmp_path / f"{name}.parquet").write_bytes(name.encode())
    return tmp_path


@pytest.fixture
def describe(
    tiny_params: Callable[..., Params], prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Parts]:
    """The parts of a training with overrides; its code is counted only where a test is about code."""
    monkeypatch.setattr(training_key, "digest_scripts", lambda root, scripts: {name: {} for name in scripts})

    def describe(*overrides: str, run: Run = RUN) -> Parts:
        return describe_training(tiny_params(*overrides), run, prepared, prepared)

    return describe


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
def test_another_training(describe: Callable[..., Parts], override: str) -> None:
    assert find_scratch(describe(override)) != find_scratch(describe())


@pytest.mark.parametrize(
    "override",
    [
        *("evaluate.threshold=0.4", "evaluate.images_per_batch=3", "report.decimals=1"),
        "tracking.enabled=false",
        # What the messages about memory and loader processes advise to change, and others of the machine.
        *("train.workers=3", "train.activation_checkpointing=all", "train.device=auto"),
        *("train.save_minutes=7", "train.log_every=7", "evaluate.workers=3"),
    ],
)
def test_the_same_training(describe: Callable[..., Parts], override: str) -> None:
    assert find_scratch(describe(override)) == find_scratch(describe())


def test_the_data_counts_but_only_what_is_trained_on(describe: Callable[..., Parts], prepared: Path) -> None:
    before = find_scratch(describe())
    evaluated_elsewhere = Run(train_on=["refcoco_unc"], evaluate_on=["referit_berkeley"])
    assert find_scratch(describe(run=evaluated_elsewhere)) == before
    both = Run(train_on=["refcoco_unc", "referit_berkeley"], evaluate_on=["refcoco_unc"])
    joint = find_scratch(describe(run=both))
    assert joint != before
    (prepared / "refcocog_umd.parquet").write_bytes(b"its evaluation splits say what is dropped")
    assert find_scratch(describe(run=both)) != joint
    (prepared / "referit_berkeley.parquet").write_bytes(b"other")
    assert find_scratch(describe()) == before
    (prepared / "refcoco_unc.parquet").write_bytes(b"other")
    assert find_scratch(describe()) != before


def test_other_pretrained_weights_are_another_training(
    describe: Callable[..., Parts], prepared: Path
) -> None:
    before = find_scratch(describe())
    (prepared / "weights.json").write_text('{"vision": {"revision": "other"}}')
    assert find_scratch(describe()) != before


def test_another_version_of_torch_is_another_training(
    describe: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = find_scratch(describe())
    monkeypatch.setattr(training_key.torch, "__version__", "1.0")
    assert find_scratch(describe()) != before


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """An empty .scratch/."""
    folder = tmp_path / ".scratch"
    for module in (scratch, training_key):
        monkeypatch.setattr(module, "SCRATCH", folder)
    monkeypatch.setattr(training_key, "ROOT", tmp_path)
    caplog.set_level(logging.INFO)
    return folder


def stop(name: str, parts: Parts) -> Path:
    """A training that was stopped after it had saved a state."""
    folder = open_scratch(name, parts)
    (folder / "state.pt").write_bytes(b"state")
    return folder


def test_the_code_counts_but_not_its_comments(
    tiny_params: Callable[..., Params],
    prepared: Path,
    states: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    checkout = tmp_path / "checkout"
    for name in ("src", "pipeline"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(training_key, "CHECKOUT", checkout)

    def find() -> Path:
        return open_scratch("joint", describe_training(tiny_params(), RUN, prepared, prepared))

    before = stop("joint", describe_training(tiny_params(), RUN, prepared, prepared))
    other = checkout / "src/s2rm/reporting/pages/page.py"
    other.write_text(other.read_text() + "_broken = 1\n")
    module = checkout / "src/s2rm/model/fusion/coparse.py"
    module.write_text(module.read_text() + "# a comment\n")
    assert find() == before
    assert not caplog.messages
    module.write_text(module.read_text() + "_broken = 1\n")
    assert find() != before
    assert caplog.messages == [
        f"the training of joint starts over: since its unfinished state in .scratch/{before.name}, these "
        "changed: code (s2rm.model.fusion.coparse)"
    ]


def test_the_log_names_what_changed(
    describe: Callable[..., Parts], prepared: Path, states: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older = stop("joint", describe())
    os.utime(older, (1, 1))
    latest = stop("joint", describe("train.seed=5"))
    caplog.clear()
    (prepared / "refcoco_unc.parquet").write_bytes(b"other")
    open_scratch("joint", describe("train.seed=6", "fusion.balancing=false"))
    (message,) = caplog.messages
    assert f".scratch/{latest.name}, " in message
    assert message.endswith(
        "these changed: fusion.balancing (true, now false); train.seed (5, now 6); data (refcoco_unc.parquet)"
    )


def test_states_that_say_nothing_about_this_training(
    describe: Callable[..., Parts],
    states: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another run's, a finished one, one that has saved nothing, one that is running, one without a key."""
    stop("other", describe("train.seed=2"))
    (tmp_path / "history.jsonl").write_text("{}\n")
    mark_finished(stop("joint", describe("train.seed=3")), tmp_path)
    open_scratch("joint", describe("train.seed=4"))
    (stop("joint", describe("train.seed=5")) / "key.json").unlink()
    running = stop("joint", describe("train.seed=6"))
    caplog.clear()
    with locked(running):
        open_scratch("joint", describe())
    assert not caplog.messages


def test_a_training_that_continues_has_nothing_to_say(
    describe: Callable[..., Parts], states: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stop("joint", describe("train.seed=2"))
    folder = stop("joint", describe())
    caplog.clear()
    assert open_scratch("joint", describe()) == folder
    assert not caplog.messages
    assert json.loads((folder / "key.json").read_text()) == {"run": "joint", **describe()}
