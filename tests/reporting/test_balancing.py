"""The table of the balancing weights: its numbers, over which expressions, in which columns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from report_inputs import make_weights

from s2rm.data.image_zip import ImageFiles
from s2rm.data.images import decode_image
from s2rm.model.hooks import watch_weights
from s2rm.predictor import Predictor
from s2rm.reporting import balancing
from s2rm.reporting.balancing import build_balancing, collect_weights
from s2rm.reporting.gates import ROLES
from s2rm.reporting.table_writers import to_csv, to_latex, to_markdown


@pytest.fixture(scope="module")
def model_folder(build_tiny, tiny_tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_tiny("fusion.stages=[2, 4]").float().save_pretrained(folder, tiny_tokenizer)
    return folder


@pytest.mark.parametrize("images", [200, 2])
def test_weights_are_the_mean_of_the_expressions_one_by_one(
    model_folder: Path, tiny_data, monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    monkeypatch.setattr(balancing, "IMAGES", images)
    monkeypatch.setattr(balancing, "IMAGES_PER_BATCH", 2)
    found = collect_weights(
        model_folder, ["referit_berkeley"], prepared=tiny_data.prepared, raw=tiny_data.raw
    )
    table = pd.read_parquet(tiny_data.prepared / "referit_berkeley.parquet")
    table = table[table["split"] == "val"]
    table = table[table["image_path"].isin(table["image_path"].unique()[:images])]
    predictor, files = Predictor.from_pretrained(model_folder), ImageFiles(tiny_data.raw)
    each: dict[int, list[np.ndarray]] = {2: [], 4: []}
    for row in table.to_dict("records"):
        with watch_weights(predictor.model) as weights:
            image = decode_image(files.read(row["image_path"]), row["image_path"])
            predictor.predict(image, [row["expression"]])
        for stage, weight in weights.items():
            each[stage].append(weight[0].mean(1).numpy())
    assert (found["images"] == min(images, 3)).all()
    assert (found["expressions"] == len(table)).all()
    assert found["stage"].tolist() == [2] * 8 + [4] * 8
    for stage, expected in each.items():
        here = found[found["stage"] == stage]
        assert list(zip(here["role"], here["rotation"], strict=True)) == [
            (role, rotation) for role in ROLES for rotation in range(4)
        ]
        np.testing.assert_allclose(here["weight"], np.mean(expected, axis=0), rtol=1e-4)
        assert here["weight"].sum() == pytest.approx(1)
        assert np.ptp(here["weight"]) > 0.001


def test_a_benchmark_without_val_expressions_is_left_out(
    model_folder: Path, tiny_data, tmp_path: Path
) -> None:
    table = pq.read_table(tiny_data.prepared / "refcoco_unc.parquet")
    pq.write_table(table.filter(pc.field("split") != "val"), tmp_path / "refcoco_unc.parquet")
    assert collect_weights(model_folder, ["refcoco_unc"], prepared=tmp_path, raw=tiny_data.raw).empty


@pytest.mark.parametrize(
    ("source", "incomplete", "name", "data"),
    [
        ("refshapes", (), "refshapes-balancing", "RefShapes refcoco_unc"),
        ("folder", (), "balancing", "RefCOCO"),
        ("archives", {"refcoco_unc"}, "balancing", "part of RefCOCO"),
    ],
)
def test_a_row_a_benchmark_and_stage_a_column_a_parsed_semantic(source, incomplete, name, data) -> None:
    table = build_balancing({"joint": make_weights()}, source, incomplete, decimals=1)
    assert table.name == name
    assert table.frame.index.tolist() == ["run joint"] * 4
    assert table.frame["", "data"].tolist()[:2] == [data, data]
    assert table.frame["", "stage"].tolist() == [1, 2, 1, 2]
    directions = ["rows ↓", "columns ←", "rows ↑", "columns →"]
    assert table.header()[1:] == [(role, directions) for role in ROLES.values()]
    numbers = table.frame.iloc[:, 4:].to_numpy(dtype=float)
    np.testing.assert_allclose(numbers, [100 / 36 * np.arange(1, 9)] * 4)
    assert ("drawn by this project" in " ".join(table.footnotes)) is (source == "refshapes")
    assert f"| {data} | 1 | 10 | 30 | 2.8 | 5.6 |" in to_markdown(table)
    assert "Equal weights would be 12.5." in to_markdown(table)
    assert "language swept, vision parsed rows ↓" in to_csv(table).splitlines()[0]
    assert r"rows $\downarrow$ & columns $\leftarrow$ & rows $\uparrow$" in to_latex(table)


def test_runs_stand_below_each_other() -> None:
    weights = make_weights()
    runs = {"one": weights, "two": weights.head(8), "none": weights.head(0)}
    table = build_balancing(runs, "folder", decimals=2)
    assert [(label, len(rows)) for label, rows in table.groups()] == [("run one", 4), ("run two", 1)]
