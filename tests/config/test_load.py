"""Parameter files: complete, or refused in one line that says what, where, and what is allowed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from s2rm.config.load import find_missing, load_params
from s2rm.config.params import Params
from s2rm.core.errors import UserError

ROOT = Path(__file__).parents[2]
PARAMS = ROOT / "params.yaml"


def fault(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_params(PARAMS, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("key", "typo", "said"),
    [
        ("fusion.balancing", "balancng", "unknown key fusion.balancng=True; did you mean balancing?"),
        ("preprocess", "preproces", "; did you mean preprocess?"),
        ("data.refshapes.seed", "sead", "unknown key data.refshapes.sead=7; did you mean seed?"),
        ("evaluate.threshold", "xyzzy", "; known are images_per_batch, threshold"),
    ],
)
def test_a_misspelt_key_names_the_nearest(tmp_path: Path, key: str, typo: str, said: str) -> None:
    """A misspelt key is also a missing one, which would be less helpful to name."""
    tree = load_params(PARAMS, ["fusion.balancing=true", "data.refshapes.seed=7"]).model_dump()
    *sections, last = key.split(".")
    section = tree
    for name in sections:
        section = section[name]
    section[typo] = section.pop(last)
    with pytest.raises(UserError) as caught:
        load_params(write(tmp_path, yaml.safe_dump(tree)))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def keys(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """All keys, sections included, except those that name a run or a backbone's own option."""
    found = []
    for key, value in tree.items():
        found += [] if prefix == "runs." else [f"{prefix}{key}"]
        if isinstance(value, dict) and key != "options":
            found += keys(value, f"{prefix}{key}.")
    return found


@pytest.mark.parametrize("key", keys(yaml.safe_load(PARAMS.read_text())))
def test_a_missing_key_is_named_although_it_has_a_default(tmp_path: Path, key: str) -> None:
    tree = yaml.safe_load(PARAMS.read_text())
    *sections, last = key.split(".")
    section = tree
    for name in sections:
        section = section[name]
    del section[last]
    path = write(tmp_path, yaml.safe_dump(tree))
    with pytest.raises(UserError) as caught:
        load_params(path)
    assert str(caught.value) == f"{path}: {key} is missing"


def test_of_several_faults_the_most_helpful_is_named(tmp_path: Path) -> None:
    """What is misspelt, then what is missing, then what is not allowed."""
    tree = yaml.safe_load(PARAMS.read_text())
    tree["train"]["epochs"] = 0
    del tree["language"]["hidden"]
    with pytest.raises(UserError, match=r"language\.hidden is missing$"):
        load_params(write(tmp_path, yaml.safe_dump(tree)))
    tree["language"]["hiden"] = 96
    with pytest.raises(UserError, match=r"unknown key language\.hiden=96; did you mean hidden\?$"):
        load_params(write(tmp_path, yaml.safe_dump(tree)))


@pytest.mark.parametrize("section", ["train", "runs"])
def test_a_section_without_keys_is_no_mapping(tmp_path: Path, section: str) -> None:
    tree = {**yaml.safe_load(PARAMS.read_text()), section: None}
    with pytest.raises(UserError, match=rf"{section} is None: it must be a valid dictionary"):
        load_params(write(tmp_path, yaml.safe_dump(tree)))


@pytest.mark.parametrize("name", ["params.yaml", "presets/paper.yaml", "presets/study.yaml"])
def test_the_project_s_files_hold_every_parameter(name: str) -> None:
    assert list(find_missing(yaml.safe_load((ROOT / name).read_text()), Params)) == []


def test_an_unknown_key_of_a_run_names_the_known_ones(tmp_path: Path) -> None:
    tree = yaml.safe_load(PARAMS.read_text())
    name = next(iter(tree["runs"]))
    tree["runs"][name]["evaluate"] = ["refcoco_unc"]
    with pytest.raises(UserError, match=rf"unknown key runs\.{name}\.evaluate=.*did you mean evaluate_on\?"):
        load_params(write(tmp_path, yaml.safe_dump(tree)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds NoneType, not a mapping"),
        ("- a\n- b\n", "holds list, not a mapping"),
        ("a: [1\nb: 2\n", "is not valid YAML"),
        ("a: \x00", "is not valid YAML"),
    ],
)
def test_files_that_do_not_hold_parameters(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=said) as caught:
        load_params(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the parameters in .*no\.yaml: No such file"):
        load_params(tmp_path / "no.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\xff\n")
    with pytest.raises(UserError, match="is not valid YAML"):
        load_params(tmp_path / "latin.yaml")


def test_overrides() -> None:
    params = load_params(
        PARAMS,
        [
            "fusion.balancing=false",
            "+vision.options.a=[1, 2]",
            "data.refshapes.seed=9",
            "language.pretrained='a=b'",
        ],
    )
    assert params.fusion.balancing is False
    assert params.vision.options == {"channels": [32, 48, 64, 96], "a": [1, 2]}
    assert params.data.refshapes.seed == 9
    assert params.language.pretrained == "a=b"
    assert load_params(PARAMS, ["train.seed=5", "train.seed=6"]).train.seed == 6


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("fusion.balancing", "invalid override 'fusion.balancing': expected section.key=value"),
        ("fusion.balancng=false", "unknown parameter fusion.balancng; did you mean balancing?"),
        ("trian.seed=1", "unknown parameter trian.seed"),
        ("fusion.kind.deeper=1", "unknown parameter fusion.kind.deeper"),
        ("fusion.zzz=1", "unknown parameter fusion.zzz; known are kind, widths"),
        ("fusion.kind=[", "invalid override 'fusion.kind=[': no viable alternative"),
        ("vision.options={a: 1}", "+vision.options.KEY=VALUE adds one, ~vision.options.KEY removes one"),
        ("~vision.options.chanels", "'vision.options.chanels' does not exist"),
        ("train.seed=1,2", "`dvc exp run --queue` makes an experiment of each"),
        ("language.pretrained=${nothing}", "Interpolation key 'nothing' not found"),
        ("", "expected section.key=value"),
    ],
)
def test_invalid_overrides(override: str, said: str) -> None:
    assert said in fault(override)
