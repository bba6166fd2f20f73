"""Recorded runs: which are compared, which are left out and why, and the saved copy of their scores."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from ablation_runs import make_scores, record, train

from s2rm.ablation.runs import CURVE, Study, collect, save_study
from s2rm.config.params import Params
from s2rm.core.errors import UserError
from s2rm.tracking import MlflowStore
from s2rm.tracking.publish import publish

Make = Callable[..., Params]
SMALL = "runs.joint.evaluate_on=[refcoco_unc]"
NONE = "fusion.coparsing=none"


@pytest.fixture
def make(tiny_params: Make) -> Make:
    return lambda *overrides: tiny_params(SMALL, *overrides)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield tmp_path_factory.mktemp("project")


@pytest.fixture
def store(root: Path, request: pytest.FixtureRequest) -> MlflowStore:
    """An experiment of its own for each test, in one SQLite file."""
    return MlflowStore(root, request.node.name)


def runs(scores: pd.DataFrame) -> list[tuple[str, int]]:
    return list(scores[["variant", "seed"]].drop_duplicates().itertuples(index=False, name=None))


def mean(scores: pd.DataFrame, variant: str, seed: int = 1) -> float:
    rows = scores[(scores["variant"] == variant) & (scores["seed"] == seed)]
    return float((rows["intersection"] / rows["union"]).mean())


def test_runs_become_variants_with_seeds(store: MlflowStore, make: Make, tmp_path: Path) -> None:
    record(store, make(NONE, "train.seed=2"), 0.5, tmp_path / "a")
    record(store, make(NONE), 0.5, tmp_path / "b")
    record(store, make("train.workers=2"), 0.7, tmp_path / "c")
    scores, _, left_out = collect(make(), store, tmp_path / "absent.parquet")
    assert left_out == []
    assert runs(scores) == [("full", 1), (NONE, 1), (NONE, 2)]
    part = scores[(scores["variant"] == NONE) & (scores["seed"] == 2) & (scores["split"] == "testA")]
    wanted = make_scores("refcoco_unc", "testA", 0.5, 2)
    for ours, theirs in {"sent_id": "sent_id", "image_id": "image_id", "union": "union_model"}.items():
        assert part[ours].tolist() == wanted[theirs].tolist()
    assert part["intersection"].tolist() == wanted["intersection_model"].tolist()
    assert set(scores["split"]) == {"val", "testA", "testB"}


def test_what_is_left_out_is_named_with_its_reason(store: MlflowStore, make: Make, tmp_path: Path) -> None:
    record(store, make(), 0.7, tmp_path / "full")
    joint = record(store, make(NONE), 0.1, tmp_path / "early")
    record(store, make(NONE), 0.5, tmp_path / "late")
    for name in ("fails", "trained", "old"):
        (tmp_path / name).mkdir()
    train(store, make(), tmp_path / "fails", error=RuntimeError())
    train(store, make(), tmp_path / "trained")
    publish(store, train(store, make(), tmp_path / "old"), "joint", {"a": 1.0}, {}, {"run": "joint"})
    record(store, make("data.refshapes.eval_images=3"), 0.6, tmp_path / "data")
    record(store, make("evaluate.threshold=0.4"), 0.55, tmp_path / "threshold", trained=joint)
    store.create("other", {"run": "other"})
    newer = record(store, make(), 0.6, tmp_path / "newer")
    file = tmp_path / "newer/params.yaml"
    file.write_text(file.read_text().replace("slice_kernel: 3", "slice_kernel: 3\n  depth: 2"))
    store.client.log_artifact(newer, str(file), "results")
    corrupt = record(store, make(), 0.6, tmp_path / "corrupt")
    (tmp_path / "corrupt/refcoco_unc-val.parquet").write_bytes(b"no table")
    store.client.log_artifact(corrupt, str(tmp_path / "corrupt/refcoco_unc-val.parquet"), "results")

    scores, _, left_out = collect(make(), store, tmp_path / "absent.parquet")
    assert runs(scores) == [("full", 1), (NONE, 1)]
    assert mean(scores, NONE) == pytest.approx(0.5, abs=0.05), "the latest run is used"
    reasons = [
        "refcoco_unc-val.parquet cannot be read as a table of scores",
        "params.yaml: unknown key fusion.depth=2",
        "params.yaml has no run 'other'",
        "measured differently from the full model: evaluate.threshold differs",
        "measured differently from the full model: data.refshapes.eval_images differs",
        "recorded without its scores",
        "not evaluated",
        "not finished (failed)",
        f"a later run of {NONE}, run joint, seed 1 is used",
    ]
    assert len(left_out) == len(reasons)
    for line, reason in zip(left_out, reasons, strict=True):
        assert reason in line
        assert "\n" not in line
        assert str(tmp_path.parent) not in line
        assert line.startswith(("joint (", "joint-evaluation (", "other ("))


def test_other_expressions_do_not_pair(store: MlflowStore, make: Make, tmp_path: Path) -> None:
    record(store, make(), 0.7, tmp_path / "full")
    run_id = record(store, make(NONE), 0.5, tmp_path / "none")
    path = tmp_path / "none/refcoco_unc-testB.parquet"
    pd.read_parquet(path).iloc[1:].to_parquet(path)
    store.client.log_artifact(run_id, str(path), "results")
    scores, _, left_out = collect(make(), store, tmp_path / "absent.parquet")
    assert runs(scores) == [("full", 1)]
    assert left_out == [f"{NONE}, run joint, seed 1: scored on other expressions than the full model"]


def test_the_saved_file_replaces_the_store(store: MlflowStore, make: Make, tmp_path: Path) -> None:
    record(store, make(), 0.7, tmp_path / "full")
    record(store, make(NONE), 0.5, tmp_path / "none")
    record(store, make(NONE, "train.seed=2"), 0.5, tmp_path / "none2")
    study = collect(make(), store, tmp_path / "absent.parquet")
    kept = save_study(study, make(), tmp_path / "kept.parquet")
    again = collect(make("train.seed=9"), None, kept)
    assert again.left_out == []
    pd.testing.assert_frame_equal(again.scores, study.scores, check_dtype=False)
    pd.testing.assert_frame_equal(again.curves, study.curves)
    assert save_study(again, make(), tmp_path / "again.parquet").read_bytes() == kept.read_bytes()


def test_each_run_has_its_learning_curve(store: MlflowStore, make: Make, tmp_path: Path) -> None:
    record(store, make(), 0.7, tmp_path / "full")
    record(store, make(NONE, "train.seed=2"), 0.5, tmp_path / "none")
    curves = collect(make(), store, tmp_path / "absent.parquet").curves
    assert curves.to_dict("list") == {
        "variant": ["full", "full", NONE, NONE],
        "run": ["joint"] * 4,
        "seed": [1, 1, 2, 2],
        "epoch": [1, 2, 1, 2],
        "step": [10, 20, 10, 20],
        "benchmark": ["refcoco_unc"] * 4,
        "mIoU": [70.0, 70.0, 50.0, 50.0],
        "oIoU": [70.0, 70.0, 50.0, 50.0],
    }


def test_the_store_takes_precedence_over_the_saved_file(
    root: Path, store: MlflowStore, make: Make, tmp_path: Path
) -> None:
    record(store, make(), 0.7, tmp_path / "full")
    record(store, make(NONE), 0.5, tmp_path / "none")
    record(store, make(NONE, "train.seed=2"), 0.5, tmp_path / "none2")
    kept = save_study(collect(make(), store, tmp_path / "absent"), make(), tmp_path / "kept.parquet")
    later = MlflowStore(root, "later")
    record(later, make(NONE), 0.3, tmp_path / "later")
    scores, _, left_out = collect(make(), later, kept)
    assert left_out == []
    assert runs(scores) == [("full", 1), (NONE, 1), (NONE, 2)]
    assert mean(scores, NONE, 1) == pytest.approx(0.3, abs=0.05)
    assert mean(scores, NONE, 2) == pytest.approx(0.5, abs=0.05)


def test_a_study_of_another_full_model_is_not_overwritten(
    store: MlflowStore, make: Make, tmp_path: Path
) -> None:
    record(store, make(), 0.7, tmp_path / "full")
    record(store, make(NONE), 0.5, tmp_path / "none")
    kept = save_study(collect(make(), store, tmp_path / "absent"), make(), tmp_path / "kept.parquet")
    with pytest.raises(
        UserError, match=r"kept.parquet is a study of another full model, of which train.epochs"
    ):
        collect(make("train.epochs=9"), None, kept)
    with pytest.raises(UserError, match=r"fusion.coparsing differs: choose another --name"):
        collect(make(NONE), store, kept)
    scores, _, left_out = collect(make(NONE), store, tmp_path / "another.parquet")
    assert runs(scores) == [("full", 1), ("fusion.coparsing=both", 1)]
    assert left_out == []


@pytest.mark.hostile
@pytest.mark.parametrize("content", [b"", b"no table", "other"])
def test_a_broken_saved_file_is_refused(make: Make, tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "ablation.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pd.DataFrame({"variant": ["full"]}).to_parquet(path)
    with pytest.raises(UserError, match=r"ablation\.parquet was not written by `s2rm ablation`: restore it"):
        collect(make(), None, path)


def test_forty_runs_are_saved_in_little_space(make: Make, tmp_path: Path) -> None:
    """4,000 expressions each, masks of 80×80."""
    random = np.random.default_rng(0)
    size = random.integers(50, 2500, 4000)
    parts = []
    for number in range(40):
        union = size + random.integers(0, 300, 4000)
        parts.append(
            pd.DataFrame(
                {
                    "variant": f"fusion.widths={number // 3}",
                    "run": "joint",
                    "benchmark": "refcoco_unc",
                    "split": "val",
                    "kind": "",
                    "seed": number % 3,
                    "sent_id": np.arange(4000),
                    "image_id": np.arange(4000) // 5,
                    "intersection": (union * random.beta(6, 2, 4000)).astype(int),
                    "union": union,
                }
            ).astype(dict.fromkeys(["seed", "sent_id", "image_id", "intersection", "union"], "int32"))
        )
    study = Study(pd.concat(parts), pd.DataFrame(columns=CURVE), [])
    path = save_study(study, make(), tmp_path / "kept.parquet")
    assert path.stat().st_size < 1_500_000
    assert pq.read_table(path).num_rows == 160_000
