"""The real benchmarks from archives in their real layout, served over HTTP, through the real pipeline."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from clone import Clone
from faulty_server import FaultyServer
from hub_server import HubServer, publish
from real_archives import make_archives
from served import write_catalog

from s2rm.config.benchmarks import BENCHMARKS

pytestmark = [pytest.mark.timeout(1800), pytest.mark.real, pytest.mark.slow]
PAPER = "presets/paper.yaml"
TARGETS = [f"preprocess@{name}" for name in BENCHMARKS]
KILLS = 20


def keep(params: dict[str, Any]) -> None:
    """presets/paper.yaml as it is."""


def take_a_sample(params: dict[str, Any]) -> None:
    """A dozen images are not the official benchmarks."""
    params["preprocess"]["statistics"] = "warn"


@pytest.fixture(scope="module")
def archives(real_data: Path) -> dict[str, bytes]:
    return make_archives(real_data)


@pytest.fixture
def server(archives: dict[str, bytes], tmp_path: Path) -> Iterator[FaultyServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    for name, data in archives.items():
        (folder / name).write_bytes(data)
    with FaultyServer(folder) as server:
        yield server


def connect(clone: Clone, server: FaultyServer, archives: dict[str, bytes]) -> Clone:
    """The catalog of the clone names the local server in place of the real ones."""
    write_catalog(clone.folder / "archives.yaml", server.url, archives)
    clone.commit()
    clone.environment["NO_PROXY"] = clone.environment["no_proxy"] = "127.0.0.1"
    return clone


def digests(folder: Path) -> dict[str, str]:
    """Of all that download and preprocess make."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "data").rglob("*"))
        if path.is_file()
    }


def test_the_papers_preset_downloads_and_prepares_all_benchmarks(
    server: FaultyServer, archives: dict[str, bytes], tmp_path: Path
) -> None:
    clone = connect(Clone(tmp_path / "clone", take_a_sample, PAPER), server, archives)
    output = clone.dvc("repro", *TARGETS)
    assert "to fetch: 0.01 GB in 6 archives" in output
    assert sorted(clone.ran(output)) == sorted(["download", *TARGETS])
    for name in BENCHMARKS:
        statistics = json.loads((clone.folder / f"data/prepared/{name}.json").read_text())
        assert statistics["origin"]["source"] == "archives"
        assert sum(split["expressions"] for split in statistics["splits"].values()) == 96
        assert statistics["official"], "a dozen images are not the whole benchmark"
        table = pd.read_parquet(clone.folder / f"data/prepared/{name}.parquet")
        assert set(table["split"]) == set(BENCHMARKS[name].splits)
    pinned = json.loads((clone.folder / "archives.lock").read_text())["archives"]
    assert pinned.keys() == {"refclef.zip"}
    assert clone.ran(clone.dvc("repro", *TARGETS)) == []

    # Another clone, offline, that has the archives of the first one.
    (server.folder / "refcoco.zip").unlink()
    store = clone.folder / ".scratch/archives"
    again = connect(Clone(tmp_path / "again", take_a_sample, PAPER), server, archives)
    again.environment |= {"S2RM_ARCHIVES": str(store), "S2RM_OFFLINE": "1"}
    again.dvc("repro", "preprocess@referit_berkeley")
    made = digests(again.folder)
    assert {"data/raw/images/mscoco/images/train2014.zip", "data/prepared/referit_berkeley.parquet"} <= set(
        made
    )
    assert made.items() <= digests(clone.folder).items()


def test_counts_that_are_not_official_stop_the_stage(
    server: FaultyServer, archives: dict[str, bytes], tmp_path: Path
) -> None:
    clone = connect(Clone(tmp_path / "clone", keep, PAPER), server, archives)
    output = clone.dvc("repro", "preprocess@refcocog_umd", ok=False)
    assert "error: refcocog_umd: " in output
    assert "numbers are not the official ones" in output
    assert "80,512" in output
    assert "preprocess.statistics=warn" in output
    assert "Traceback" not in output


@pytest.mark.long
def test_the_whole_preset_with_small_models(
    server: FaultyServer, archives: dict[str, bytes], tmp_path: Path
) -> None:
    from tiny_encoders import BERT, bert_files  # loads torch

    clone = connect(Clone(tmp_path / "clone", keep, PAPER), server, archives)
    publish(tmp_path / "hub", BERT, bert_files())
    with HubServer(tmp_path / "hub") as hub:
        clone.environment["HF_ENDPOINT"] = hub.url
        small = [
            "preprocess.statistics=warn",
            "vision={backbone: resnet10t, pretrained: false, image_size: 64}",
            f"language.pretrained={BERT}",
            "fusion.widths=[16, 16, 16, 16]",
            "decoder.width=16",
            "train={device: cpu, precision: float32, epochs: 1, expressions_per_batch: 16, workers: 1}",
        ]
        clone.dvc("exp", "run", *(part for each in small for part in ("-S", each)))
    for name in BENCHMARKS:
        metrics = json.loads((clone.folder / f"results/{name}/metrics.json").read_text())
        assert list(metrics[name]) == list(BENCHMARKS[name].evaluation_splits)
    for table in ("oIoU", "mIoU", "precision"):
        assert "this project" in (clone.folder / f"reports/tables/{table}.csv").read_text()
    leakage = (clone.folder / "reports/tables/leakage.md").read_text()
    assert "| part of RefCOCO | part of RefCOCOg (UMD) |" in leakage, "images are dealt out anew in each"
    precision = (clone.folder / "reports/tables/precision.md").read_text()
    assert "| part of ReferIt | test |" in precision
    pinned = json.loads((clone.folder / "archives.lock").read_text())
    assert pinned["weights"].keys() == {BERT}


def finish(clone: Clone) -> bool:
    """`dvc repro` again. DVC itself does not write dvc.lock in one step: docs/data.md says what helps then.

    Whether that was needed.
    """
    process = clone.start("repro", *TARGETS)
    output, _ = process.communicate()
    torn = process.returncode != 0
    if torn:
        assert "dvc.lock" in output, output
        (clone.folder / "dvc.lock").unlink()
        assert "download" not in clone.ran(clone.dvc("repro", *TARGETS)), "it comes from DVC's cache"
    return torn


@pytest.mark.kill
@pytest.mark.long
def test_kill_9_at_any_moment_loses_nothing(
    server: FaultyServer, archives: dict[str, bytes], tmp_path: Path
) -> None:
    whole = connect(Clone(tmp_path / "whole", take_a_sample, PAPER), server, archives)
    began = time.monotonic()
    whole.dvc("repro", *TARGETS)
    duration = time.monotonic() - began
    expected, dice, torn = digests(whole.folder), random.Random(0), 0
    server.throttle = 2_000_000  # bytes/s: the download takes a few seconds
    for number in range(KILLS):
        clone = connect(Clone(tmp_path / f"{number}", take_a_sample, PAPER), server, archives)
        process = clone.start("repro", *TARGETS)
        with suppress(subprocess.TimeoutExpired):
            process.wait(dice.uniform(0.5, duration + 4))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        torn += finish(clone)
        assert digests(clone.folder) == expected, f"kill {number}"
    print(f"{KILLS} kills, dvc.lock torn by {torn} of them")
