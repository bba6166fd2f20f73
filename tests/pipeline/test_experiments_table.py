"""`make experiments`: the table of DVC's experiments fits a screen."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from s2rm.reporting.summary import SHORT

ROOT = Path(__file__).parents[2]
WIDTH = 200  # characters
SWITCHES = [
    {"fusion.balancing": "false"},
    {"decoder.kind": "fpn"},
    {"train.with_val": "true"},  # named like a split
    {"data.images": "20"},  # like a folder
    *({"train.seed": str(seed)} for seed in range(2, 8)),
]
DVC_YAML = """
stages:
  train:
    cmd: mkdir -p models && cp params.yaml models/one
    params: [fusion, decoder, train, data]
    outs: [models/one]
  report:
    cmd: python report.py
    deps: [models/one, report.py]
    metrics: [{summary.json: {cache: false}}]
"""
REPORT = """
import json, zlib
seed = zlib.crc32(open("models/one", "rb").read())
names = json.load(open("names.json"))
run = {name: round(seed % (1000 + k) / 10, 2) for k, name in enumerate(names)}
json.dump({"one": run, "two": run}, open("summary.json", "w"))
"""


def dvc(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "COLUMNS": str(WIDTH), "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        ["dvc", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.slow
def test_two_runs_and_ten_experiments_fit_a_screen(tmp_path: Path) -> None:
    splits = ("val", "testA", "testB")
    names = ["val_mIoU", "val_oIoU", *(f"{short}_{split}" for short in SHORT.values() for split in splits)]
    (tmp_path / "names.json").write_text(json.dumps(names))
    (tmp_path / "report.py").write_text(REPORT)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "params.yaml").write_text(
        "fusion: {balancing: true}\ndecoder: {kind: casg}\n"
        "train: {seed: 1, with_val: false}\ndata: {images: 10}\n"
    )
    for command in ("git init -q", "git add -A", "git commit -qm start"):
        subprocess.run(command.split(), cwd=tmp_path, check=True)
    dvc(tmp_path, "init", "-q")
    dvc(tmp_path, "repro", "-q")
    for command in ("git add -A", "git commit -qm pipeline"):
        subprocess.run(command.split(), cwd=tmp_path, check=True)
    for switches in SWITCHES:
        dvc(tmp_path, "exp", "run", "-q", *(f"-S{key}={value}" for key, value in switches.items()))
    recipe = re.search(r"^experiments:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert recipe
    command = shlex.split(recipe[1].replace("\\\n", "").replace("$$", "$"))
    assert command[:3] == ["dvc", "exp", "show"]
    table = dvc(tmp_path, *command[1:])
    rows = [line.rstrip() for line in table.splitlines() if line.strip(" ─")]
    assert max(map(len, rows)) <= WIDTH
    assert "…" not in table  # nothing was cut
    assert len(rows) == 2 + len(SWITCHES)  # the head, the commit, the experiments
    shown = set(rows[0].split())
    assert {f"{run}.val_{metric}" for run in ("one", "two") for metric in ("mIoU", "oIoU")} <= shown
    assert {key for switches in SWITCHES for key in switches} <= shown
