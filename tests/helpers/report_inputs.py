"""Made-up outputs of evaluation and training for a report: one run, `joint`."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from s2rm.config.benchmarks import BENCHMARKS
from s2rm.config.load import load_params
from s2rm.config.params import Params
from s2rm.data.rle import encode
from s2rm.evaluation.inspect import EXAMPLE_COLUMNS
from s2rm.model.fusion.sweeps import ROLES
from s2rm.reporting.examples import SweepView, WordView
from s2rm.reporting.overlays import Example
from s2rm.reporting.render import Rendered, render
from s2rm.scoring.error_kinds import KINDS
from s2rm.scoring.metrics import compute_iou, segmentation_metrics

PARAMS = Path(__file__).parents[2] / "params.yaml"
EXPRESSIONS = 30


SHARED = pd.DataFrame(
    [
        ("refcoco_unc", "refcocog_umd", "val", 3, 0.3, 12),
        ("refcoco_unc", "refcoco_unc", "val", 0, 0.0, 0),
    ],
    columns=["trained_on", "evaluated_on", "split", "shared_images", "share", "expressions"],
)


@dataclass(frozen=True)
class ReportInputs:
    """The folder of the made-up outputs."""

    root: Path

    @property
    def results(self) -> Path:
        """The folder results/joint."""
        return self.root / "results" / "joint"

    @property
    def metrics(self) -> Path:
        """The metrics of the run."""
        return self.results / "metrics.json"

    @property
    def history(self) -> Path:
        """The history of its training."""
        return self.results / "history.jsonl"

    def scores(self, benchmark: str, split: str) -> Path:
        """Return the path of the scores of a split."""
        return self.results / f"{benchmark}-{split}.parquet"

    def analysis(self, benchmark: str, split: str) -> Path:
        """Return the path of the analysis of a split."""
        return self.results / f"{benchmark}-{split}-analysis.json"

    def params(self, source: str, *overrides: str) -> Params:
        """Load the project's parameters, with data of this source."""
        return load_params(PARAMS, [f"data.source={source}", "data.folder=data/real", *overrides])

    def render(self, source: str, output: Path, *overrides: str, incomplete: Any = ()) -> Rendered:
        """Render the report into `output`."""
        params = self.params(source, *overrides)
        return render(params, self.root / "results", output, shared=SHARED, incomplete=incomplete)

    def inspect(
        self,
        examples: list[Example] | None = None,
        view: SweepView | None = None,
        weights: pd.DataFrame | None = None,
        words: WordView | None = None,
    ) -> "ReportInputs":
        """Write results/joint/inspect as evaluation does; the views' examples are not part of the sheet."""
        folder = self.results / "inspect"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "images").mkdir(parents=True)
        shown = [(example, True) for example in examples or []]
        shown += [(each.example, False) for each in (view, words) if each]
        rows = []
        for number, (example, in_sheet) in enumerate(shown):
            example.image.save(folder / "images" / f"{number}.png")
            height, width = example.truth.shape
            masks = encode(example.truth), encode(example.predicted)
            known = "refcoco_unc", "val", number, example.expression, example.iou, example.score, example.kind
            rows.append((*known, f"{number}.png", height, width, *masks, in_sheet))
        pd.DataFrame(rows, columns=list(EXAMPLE_COLUMNS)).to_parquet(folder / "examples.parquet")
        for name, each in (("gates", view), ("words", words)):
            if each:
                sent_id = next(number for number, (example, _) in enumerate(shown) if example is each.example)
                about = {"benchmark": "refcoco_unc", "split": "val", "sent_id": sent_id}
                fields = {key: value for key, value in vars(each).items() if key != "example"}
                arrays = {key: fields.pop(key) for key in list(fields) if isinstance(fields[key], np.ndarray)}
                (folder / f"{name}.json").write_text(json.dumps(about | fields))
                np.savez(folder / f"{name}.npz", **arrays)
        make_calibration().to_parquet(folder / "calibration.parquet")
        if weights is not None:
            weights.to_parquet(folder / "balancing.parquet")
        return self


def make_inputs(root: Path) -> ReportInputs:
    """Draw scores for every benchmark and split; oIoU and mIoU differ by several points."""
    inputs, generator = ReportInputs(root), np.random.default_rng(0)
    metrics: dict[str, Any] = {}
    for benchmark in BENCHMARKS.values():
        metrics[benchmark.name] = {}
        for split in benchmark.evaluation_splits:
            table = pd.DataFrame({name: range(EXPRESSIONS) for name in ("sent_id", "ref_id", "image_id")})
            iou = np.sort(generator.beta(3, 2, EXPRESSIONS))
            for protocol, pixels in (("model", 9_000), ("original", 200_000)):
                union = (pixels * np.linspace(0.05, 0.6, EXPRESSIONS)).astype(int)
                table[f"union_{protocol}"] = union
                table[f"intersection_{protocol}"] = (union * iou).astype(int)
            table["score"] = 0.9
            inputs.analysis(benchmark.name, split).parent.mkdir(parents=True, exist_ok=True)
            inputs.analysis(benchmark.name, split).write_text(json.dumps(make_analysis(table)))
            inputs.scores(benchmark.name, split).parent.mkdir(parents=True, exist_ok=True)
            table.to_parquet(inputs.scores(benchmark.name, split))
            metrics[benchmark.name][split] = {
                protocol: segmentation_metrics(table[f"intersection_{protocol}"], table[f"union_{protocol}"])
                | {"images": 10, "expressions": EXPRESSIONS}
                for protocol in ("model", "original")
            }
    inputs.metrics.write_text(json.dumps(metrics))
    (inputs.results / "mlflow.json").write_text('{"run_id": null}')
    inputs.history.write_text("".join(json.dumps(_record(epoch)) + "\n" for epoch in (2, 4, 6)))
    return inputs.inspect()


def _record(epoch: int) -> dict[str, float]:
    record = {"epoch": epoch, "step": 10 * epoch, "train/loss": 2 / epoch, "train/mask": 1 / epoch}
    for name in ("mean", *BENCHMARKS):
        record |= {f"val/{name}/oIoU": 12.0 * epoch, f"val/{name}/mIoU": 10.0 * epoch}
    return record


def make_example(expression: str = "the red square", height: int = 40, width: int = 60) -> Example:
    """Make an example of one colour whose prediction is the truth, shifted."""
    truth = np.zeros((height, width), dtype=bool)
    truth[10:20, 10:30] = True
    return Example(
        image=Image.new("RGB", (width, height), (90, 120, 200)),
        expression=expression,
        truth=truth,
        predicted=np.roll(truth, 5, axis=1),
        iou=0.6,
        title="refcoco_unc val",
    )


def make_view(
    example: Example | None = None, roles: tuple[str, ...] = tuple(ROLES), rotations: int = 4
) -> SweepView:
    """Make a view with random maps and weights."""
    generator = np.random.default_rng(0)
    places = [(role, rotation) for role in roles for rotation in range(rotations)]
    maps = generator.random((len(places), 8, 10), dtype=np.float32)
    weights = generator.random(len(places), dtype=np.float32)
    return SweepView(example or make_example(), 1, places, maps, weights / weights.sum(), maps / maps.sum(0))


def make_words(
    example: Example | None = None, tokens: tuple[str, ...] = ("the", "red", "squ", "##are")
) -> WordView:
    """Make a view of these tokens between [CLS] and [SEP], with random affinities of a sigmoid."""
    framed = ["[CLS]", *tokens, "[SEP]"]
    affinity = np.random.default_rng(0).random((len(framed), 8, 10), dtype=np.float32)
    return WordView(example or make_example(), 1, framed, [0, len(framed) - 1], "sigmoid", affinity)


def make_analysis(scores: pd.DataFrame) -> dict[str, Any]:
    """Make an analysis of these scores in which all errors are of one kind."""
    lost = 100 - 100 * compute_iou(scores["intersection_original"], scores["union_original"]).mean()
    measured = {"share": 50.0, "mIoU": 50.0}
    slices = [
        {"group": "words", "slice": "1", "expressions": 12, **measured, "low": 40.0, "high": 60.0},
        {"group": "words", "slice": "2 to 3", "expressions": 50, **measured, "low": None, "high": None},
    ]
    errors = {
        kind: {"points": lost * (kind == "wrong"), "expressions": len(scores) * (kind == "wrong")}
        for kind in KINDS
    }
    consistency = {"referents": 0, "spread": None, "split": None}
    bins = [
        {
            "low": low / 10,
            "high": (low + 1) / 10,
            "expressions": low,
            "score": low / 10 + 0.05,
            "IoU": 8.0 * low,
        }
        for low in range(10)
    ]
    confident = {
        "sent_id": 7,
        "image_path": "a.jpg",
        "expression": "the <b>red</b> dot",
        "score": 0.97,
        "IoU": 4.0,
    }
    return {
        "errors": errors,
        "slices": slices,
        "consistency": consistency,
        "calibration": {"ece": 9.0, "bins": bins},
        "confident_errors": [confident],
    }


def make_calibration() -> pd.DataFrame:
    """Make the bins of every split: foreground is as frequent as the probability says."""
    bins = np.arange(20)
    bounds = {"low": bins / 20, "high": (bins + 1) / 20}
    counts = {"pixels": 200, "foreground": 10 * bins + 5, "probability": (bins + 0.5) / 20}
    parts = [
        pd.DataFrame({"benchmark": benchmark.name, "split": split, **bounds, **counts})
        for benchmark in BENCHMARKS.values()
        for split in benchmark.evaluation_splits
    ]
    return pd.concat(parts, ignore_index=True)


def make_weights() -> pd.DataFrame:
    """Make weights of two benchmarks and two stages: 1/36 … 8/36 for 8 parsed semantics."""
    places = [(role, rotation) for role in ROLES for rotation in range(4)]
    rows = [
        (benchmark, stage, 10, 30, *place, number / 36)
        for benchmark in ("refcoco_unc", "referit_berkeley")
        for stage in (1, 2)
        for number, place in enumerate(places, start=1)
    ]
    names = ["benchmark", "stage", "images", "expressions", "role", "rotation", "weight"]
    return pd.DataFrame(rows, columns=names)
