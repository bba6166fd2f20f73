"""The commands of the README, in order, as a newcomer types them: in a fresh clone, at tiny sizes.

No git identity, an empty home, no variable but PATH. What is replaced is the scale: params.yaml and
presets/paper.yaml are tiny ones, and the installed environment is this one.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from clone import make_model_small
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_RUN = {"make test": "this is one of its tests"}
MAY_CHANGE = {"dvc.lock", "reports/summary.json"}
# As if another model had found everything.
PREDICTIONS = """
import json, pandas as pd
table = pd.read_parquet("data/prepared/refcoco_unc.parquet")
with open("predictions.jsonl", "w") as file:
    for row in table[table["split"] == "testA"].itertuples():
        mask = {"size": [row.height, row.width], "counts": row.mask_rle}
        file.write(json.dumps({"sent_id": row.sent_id, "segmentation": mask}) + "\\n")
"""
SMALL = {"train_images": 8, "eval_images": 3}


def shrink(path: Path, seed: int) -> None:
    yaml = YAML()
    tree: dict[str, Any] = yaml.load((ROOT / "params.yaml").read_text())
    make_model_small(tree)
    tree["data"]["refshapes"].update(SMALL)
    tree["data"]["benchmarks"] = ["refcoco_unc"]
    tree["runs"] = {"joint": {"train_on": ["refcoco_unc"], "evaluate_on": ["refcoco_unc"]}}
    tree["train"].update({"seed": seed, "epochs": 1})
    yaml.dump(tree, path)


class Newcomer:
    """A fresh clone, and a shell that knows nothing of this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "s2rm"
        (folder / "home").mkdir()
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder / "home")}
        listed = self.run("git ls-files --cached --others --exclude-standard", cwd=ROOT)
        for name in listed.splitlines():
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.folder / name)
        shrink(self.folder / "params.yaml", seed=1)
        shrink(self.folder / "presets/paper.yaml", seed=2)
        for name in ("requirements.lock", "pyproject.toml"):  # older than the environment
            os.utime(self.folder / name, (1, 1))
        (self.folder / ".venv").symlink_to(sys.prefix)
        # The committed digests are those of the last commit, not of code that is being edited.
        self.run(".venv/bin/python pipeline/digests.py; git init -q && git add -A")
        self.run("git -c user.name=author -c user.email=author@example.org commit -qm start")

    def run(self, command: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=cwd or self.folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def run_block(self, language: str, block: str) -> str:
        if language == "python":
            (self.folder / ".venv-block.py").write_text(block)
            output = self.run(". .venv/bin/activate && python .venv-block.py")
            (self.folder / ".venv-block.py").unlink()
            return output
        activate = "" if block.startswith("make demo") else ". .venv/bin/activate\n"
        kept = [line for line in block.splitlines() if not line.startswith(tuple(NOT_RUN))]
        return self.run(activate + "\n".join(kept))

    def wait_for_queue(self) -> None:
        deadline = time.monotonic() + 1200
        while re.search(r"Queued|Running", status := self.run(". .venv/bin/activate && dvc queue status")):
            assert time.monotonic() < deadline, status
            time.sleep(2)
        assert "Failed" not in status


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_block_does_what_the_text_says(tmp_path: Path) -> None:
    if not Path(sys.prefix, ".ready-dev").exists():
        pytest.skip("the environment was not made by `make setup`")
    newcomer = Newcomer(tmp_path)
    folder = newcomer.folder
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(blocks) >= 7
    output: dict[str, str] = {}
    for language, block in blocks:
        if "make ablation" in block:
            queued, compare = block.split("make ablation")
            output["queue"] = newcomer.run_block(language, queued)
            newcomer.wait_for_queue()
            block = "make ablation" + compare
        if "s2rm score" in block:
            newcomer.run(f". .venv/bin/activate && python -c {shlex.quote(PREDICTIONS)}")
        output[block] = newcomer.run_block(language, block)
        if "make demo" in block:
            changed = newcomer.run("git status --porcelain").split()[1::2]
            assert set(changed) <= MAY_CHANGE | {".venv"}, "the clone stays clean"
            for name in ("reports/index.html", "models/joint", "mlflow.db", "reports/examples/1.png"):
                assert (folder / name).exists(), name
        if "s2rm predict" in block:
            assert (folder / "mask.png").is_file()
            assert (folder / "mask-overlay.png").is_file()
        if "s2rm score" in block:
            assert re.search(r"mIoU +100\.00", output[block])
            assert "B right, A wrong" in (folder / "compare.html").read_text()
        if "make ablation" in block:
            table = (folder / "reports/ablations/ablation.md").read_text()
            assert "| full | 3 |" in table
            for variant in ("fusion.balancing=false", "fusion.coparsing=none"):
                assert f"| {variant} | 1 |" in table
            assert newcomer.run("git diff --name-only params.yaml") == ""
    summary = json.loads((folder / "reports/summary.json").read_text())
    assert "val_mIoU" in summary["joint"]
