"""The evaluation of a trained model: its files and its metrics."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_model import save
from transformers import PreTrainedTokenizerBase

from s2rm.config.benchmarks import get_benchmark
from s2rm.config.params import Evaluate
from s2rm.core.errors import UserError
from s2rm.data.table import SCHEMA, load_table
from s2rm.evaluation import evaluate
from s2rm.evaluation.evaluate import evaluate_benchmarks
from s2rm.evaluation.scores import SCORE_COLUMNS
from s2rm.model.s2rm import S2RM
from s2rm.scoring.metrics import METRICS, PROTOCOLS, segmentation_metrics

SETTINGS = Evaluate(images_per_batch=4, threshold=0.3, precision="float32", workers=0, examples=2)
NAMES = ["refcoco_unc", "referit_berkeley"]


@pytest.fixture(scope="module")
def model_folder(
    build_tiny: Callable[..., S2RM],
    tiny_tokenizer: PreTrainedTokenizerBase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save(build_tiny(), tiny_tokenizer, folder)
    return folder


def write_split(source: Path, split: str, prepared: Path) -> None:
    """Write a prepared table of one split only, from the tables in `source`."""
    table = load_table(source / "refcoco_unc.parquet")
    rows = table[table["split"] == split]
    prepared.mkdir(exist_ok=True)
    pq.write_table(
        pa.Table.from_pandas(rows, SCHEMA, preserve_index=False).cast(SCHEMA),
        prepared / "refcoco_unc.parquet",
    )
    objects = prepared / "refcoco_unc-objects.parquet"
    objects.write_bytes((source / objects.name).read_bytes())


def test_files_and_metrics(model_folder: Path, tiny_data: Any, tmp_path: Path) -> None:
    output = tmp_path / "results"
    metrics = evaluate_benchmarks(
        model_folder, NAMES, prepared=tiny_data.prepared, raw=tiny_data.raw, output=output, params=SETTINGS
    )
    assert list(metrics) == NAMES
    splits = [(name, split) for name in NAMES for split in get_benchmark(name).evaluation_splits]
    assert [(name, split) for name in metrics for split in metrics[name]] == splits
    written = {path.name for path in output.iterdir()} - {"metrics.json", "inspect"}
    stems = [f"{name}-{split}" for name, split in splits]
    assert written == {f"{stem}{end}" for stem in stems for end in (".parquet", "-analysis.json")}
    assert json.loads((output / "metrics.json").read_text()) == metrics
    for name, split in splits:
        scores = pd.read_parquet(output / f"{name}-{split}.parquet")
        assert tuple(scores.columns) == SCORE_COLUMNS
        table = load_table(tiny_data.prepared / f"{name}.parquet")
        rows = table[table["split"] == split]
        assert scores["sent_id"].tolist() == rows["sent_id"].tolist()
        assert tuple(metrics[name][split]) == PROTOCOLS
        for protocol, found in metrics[name][split].items():
            assert tuple(found) == (*METRICS, "images", "expressions")
            assert found["images"] == rows["image_id"].nunique()
            assert found["expressions"] == len(rows)
            again = segmentation_metrics(scores[f"intersection_{protocol}"], scores[f"union_{protocol}"])
            assert {name: found[name] for name in METRICS} == again
    assert any(found["model"] != found["original"] for found in metrics["refcoco_unc"].values())


@pytest.mark.slow
def test_a_compiled_model_scores_alike(
    model_folder: Path, tiny_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "COMPILER", "aot_eager")
    eager, compiled = (
        evaluate_benchmarks(
            model_folder,
            ["refcoco_unc"],
            prepared=tiny_data.prepared,
            raw=tiny_data.raw,
            output=tmp_path / str(on),
            params=SETTINGS.model_copy(update={"compile": on}),
        )
        for on in (False, True)
    )
    for split, protocols in eager["refcoco_unc"].items():
        for protocol, metrics in protocols.items():
            assert compiled["refcoco_unc"][split][protocol] == pytest.approx(metrics, abs=0.1)


def test_an_empty_split_is_left_out_with_a_warning(
    model_folder: Path, tiny_data: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_split(tiny_data.prepared, "testB", tmp_path / "prepared")
    with caplog.at_level(logging.WARNING):
        metrics = evaluate_benchmarks(
            model_folder,
            ["refcoco_unc"],
            prepared=tmp_path / "prepared",
            raw=tiny_data.raw,
            output=tmp_path / "results",
            params=SETTINGS,
        )
    assert list(metrics["refcoco_unc"]) == ["testB"]
    tables = [path.name for path in (tmp_path / "results").glob("*.parquet")]
    assert tables == ["refcoco_unc-testB.parquet"]
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [message for message in warned if "split val" in message and "refcoco_unc" in message]
    assert [message for message in warned if "split testA" in message]


def test_nothing_to_evaluate(model_folder: Path, tiny_data: Any, tmp_path: Path) -> None:
    write_split(tiny_data.prepared, "train", tmp_path / "prepared")
    with pytest.raises(UserError, match="nothing to evaluate: refcoco_unc"):
        evaluate_benchmarks(
            model_folder,
            ["refcoco_unc"],
            prepared=tmp_path / "prepared",
            raw=tiny_data.raw,
            output=tmp_path / "results",
            params=SETTINGS,
        )
