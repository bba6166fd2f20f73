"""docs/parameters.md says what the code says."""

import re
import subprocess
import sys
from pathlib import Path

from s2rm.config.load import load_params

ROOT = Path(__file__).parents[2]
COMMAND = "python -m s2rm.config.parameter_docs > docs/parameters.md"


def test_the_reference_of_the_parameters_is_fresh() -> None:
    command = [sys.executable, "-m", "s2rm.config.parameter_docs"]
    written = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    page = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
    assert written == page, f"docs/parameters.md or params.yaml has changed: run `{COMMAND}`"


def test_the_reference_lists_every_parameter_once() -> None:
    page = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
    params = load_params(ROOT / "params.yaml")
    keys = [key for key in params.flatten() if not key.startswith(("runs.", "vision.options."))]
    keys += ["runs.<name>.train_on", "runs.<name>.evaluate_on", "vision.options"]
    assert sorted(re.findall(r"^\| `(.+?)` \|", page, flags=re.MULTILINE)) == sorted(keys)


def test_the_reference_says_what_is_allowed() -> None:
    page = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
    for line in (
        "| `fusion.rotations` | `4`, `2`, `1` | `4` |",
        "| `fusion.widths` | list of 4: integer, ≥ 8, multiple of 8 | `[16, 32, 64, 64]` |",
        "| `evaluate.threshold` | number, > 0, < 1 | `0.5` |",
        "| `language.pretrained` | text or `null` | `null` |",
        "| `tracking.enabled` | `true`, `false` | `true` |",
    ):
        assert line in page
