"""What reports publish is kept on this machine, and sent from there."""

from pathlib import Path

import pytest
from recorded import make_journal, run_of, send

from s2rm.core.errors import UserError
from s2rm.tracking import MlflowStore
from s2rm.tracking.evaluations import Evaluation, find_evaluations, read_evaluation, send_evaluation

METRICS = {"mIoU/refcoco_val": 41.5}


def keep(
    root: Path,
    trained: str | None,
    files: dict[str, list[Path]],
    metrics: dict[str, float] = METRICS,
    **rest: list[str],
) -> Path:
    evaluation = Evaluation(trained, "joint", "s2rm", metrics, {"run": "joint"}, **rest)
    return evaluation.keep(root, files)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    table, scores = tmp_path / "iou.md", tmp_path / "val.parquet"
    table.write_text("| a |")
    scores.write_bytes(b"scores")
    scores.chmod(0o444)  # as DVC links it
    return {"tables": [table], "results": [scores]}


def test_the_files_are_kept_as_they_were(root: Path, files: dict[str, list[Path]]) -> None:
    folder = keep(root, "a" * 32, files)
    kept = folder / "files"
    assert (kept / "results/val.parquet").samefile(files["results"][0]), "no second copy of what DVC has"
    assert not (kept / "tables/iou.md").samefile(files["tables"][0]), "an editor may write into it"
    files["tables"][0].write_text("changed in place")
    assert (kept / "tables/iou.md").read_text() == "| a |"
    assert read_evaluation(folder).files == {"tables": ["iou.md"], "results": ["val.parquet"]}


def test_the_same_evaluation_is_kept_once_and_another_beside_it(
    root: Path, files: dict[str, list[Path]]
) -> None:
    first = keep(root, "a" * 32, files, experiments=["one"])
    time = read_evaluation(first).time
    again = keep(root, "a" * 32, {"tables": files["tables"]}, experiments=["two"])
    assert again == first
    kept = read_evaluation(first)
    assert (kept.time, kept.experiments, kept.files) == (time, ["one", "two"], {"tables": ["iou.md"]})
    assert not (first / "files/results").exists()
    other = keep(root, "a" * 32, files, {"mIoU/refcoco_val": 1.0})
    assert find_evaluations(first.parents[1]) == [first, other]


def test_it_is_sent_once(root: Path, store: MlflowStore, files: dict[str, list[Path]]) -> None:
    journal = make_journal(root)
    send(journal, store)
    folder = keep(root, journal.identity, files, experiments=["nobal"])
    run_id = run_of(store, journal.identity).info.run_id
    assert [send_evaluation(folder, store) for _ in range(2)] == [run_id, run_id]
    run = store.client.get_run(run_id)
    assert run.data.metrics["mIoU/refcoco_val"] == 41.5
    assert run.data.tags["dvc.experiments"] == "nobal"
    assert {file.path for file in store.client.list_artifacts(run_id, "results")} == {"results/val.parquet"}


def test_one_of_an_untracked_training_has_a_place_too(
    root: Path, store: MlflowStore, files: dict[str, list[Path]]
) -> None:
    folder = keep(root, None, files)
    assert folder.parents[1].name == "untracked"
    assert store.client.get_run(send_evaluation(folder, store)).data.tags["trained_run"] == "untracked"


@pytest.mark.hostile
@pytest.mark.parametrize("identity", ["../../outside", "a/b", "..", "/tmp/x", "a b"])
def test_an_id_that_is_a_path_is_refused(tmp_path: Path, files: dict[str, list[Path]], identity: str) -> None:
    with pytest.raises(UserError, match="is not the id of a training"):
        keep(tmp_path / "project", identity, files)
    assert not (tmp_path / "project").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, files: dict[str, list[Path]]) -> None:
    (tmp_path / ".tracking").write_text("in the way")
    with pytest.raises(UserError, match="cannot write the record"):
        keep(tmp_path, None, files)


def test_files_that_cannot_be_written_are_one_line(
    root: Path, store: MlflowStore, files: dict[str, list[Path]]
) -> None:
    (root / "mlartifacts").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*mlartifacts") as error:
        send_evaluation(keep(root, None, files), store)
    assert "\n" not in str(error.value)
