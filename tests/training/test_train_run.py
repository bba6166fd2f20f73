"""Whole trainings of a tiny model on a few images."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from accelerate.state import AcceleratorState
from apart import damp_rounding
from safetensors.torch import load_file

from s2rm.config.params import Params, Run
from s2rm.core.errors import UserError
from s2rm.data.dataset import ExpressionDataset
from s2rm.data.processor import Processor
from s2rm.data.rows import Rows
from s2rm.data.samplers import GroupedBatchSampler
from s2rm.data.table import SCHEMA, load_table
from s2rm.model.s2rm import S2RM
from s2rm.training import epoch, loop
from s2rm.training.checkpoint import Progress

TinyParams = Callable[..., Params]
RUN = Run(train_on=["refcoco_unc", "referit_berkeley"], evaluate_on=["refcoco_unc"])
SHORT = ("train.epochs=2", "language.dropout=0.2")  # dropout, so that the random state matters


@dataclass
class Training:
    """Calls train_run, once or several times, in one folder."""

    folder: Path
    data: Any  # conftest.TinyData
    logged: list[tuple[dict[str, float], int]] = field(default_factory=list)

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.logged.append((metrics, step))

    def run(
        self, params: Params, run: Run = RUN, prepared: Path | None = None, *, logged: bool = True
    ) -> Progress:
        return loop.train_run(
            params,
            run,
            prepared=prepared or self.data.prepared,
            raw=self.data.raw,
            weights=self.folder / "weights",  # none: nothing is pretrained
            output=self.folder / "model",
            scratch=self.folder / "scratch",
            **({"log": self.log} if logged else {}),
        )

    @property
    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.folder / "model").iterdir())}


@pytest.fixture
def training(tmp_path: Path, tiny_data: Any) -> Training:
    return Training(tmp_path, tiny_data)


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_data: Any,
    tiny_params: TinyParams,
) -> Training:
    """A training of two epochs, never interrupted."""
    training = Training(tmp_path_factory.mktemp("whole"), tiny_data)
    training.run(tiny_params(*SHORT))
    return training


def expressions(training: Training, split: str) -> int:
    return sum(
        (load_table(training.data.prepared / f"{n}.parquet")["split"] == split).sum() for n in RUN.train_on
    )


def test_what_a_training_leaves(whole: Training, tiny_params: TinyParams) -> None:
    output = whole.folder / "model"
    assert {"config.json", "model.safetensors", "processor_config.json", "history.jsonl"} <= set(whole.files)
    model = S2RM.from_pretrained(output)
    assert model.config.fusion == tiny_params(*SHORT).fusion
    token_ids = Processor.from_pretrained(output).pad([[2, 5, 6, 3]])[0]
    masks = model(torch.zeros(1, 3, 64, 64), token_ids, torch.ones_like(token_ids), torch.tensor([0]))
    assert torch.isfinite(masks.logits).all()
    history = [json.loads(line) for line in whole.files["history.jsonl"].splitlines()]
    steps = -(-expressions(whole, "train") // 32)
    assert [(record["epoch"], record["step"]) for record in history] == [(1, steps), (2, 2 * steps)]
    for record in history:
        for metric in ("oIoU", "mIoU"):
            values = [record[f"val/{name}/{metric}"] for name in RUN.train_on]
            assert record[f"val/mean/{metric}"] == pytest.approx(sum(values) / 2, abs=1e-3)


def test_what_is_logged(whole: Training) -> None:
    steps = 2 * -(-expressions(whole, "train") // 32)
    training = [(metrics, step) for metrics, step in whole.logged if "train/loss" in metrics]
    assert [step for _, step in training] == list(range(1, steps + 1))
    for metrics, _ in training:
        assert set(metrics) >= {"train/mask", "train/auxiliary", "train/learning_rate"}
        assert metrics["train/loss"] == pytest.approx(
            metrics["train/mask"] + 0.4 * metrics["train/auxiliary"], rel=1e-4
        )
    assert [step for metrics, step in whole.logged if "val/mean/mIoU" in metrics] == [steps // 2, steps]


def test_the_same_seed_gives_the_same_files(
    whole: Training, training: Training, tiny_params: TinyParams
) -> None:
    torch.rand(7)  # numbers drawn before must not matter
    training.run(tiny_params(*SHORT), logged=False)  # nor does it matter whether it is logged
    assert not training.logged
    assert training.files == whole.files


def test_another_seed_gives_other_weights(
    whole: Training, training: Training, tiny_params: TinyParams
) -> None:
    training.run(tiny_params(*SHORT, "train.seed=2", "train.epochs=1"))
    assert training.files["model.safetensors"] != whole.files["model.safetensors"]


def test_epochs_see_every_expression_in_another_order(
    training: Training, tiny_params: TinyParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    original = GroupedBatchSampler.__iter__

    def spy(self: GroupedBatchSampler):  # type: ignore[no-untyped-def]
        batches = list(original(self))
        seen.append([row for batch in batches for group in batch for row in group])
        return iter(batches)

    monkeypatch.setattr(GroupedBatchSampler, "__iter__", spy)
    training.run(tiny_params(*SHORT))
    assert len(seen) == 2
    assert seen[0] != seen[1]
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(expressions(training, "train")))


def test_only_training_expressions_are_trained_on(
    training: Training, tiny_params: TinyParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []  # in the order of reading: training, then validation
    original = ExpressionDataset.__init__

    def spy(self: ExpressionDataset, rows: Rows, *args: Any, **kwargs: Any) -> None:
        read.append(list(rows.expressions))
        original(self, rows, *args, **kwargs)

    monkeypatch.setattr(ExpressionDataset, "__init__", spy)
    training.run(tiny_params(*SHORT, "train.epochs=1"))
    tables = [load_table(training.data.prepared / f"{name}.parquet") for name in RUN.train_on]
    train, *val = (
        [text for table in some for text in table[table["split"] == split]["expression"]]
        for split, some in (("train", tables), *(("val", [table]) for table in tables))
    )
    assert read == [train, *val]


def test_the_loss_falls_on_a_handful_of_images(training: Training, tiny_params: TinyParams) -> None:
    params = tiny_params(
        "train.epochs=12",
        "train.validate_every=12",
        "train.expressions_per_batch=16",
        "train.learning_rate=0.01",
    )
    training.run(params, Run(train_on=["refcoco_unc"], evaluate_on=["refcoco_unc"]))
    losses = [metrics["train/loss"] for metrics, _ in training.logged if "train/loss" in metrics]
    tenth = len(losses) // 10
    assert sum(losses[-tenth:]) < 0.7 * sum(losses[:tenth])


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("train.with_val=[]", 1),
        ("train.with_val=[refcoco_unc]", 1),  # the other benchmark selects
        ("train.with_val=[refcoco_unc, referit_berkeley]", 2),  # nothing does: the last
    ],
)
def test_the_best_validation_is_kept(
    training: Training,
    tiny_params: TinyParams,
    monkeypatch: pytest.MonkeyPatch,
    override: str,
    kept: int,
) -> None:
    """The best one is selected by the metric that train.select_by names."""
    scores = [(10.0, 50.0), (30.0, 40.0), (20.0, 60.0)]
    values = iter(scores)
    weights: list[dict[str, torch.Tensor]] = []

    def validate(model: S2RM, *args: object) -> dict[str, float]:
        weights.append({name: value.clone() for name, value in model.state_dict().items()})
        oiou, miou = next(values)
        return {"val/mean/oIoU": oiou, "val/mean/mIoU": miou}

    monkeypatch.setattr(loop, "validate", validate)
    progress = training.run(tiny_params(*SHORT, "train.epochs=3", "train.select_by=oIoU", override))
    assert progress.best == scores[kept][0]
    saved = load_file(training.folder / "model" / "model.safetensors")
    key = "decoder.mask.0.weight"
    assert torch.equal(saved[key], weights[kept][key])
    assert not torch.equal(saved[key], weights[0][key])


def test_accumulated_batches_are_one_step(training: Training, tiny_params: TinyParams) -> None:
    batches = -(-expressions(training, "train") // 32)
    progress = training.run(tiny_params(*SHORT, "train.epochs=1", "train.accumulation=2"))
    assert progress.step == -(-batches // 2)
    rates = [metrics["train/learning_rate"] for metrics, _ in training.logged if "train/loss" in metrics]
    assert rates[-1] == 0  # the schedule ends with the last step


def test_gradients_are_clipped_at_every_step(
    training: Training, tiny_params: TinyParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    clipped: list[float] = []
    original = loop.Accelerator.clip_grad_norm_

    def spy(self: object, parameters: object, largest: float) -> object:
        clipped.append(largest)
        return original(self, parameters, largest)

    monkeypatch.setattr(loop.Accelerator, "clip_grad_norm_", spy)
    progress = training.run(tiny_params(*SHORT, "train.epochs=1", "train.clip=0.25", "train.accumulation=2"))
    assert clipped == [0.25] * progress.step


def test_a_loss_that_is_not_a_number_stops_with_advice(
    training: Training, tiny_params: TinyParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = epoch.segmentation_loss

    def broken(*args: object) -> dict[str, torch.Tensor]:
        return {name: value * float("nan") for name, value in original(*args).items()}

    monkeypatch.setattr(epoch, "segmentation_loss", broken)
    with pytest.raises(UserError, match=r"the gradient was not finite.*train\.learning_rate"):
        training.run(tiny_params(*SHORT))
    assert not (training.folder / "model").exists()


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(
    training: Training, tiny_params: TinyParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step after a broken one starts from the weights that the broken one started from."""
    step, loss = epoch.EpochLoop._step, epoch.segmentation_loss
    weights: list[torch.Tensor] = []

    def spy(self: epoch.EpochLoop, batch: Any) -> dict[str, torch.Tensor]:
        weights.append(torch.cat([p.detach().flatten() for p in self.model.parameters()]))
        return step(self, batch)

    def broken(*args: Any) -> dict[str, torch.Tensor]:
        factor = float("nan") if len(weights) == 3 else 1.0
        return {name: value * factor for name, value in loss(*args).items()}

    monkeypatch.setattr(epoch.EpochLoop, "_step", spy)
    monkeypatch.setattr(epoch, "segmentation_loss", broken)
    progress = training.run(tiny_params(*SHORT, "train.accumulation=1"))
    assert not torch.equal(weights[1], weights[2])
    assert torch.equal(weights[2], weights[3])
    assert not torch.equal(weights[3], weights[4])
    assert progress.skips == [1.0, 0.0]
    assert all(math.isfinite(record["train/loss"]) for record in progress.history)


def test_the_average_of_the_weights_is_validated_and_kept(
    training: Training, tiny_params: TinyParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    decay, weights, scored = 0.7, [], []
    step, validate = epoch.EpochLoop._step, loop.validate

    def spy(self: epoch.EpochLoop, batch: Any) -> dict[str, torch.Tensor]:
        found = step(self, batch)
        weights.append(self.model.decoder.mask[0].weight.detach().clone())
        return found

    def note(model: S2RM, *args: Any) -> dict[str, float]:
        scored.append(model.decoder.get_parameter("mask.0.weight").detach().clone())
        return validate(model, *args)

    monkeypatch.setattr(epoch.EpochLoop, "_step", spy)
    monkeypatch.setattr(loop, "validate", note)
    training.run(tiny_params(*SHORT, "train.epochs=1", f"train.ema={decay}"))
    average = weights[0]
    for weight in weights[1:]:
        average = decay * average + (1 - decay) * weight
    saved = load_file(training.folder / "model" / "model.safetensors")["decoder.mask.0.weight"]
    torch.testing.assert_close(saved, average)
    assert torch.equal(scored[-1], saved)
    assert not torch.allclose(saved, weights[-1])


@pytest.mark.slow
@pytest.mark.parametrize("extra", [["train.ema=0.9"], ["train.image_masking=0.5", "train.text_masking=0.2"]])
def test_an_averaged_or_masked_training_resumes_to_the_same_bits(
    training: Training,
    tiny_params: TinyParams,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    extra: list[str],
) -> None:
    settings = (*SHORT, *extra)
    training.run(tiny_params(*settings))
    expected = load_file(training.folder / "model" / "model.safetensors")
    other = Training(tmp_path / "other", training.data)
    other.folder.mkdir()
    step, count = epoch.EpochLoop._step, [0]

    def broken(self: epoch.EpochLoop, batch: Any) -> dict[str, torch.Tensor]:
        count[0] += 1
        if count[0] == 5:
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(epoch.EpochLoop, "_step", broken)
        with pytest.raises(KeyboardInterrupt):
            other.run(tiny_params(*settings))
    other.run(tiny_params(*settings))
    found = load_file(other.folder / "model" / "model.safetensors")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.slow
def test_a_compiled_training_has_the_same_losses(
    training: Training, tiny_params: TinyParams, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By dynamo and autograd's tracing, which decide what is in the graph; not by inductor's kernels."""
    settings = ("train.epochs=7", "train.validate_every=7")
    monkeypatch.setattr(loop, "build_optimiser", damp_rounding)
    training.run(tiny_params(*settings))
    monkeypatch.setattr(loop, "COMPILER", "aot_eager")
    other = Training(tmp_path / "other", training.data)
    other.folder.mkdir()
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    AcceleratorState._reset_state(reset_partial_state=True)  # shared by a process's accelerators
    try:
        other.run(tiny_params(*settings, "train.compile=true"))
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert not torch._dynamo.utils.counters["graph_break"]
    plain, compiled = (
        [metrics["train/loss"] for metrics, _ in run.logged if "train/loss" in metrics]
        for run in (training, other)
    )
    assert len(plain) >= 20
    assert compiled == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_missing_split_is_a_user_error(training: Training, tiny_params: TinyParams, split: str) -> None:
    table = load_table(training.data.prepared / "refcoco_unc.parquet")
    prepared = training.folder / "prepared"
    prepared.mkdir()
    kept = table[table["split"] != split]
    pq.write_table(
        pa.Table.from_pandas(kept, SCHEMA, preserve_index=False).cast(SCHEMA),
        prepared / "refcoco_unc.parquet",
    )
    run = Run(train_on=["refcoco_unc"], evaluate_on=["refcoco_unc"])
    with pytest.raises(UserError, match=f"refcoco_unc has no expression in split {split}"):
        training.run(tiny_params(*SHORT), run, prepared)


def test_no_gpu_where_one_is_asked_for(
    training: Training, tiny_params: TinyParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"train\.device is 'cuda'"):
        training.run(tiny_params(*SHORT, "train.device=cuda"))


def test_small_batches_give_a_warning(
    training: Training, tiny_params: TinyParams, caplog: pytest.LogCaptureFixture
) -> None:
    loop._warn_of_small_batches(8.0)
    assert not caplog.records
    loop._warn_of_small_batches(7.9)
    assert "collapse" in caplog.text
