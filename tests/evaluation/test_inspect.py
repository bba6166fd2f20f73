"""What evaluation writes for the report: which expressions are chosen, and the values of the model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny_model import save

from s2rm.config.params import Evaluate
from s2rm.data.image_zip import ImageFiles
from s2rm.data.images import decode_image, read_image
from s2rm.data.rle import decode
from s2rm.data.table import load_table
from s2rm.evaluation import inspect
from s2rm.evaluation.evaluate import evaluate_benchmarks
from s2rm.evaluation.inspect import SplitScores, collect_weights, pick_examples, pick_failures
from s2rm.evaluation.scores import LEVELS, Scores
from s2rm.model.fusion.sweeps import ROLES
from s2rm.model.hooks import watch_stage, watch_weights, watch_words
from s2rm.predictor import Predictor
from s2rm.reporting.examples import load_inspection

BENCHMARKS = ["refcoco_unc", "referit_berkeley"]
SETTINGS = Evaluate(images_per_batch=4, threshold=0.5, precision="float32", workers=0, examples=2)


@dataclass(frozen=True)
class Evaluated:
    """A trained model and the folder of its results."""

    data: Any
    model: Path
    results: Path

    def again(self, output: Path, *benchmarks: str) -> Path:
        """Evaluate the model on the benchmarks; return the folder that the report reads."""
        evaluate_benchmarks(
            self.model,
            list(benchmarks),
            prepared=self.data.prepared,
            raw=self.data.raw,
            output=output,
            params=SETTINGS,
        )
        return output / "inspect"

    def split(self, name: str, split: str) -> SplitScores:
        """Return the rows and scores of one split, with an empty histogram."""
        table = load_table(self.data.prepared / f"{name}.parquet")
        rows = table[table["split"] == split].reset_index(drop=True)
        scores = pd.read_parquet(self.results / f"{name}-{split}.parquet")
        kinds = pd.Series(["good"] * len(rows))
        return SplitScores(name, split, rows, Scores(scores, np.zeros((2, LEVELS), dtype=np.int64)), kinds)


@pytest.fixture(scope="module")
def evaluated(
    build_tiny: Callable[..., Any],
    tiny_tokenizer: Any,
    tiny_data: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Evaluated:
    """A model whose stages 1 and 3 are not fused, and its results."""
    folder = tmp_path_factory.mktemp("evaluated")
    found = Evaluated(tiny_data, folder / "model", folder / "results")
    save(build_tiny("fusion.stages=[2, 4]"), tiny_tokenizer, found.model)
    found.again(found.results, *BENCHMARKS)
    return found


def make_split(ious: np.ndarray, kinds: list[str], score: np.ndarray, refs: np.ndarray) -> SplitScores:
    """A split with these scores: its expressions have nothing else."""
    scores = pd.DataFrame(
        {"intersection_original": ious, "union_original": 100, "score": score, "predicted_rle": ""}
    )
    columns = dict.fromkeys((*inspect.EXAMPLE_COLUMNS, "image_path"), "")
    rows = pd.DataFrame(columns, index=range(len(ious))).assign(sent_id=range(len(ious)), ref_id=refs)
    return SplitScores("refcoco_unc", "val", rows, Scores(scores, np.zeros(0)), pd.Series(kinds))


def test_examples_are_at_even_quantiles_of_iou() -> None:
    ious = np.random.default_rng(0).permutation(100)

    def pick(count: int, most: int = 100) -> list[float]:
        split = make_split(ious[:most], ["good"] * most, np.zeros(most), np.arange(most))
        return pick_examples(split, count)["iou"].tolist()

    assert pick(1) == [0.5]
    assert pick(4) == [0.12, 0.37, 0.62, 0.87]
    assert len(pick(5, 2)) == 2
    assert pick(0) == []


def test_failures_are_the_worst_of_each_kind_and_the_confident_ones() -> None:
    ious = np.array([90, 4, 3, 2, 1, 40, 30, 5, 6])
    kinds = ["good", "wrong", "wrong", "wrong", "wrong", "poor", "poor", "empty", "empty"]
    score = np.array([0.9, 0.7, 0.99, 0.8, 0.6, 0.99, 0.5, 0.0, 0.0])
    refs = np.array([0, 1, 2, 3, 4, 5, 6, 7, 7])  # the last two are of one referent
    found = pick_failures(make_split(ious, kinds, score, refs))
    assert not found["in_sheet"].any()
    confident, failures = found.iloc[: inspect.FAILURES], found.iloc[inspect.FAILURES :]
    assert confident["sent_id"].tolist() == [2, 3, 1]
    assert failures["sent_id"].tolist() == [4, 3, 2, 7, 6, 5]
    assert pick_failures(make_split(ious[:1], kinds[:1], score[:1], refs[:1])).empty


def test_a_model_without_failures_and_examples_leaves_an_empty_table(tmp_path: Path) -> None:
    split = make_split(np.array([90]), ["good"], np.zeros(1), np.zeros(1))
    chosen = pd.concat([pick_examples(split, 0), pick_failures(split)])
    inspect._write_examples(chosen, ImageFiles(tmp_path), tmp_path)
    assert pd.read_parquet(tmp_path / "examples.parquet").empty


def test_examples_are_what_was_scored(evaluated: Evaluated) -> None:
    found = load_inspection(evaluated.results / "inspect", source="refshapes").examples
    titles = [f"RefShapes (as RefCOCO) {split}" for split in ("val", "testA", "testB")]
    titles += [f"RefShapes (as ReferIt) {split}" for split in ("val", "test")]
    assert [example.title for example in found] == [title for title in titles for _ in range(2)]
    table = pd.read_parquet(evaluated.results / "inspect" / "examples.parquet")
    images = ImageFiles(evaluated.data.raw)
    for row in table.to_dict("records"):
        name, split = row["benchmark"], row["split"]
        scored = pd.read_parquet(evaluated.results / f"{name}-{split}.parquet").set_index("sent_id")
        prepared = load_table(evaluated.data.prepared / f"{name}.parquet").set_index("sent_id")
        here, source = scored.loc[row["sent_id"]], prepared.loc[row["sent_id"]]
        assert row["predicted_rle"] == here["predicted_rle"]
        assert row["iou"] == here["intersection_original"] / here["union_original"]
        assert (row["expression"], row["mask_rle"]) == (source["expression"], source["mask_rle"])
        truth, predicted = (
            decode(row[key], row["height"], row["width"]) for key in ("mask_rle", "predicted_rle")
        )
        assert (truth & predicted).sum() == here["intersection_original"]
        shown = read_image(evaluated.results / "inspect" / "images" / row["image"])
        stored = decode_image(images.read(source["image_path"]), source["image_path"])
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(stored))


def test_the_view_shows_the_median_expression_in_the_finest_fused_stage(evaluated: Evaluated) -> None:
    view = load_inspection(evaluated.results / "inspect", source="refshapes").view
    assert view is not None
    median = pick_examples(evaluated.split("refcoco_unc", "val"), 1).iloc[0]
    assert (view.example.iou, view.example.expression) == (median["iou"], median["expression"])
    assert view.example.title == "RefShapes (as RefCOCO) val"
    assert view.stage == 2
    predictor = Predictor.from_pretrained(evaluated.model)
    with watch_stage(predictor.model, 2) as seen:
        predictor.predict(view.example.image, [view.example.expression])
    assert view.places == seen.places
    assert view.gates.shape == view.shares.shape == (8, 8, 8)
    for k, place in enumerate(view.places):
        np.testing.assert_allclose(view.gates[k], seen.gates[place][0].mean(0), rtol=1e-5)
        np.testing.assert_allclose(view.shares[k], seen.shares[0, k], rtol=1e-5)
        assert view.weights[k] == pytest.approx(seen.weights[0, k].mean().item())
    assert view.weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(view.shares.sum(0), 1, rtol=1e-5)


def test_the_words_are_those_of_the_same_expression_and_stage(evaluated: Evaluated) -> None:
    found = load_inspection(evaluated.results / "inspect", source="refshapes")
    assert found.view is not None
    assert found.words is not None
    shown = [
        (each.title, each.expression, each.truth.tobytes(), each.predicted.tobytes(), each.image.tobytes())
        for each in (found.words.example, found.view.example)
    ]
    assert shown[0] == shown[1]
    assert (found.words.stage, found.words.kind) == (2, "sigmoid")
    predictor = Predictor.from_pretrained(evaluated.model)
    with watch_words(predictor.model) as affinities:
        predictor.predict(found.words.example.image, [found.words.example.expression])
    np.testing.assert_allclose(found.words.affinity, affinities[2][0], rtol=1e-5)
    (token_ids,) = predictor.processor.tokenize([found.words.example.expression])
    tokens = predictor.processor.tokenizer.convert_ids_to_tokens(token_ids)
    assert found.words.tokens == tokens
    assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")
    assert found.words.special == [0, len(tokens) - 1]
    assert len(found.words.affinity) == len(tokens)


def test_the_first_benchmark_is_shown_unless_there_is_the_structured_one(
    evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def title(source: Any, *benchmarks: str) -> str:
        view = load_inspection(evaluated.again(tmp_path, *benchmarks), source=source).view
        assert view is not None
        return view.example.title

    assert title("folder", *BENCHMARKS[::-1]) == "ReferIt val"
    monkeypatch.setattr(inspect, "SHOWN_FIRST", "referit_berkeley")
    assert title("refshapes", *BENCHMARKS) == "RefShapes (as ReferIt) val"


@pytest.mark.parametrize("images", [200, 2])
def test_weights_are_the_mean_of_the_expressions_one_by_one(
    evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    monkeypatch.setattr(inspect, "BALANCING_IMAGES", images)
    monkeypatch.setattr(inspect, "IMAGES_PER_BATCH", 2)
    predictor, files = Predictor.from_pretrained(evaluated.model), ImageFiles(evaluated.data.raw)
    splits = [evaluated.split("referit_berkeley", split) for split in ("val", "test")]
    found = collect_weights(predictor, splits, files)
    table = splits[0].rows
    table = table[table["image_path"].isin(table["image_path"].unique()[:images])]
    each: dict[int, list[np.ndarray]] = {2: [], 4: []}
    for row in table.to_dict("records"):
        with watch_weights(predictor.model) as weights:
            image = decode_image(files.read(row["image_path"]), row["image_path"])
            predictor.predict(image, [row["expression"]])
        for stage, weight in weights.items():
            each[stage].append(weight[0].mean(1).numpy())
    assert tuple(found.columns) == inspect.BALANCING_COLUMNS
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


def test_a_benchmark_without_val_expressions_has_no_weights(evaluated: Evaluated) -> None:
    predictor, files = Predictor.from_pretrained(evaluated.model), ImageFiles(evaluated.data.raw)
    assert collect_weights(predictor, [evaluated.split("refcoco_unc", "testA")], files).empty


def test_the_calibration_counts_pixels(evaluated: Evaluated) -> None:
    found = pd.read_parquet(evaluated.results / "inspect" / "calibration.parquet")
    for (name, split), bins in found.groupby(["benchmark", "split"]):
        scores = pd.read_parquet(evaluated.results / f"{name}-{split}.parquet")
        assert bins["pixels"].sum() == 64 * 64 * len(scores)
        assert bins["foreground"].le(bins["pixels"]).all()
        filled = bins[bins["pixels"] > 0]
        assert filled["probability"].between(filled["low"], filled["high"]).all()
        assert bins["probability"].isna().equals(bins["pixels"] == 0)


@pytest.mark.parametrize(
    "override",
    ["fusion.kind=pwam", "fusion.kind=concat", "fusion.recurrence=gru", "fusion.distribution=tile"],
)
def test_models_without_gates_weights_or_words(
    build_tiny: Callable[..., Any], tiny_tokenizer: Any, tiny_data: Any, tmp_path: Path, override: str
) -> None:
    model = build_tiny(override)
    save(model, tiny_tokenizer, tmp_path / "model")
    folder = Evaluated(tiny_data, tmp_path / "model", tmp_path).again(tmp_path / "results", "refcoco_unc")
    fusion = model.config.fusion
    assert (folder / "gates.npz").exists() is (fusion.why_no_gates is None)
    assert (folder / "balancing.parquet").exists() is (fusion.why_no_weights is None)
    assert (folder / "words.npz").exists() is (fusion.why_no_words is None)
    found = load_inspection(folder, source="refshapes")
    assert (found.view is None, found.words is None) == (
        fusion.why_no_gates is not None,
        fusion.why_no_words is not None,
    )
    assert len(found.examples) == 2 * 3  # without that of the view
    if fusion.kind == "pwam":
        assert found.words is not None
        assert found.words.kind == "softmax"
        np.testing.assert_allclose(found.words.affinity.sum(0), 1, rtol=1e-5)
