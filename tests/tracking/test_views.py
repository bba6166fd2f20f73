"""The saved view: which columns it has, and that MLflow's page shows them."""

import base64
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import open_browser
from playwright.sync_api import expect
from servers import free_port, wait_for

from s2rm.tracking import MlflowStore
from s2rm.tracking.views import KEY, TAG, choose_metrics, choose_params, write_view

ROOT = Path(__file__).parents[2]
RUNS = 12


def record(store: MlflowStore, number: int) -> None:
    """Record a finished run: every third has another value of two switches."""
    sweep, rotations = ("none", 4) if number % 3 == 1 else ("both", 1 if number % 3 == 2 else 4)
    run_id = store.create(f"run {number}", {"run": "joint"})
    params = {
        "fusion.coparsing": sweep,
        "fusion.rotations": rotations,
        "train.seed": number // 3,
        "train.epochs": 4,
        "train.workers": number,
    }
    names = ("val/mean/mIoU", "oIoU/refcoco_val", "mIoU/val_mean", "oIoU/val_mean", "train/loss")
    store.log(run_id, [(name, 70.0 + number, 0, 1) for name in names], params)
    store.set_status(run_id, "FINISHED")


def state_of(store: MlflowStore) -> dict[str, Any]:
    content = json.loads(store.read_experiment_tag(TAG) or "")
    return json.loads(zlib.decompress(base64.b64decode(content["state"].removeprefix("deflate;"))))


def test_the_view_has_what_is_compared_and_what_differs(store: MlflowStore) -> None:
    for number in range(RUNS):
        record(store, number)
    write_view(store)
    state = state_of(store)
    assert state["selectedColumns"] == [
        *("metrics.`mIoU/val_mean`", "metrics.`oIoU/val_mean`", "metrics.`oIoU/refcoco_val`"),
        *("params.`fusion.coparsing`", "params.`fusion.rotations`", "params.`train.seed`"),
    ]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`mIoU/val_mean`", False)
    before = store.read_experiment_tag(TAG)
    write_view(store)
    assert store.read_experiment_tag(TAG) == before  # an equal view keeps its time


def test_as_long_as_nothing_is_published_the_trainings_are_compared() -> None:
    assert choose_metrics([{"train/loss": 1.0, "val/mean/oIoU": 1.0, "val/mean/mIoU": 1.0}]) == [
        "val/mean/mIoU",
        "val/mean/oIoU",
    ]


def test_only_runs_that_have_parameters_are_compared_and_only_in_what_all_have() -> None:
    """An evaluation that was published alone has none; an earlier version had others."""
    params = [{"fusion.kind": kind, "train.seed": "1", "loss.bce": "1.0"} for kind in ("s2rm", "pwam")]
    earlier = {"fusion.kind": "s2rm", "train.seed": "1", "train.batch": "8"}
    assert choose_params([{}, *params, {}, earlier]) == ["fusion.kind", "train.seed"]
    assert choose_params([{}]) == []


@pytest.mark.hostile
@pytest.mark.parametrize("tag", ["", "edited", "[]", "{}", "1", '"text"', "null", '{"state": null}'])
def test_a_tag_that_somebody_has_edited_is_written_again(store: MlflowStore, tag: str) -> None:
    record(store, 0)
    store.set_experiment_tag(TAG, tag)
    write_view(store)
    assert state_of(store)["orderByKey"] == "metrics.`mIoU/val_mean`"


def test_a_store_without_runs_has_a_view_without_columns(store: MlflowStore) -> None:
    write_view(store)
    assert state_of(store) == {"selectedColumns": [], "orderByAsc": False}


def test_the_view_stays_small() -> None:
    """MLflow refuses tags of more than 5,000 characters."""
    params = [{f"fusion.{name}": str(run) for name in range(200)} for run in range(2)]
    metrics = [{f"oIoU/split_{name}": 1.0 for name in range(100)}]
    assert len(choose_params(params)) == 8
    assert len(choose_metrics(metrics)) == 6
    assert choose_params([]) == choose_metrics([]) == []


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    """The address that `s2rm ui` prints, of a store with twelve runs."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "dvc.yaml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store = MlflowStore(tmp_path, "s2rm")
        for number in range(RUNS):
            record(store, number)
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-m", "s2rm.cli", "ui", "--port", str(free_port())]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        lines = (line.strip() for line in server.stdout)
        address = next(line for line in lines if line.startswith("http"))
        wait_for(f"{address.partition('/#')[0]}/health", server)
        yield address
        server.terminate()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.server
def test_the_printed_link_shows_metrics_and_differing_switches(page: str) -> None:
    assert page.endswith(f"viewStateShareKey={KEY}")
    with open_browser() as browser:
        opened = browser.new_page(viewport={"width": 1600, "height": 900})
        opened.goto(page, wait_until="domcontentloaded", timeout=120_000)
        for name in (
            "mIoU/val_mean",
            "oIoU/val_mean",
            "oIoU/refcoco_val",
            "fusion.coparsing",
            "fusion.rotations",
        ):
            expect(opened.get_by_text(name, exact=True).first).to_be_visible(timeout=60_000)
        if folder := os.environ.get("S2RM_SCREENSHOTS"):
            opened.wait_for_timeout(3000)
            opened.screenshot(path=f"{folder}/mlflow-view.png")
