"""Overrides mean what they mean for DVC, and both read the same values in the same file."""

import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides as apply_as_dvc
from dvc.utils.serialize import load_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from s2rm.config.load import load_params
from s2rm.core.errors import UserError
from s2rm.core.files import read_yaml

ROOT = Path(__file__).parents[2]
FILES = ["params.yaml", "presets/paper.yaml", "presets/study.yaml"]
RATES = ["5e-5", "1e-5", "0.00005", "5.0E-05", "1e-4", "3e-4"]


@pytest.mark.parametrize(
    "text",
    [
        *("5e-5", "5e-05", "1E5", ".5", "5.", "+1", "1e400", ".inf", ".nan", "0x1F", "0o10", "010", "1_000"),
        *("yes", "no", "on", "off", "y", "True", "TRUE", "null", "NULL", "~", "1:30", "2001-01-01", "'1'"),
    ],
)
def test_a_value_is_read_as_dvc_reads_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"a: {text}\n")
    assert repr(read_yaml(path, "")) == repr(load_yaml(path))


@pytest.mark.parametrize("text", RATES)
def test_a_rate_by_hand(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("rate: 0.002\n", f"rate: {text}\n"))
    assert load_params(path).train.learning_rate == float(text)


@pytest.mark.slow
def test_a_rate_by_dvc_arrives_in_the_optimiser(tmp_path: Path) -> None:
    """A repository whose only stage writes the rate of the optimiser that the training builds."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "stage.py").write_text(
        "from torch import nn\n"
        "from s2rm.config.load import load_params\n"
        "from s2rm.training.optim import build_optimiser\n"
        "class Model(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.vision, self.language = nn.Module(), None\n"
        "        self.vision.backbone, self.decoder = nn.Linear(2, 2), nn.Linear(2, 2)\n"
        "optimiser = build_optimiser(Model(), load_params().train)\n"
        "open('rate', 'w').write(repr(max(group['lr'] for group in optimiser.param_groups)))\n"
    )
    (tmp_path / "dvc.yaml").write_text(
        f"stages:\n  rate:\n    cmd: {sys.executable} stage.py\n    deps: [stage.py]\n    params: [train]\n"
        "    outs: [rate]\n"
    )

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("git", "init", "-q")
    run("git", "config", "user.email", "tests@example.org")
    run("git", "config", "user.name", "tests")
    run(sys.executable, "-m", "dvc", "init", "-q")
    run("git", "add", "-A")
    run("git", "commit", "-qm", "start")
    for text in RATES:
        run(sys.executable, "-m", "dvc", "exp", "run", "-S", f"train.learning_rate={text}")
        assert (tmp_path / "rate").read_text() == repr(float(text))
        changed = run("git", "diff", "--numstat", "params.yaml").split()
        assert changed[:2] == ["1", "1"], "one line of params.yaml changes"
        run("git", "checkout", "params.yaml")


@pytest.mark.parametrize("name", FILES)
def test_the_files_have_the_form_that_dvc_writes(tmp_path: Path, name: str) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / name, path)
    apply_as_dvc(path, ["fusion.balancing=false"])
    before, after = (file.read_text().splitlines() for file in (ROOT / name, path))
    assert [line for line in after if line not in before] == ["  balancing: false"]
    assert len(after) == len(before)


@pytest.mark.parametrize(
    "override",
    [
        *("vision.options={}", "~vision.options.channels", "+vision.options.drop_path_rate=0.3"),
        *("vision.options={channels: [8, 8, 8, 8]}", "loss={bce: 2}", "fusion.stages=[2,3]"),
        *("train.seed=010", "data.folder=/a b/c", "language.pretrained=null", "language.pretrained="),
        "tracking.experiment=yes",
        *("data.catalog='a,b'", "language.pretrained=${vision.backbone}", "++train.seed=4"),
    ],
)
def test_an_override_does_what_dvc_does(tmp_path: Path, override: str) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    apply_as_dvc(path, [override])
    try:
        wanted: Any = load_params(path)
    except UserError as error:
        wanted = str(error).replace(str(path), "FILE")
    try:
        found: Any = load_params(ROOT / "params.yaml", [override])
    except UserError as error:
        found = str(error).replace(str(ROOT / "params.yaml"), "FILE")
    assert found == wanted


def test_a_file_that_dvc_breaks_is_not_named_by_its_temporary_path() -> None:
    with pytest.raises(
        UserError, match=r"^invalid overrides fusion.stages=\[\]: the file that DVC writes is not"
    ):
        load_params(ROOT / "params.yaml", ["fusion.stages=[]"])


VALUES = (
    *("", "null", "-1", "0", "1e999", ".nan", "[]", "{}", "[[[]]]", "{a: {b: 1}}", "'x'", "yes", "&a [*a]"),
    *("*a", "!!python/object:os.system x", "!!binary aa", "2001-99-99", "\ttab", '"\\x"', "| \n x", "? a"),
    *("- a", "\0"),
)
KINDS = ("value", "cut", "swap", "bytes", "indent")


@pytest.mark.fuzz
@settings(max_examples=150)
@given(st.integers(0, 2**32), st.sampled_from(VALUES), st.sampled_from(KINDS))
def test_mutated_parameters_load_or_are_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, seed: int, value: str, kind: str
) -> None:
    chance = random.Random(seed)
    lines = (ROOT / "params.yaml").read_text().splitlines()
    at = chance.randrange(len(lines))
    if kind == "value":
        lines[at] = f"{lines[at].partition(':')[0]}: {value}"
    elif kind == "cut":
        lines = lines[:at]
    elif kind == "swap":
        other = chance.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "indent":
        lines[at] = " " * chance.randrange(4) + lines[at].lstrip()
    content = "\n".join(lines).encode()
    if kind == "bytes":
        place = chance.randrange(len(content))
        content = content[:place] + chance.randbytes(3) + content[place + 1 :]
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_bytes(content)
    said = ""
    try:
        load_params(path)
    except UserError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1, said
