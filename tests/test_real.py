"""Real COCO photographs with real RefCOCO expressions, through the same code as everything else."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_model import save

from s2rm import cli
from s2rm.acquire.folder import lay_out_folder
from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.data.image_zip import ImageFiles
from s2rm.data.table import SCHEMA, load_table
from s2rm.data.tokenizer import build_tokenizer
from s2rm.evaluation.evaluate import evaluate_benchmarks
from s2rm.model.create import create_for_training
from s2rm.refer.prepare import prepare
from s2rm.training.loop import train_run

PARAMS = Path(__file__).parents[1] / "params.yaml"
NAME = "refcoco_unc"

pytestmark = pytest.mark.real


def real_params(*overrides: str) -> Params:
    only = [f"runs.joint.{key}=[{NAME}]" for key in ("train_on", "evaluate_on")]
    return load_params(PARAMS, [*only, *overrides])


@pytest.fixture(scope="module")
def prepared(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw/ and prepared/, made from the real data."""
    root = tmp_path_factory.mktemp("real")
    lay_out_folder(real_data, [NAME], root / "raw")
    prepare(NAME, root / "raw", root / "prepared", real_params("preprocess.statistics=warn").preprocess)
    return root


def test_preprocess_evaluate_and_predict_run_on_photographs(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = load_table(prepared / f"prepared/{NAME}.parquet")
    assert len(table) > 0
    params = real_params("vision.image_size=64")
    tokenizer = build_tokenizer(table["expression"].tolist(), params.language)
    save(create_for_training(params, tokenizer), tokenizer, tmp_path / "model")

    metrics = evaluate_benchmarks(
        tmp_path / "model",
        [NAME],
        prepared=prepared / "prepared",
        raw=prepared / "raw",
        output=tmp_path / "results",
        params=params.evaluate,
    )
    found = sum(split["original"]["expressions"] for split in metrics[NAME].values())
    assert found == (table["split"] != "train").sum()
    for split, rows in table.groupby("split"):
        scores = pd.read_parquet(tmp_path / f"results/{NAME}-{split}.parquet")
        # The union contains the true mask, and the true mask contains the intersection.
        assert (scores["union_original"] >= rows["mask_area"].to_numpy()).all()
        assert (scores["intersection_original"] <= rows["mask_area"].to_numpy()).all()

    row = table.iloc[0]
    image = tmp_path / "photograph.jpg"
    image.write_bytes(ImageFiles(prepared / "raw").read(row["image_path"]))
    output = tmp_path / "mask.png"
    arguments = ["predict", "--model", tmp_path / "model", "--image", image, "--text", row["expression"]]
    monkeypatch.setattr(sys, "argv", ["s2rm", *map(str, arguments), "--output", str(output)])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    mask = np.asarray(Image.open(output))
    assert mask.shape == (row["height"], row["width"])
    assert set(np.unique(mask)) <= {0, 255}
    assert Image.open(tmp_path / "mask-overlay.png").size == (row["width"], row["height"])


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_model_can_overfit_the_photographs(prepared: Path, tmp_path: Path) -> None:
    """Overfitting works only if photographs, masks and words are aligned in every step."""
    table = load_table(prepared / f"prepared/{NAME}.parquet")
    twice = pd.concat([table.assign(split=split) for split in ("train", "val")])
    (tmp_path / "prepared").mkdir()
    pq.write_table(
        pa.Table.from_pandas(twice, SCHEMA, preserve_index=False), tmp_path / f"prepared/{NAME}.parquet"
    )
    params = real_params(
        "vision.image_size=128",
        "fusion.widths=[32,64,64,64]",
        "train.epochs=200",
        "train.validate_every=100",
        "train.expressions_per_batch=24",
    )
    progress = train_run(
        params,
        params.runs["joint"],
        prepared=tmp_path / "prepared",
        raw=prepared / "raw",
        weights=tmp_path / "weights",
        output=tmp_path / "model",
        scratch=tmp_path / "scratch",
    )
    assert progress.best >= 80, f"mIoU {progress.best}"
