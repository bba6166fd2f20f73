"""The parameters: every fault is one line that says what, where, and what is allowed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from s2rm.config.load import load_params
from s2rm.config.params import Params, flatten
from s2rm.config.switches import FULL_METHOD, IDLE
from s2rm.core.errors import UserError

ROOT = Path(__file__).parents[2]
PARAMS = ROOT / "params.yaml"


def keys(tree: Any, prefix: str = "") -> set[str]:
    """All keys, but those that name runs or a backbone's own options."""
    if not isinstance(tree, dict) or prefix in ("vision.options.", "runs."):
        return {prefix}
    return {key for name, value in tree.items() for key in keys(value, f"{prefix}{name}.")}


def fault(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_params(PARAMS, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return path


def test_the_project_s_own_parameters_load() -> None:
    params = load_params(PARAMS)
    assert params.model_dump(mode="json") == yaml.safe_load(PARAMS.read_text())


@pytest.mark.parametrize("name", ["paper", "study"])
def test_the_presets_have_the_same_keys(name: str) -> None:
    preset = ROOT / "presets" / f"{name}.yaml"
    assert keys(yaml.safe_load(preset.read_text())) == keys(yaml.safe_load(PARAMS.read_text()))
    load_params(preset)


def test_the_paper_s_preset_is_of_the_paper_s_scale() -> None:
    params = load_params(ROOT / "presets" / "paper.yaml")
    assert params.vision.image_size == 480
    assert params.language.pretrained == "google-bert/bert-base-uncased"


def test_the_study_sees_rows_and_columns() -> None:
    """12 slices or more at the finest fused stage, things of 16 px or more, at the model's input size."""
    params = load_params(ROOT / "presets" / "study.yaml")
    assert "refshapes_structured" in params.runs["joint"].evaluate_on
    assert params.vision.image_size / 2 ** (min(params.fusion.stages) + 1) >= 12
    assert params.vision.image_size / 6 >= 16


def test_the_structured_partition_exists_as_drawn_data_only() -> None:
    message = fault("data.source=archives", "data.benchmarks=[refcoco_unc, refshapes_structured]")
    assert "data.benchmarks has refshapes_structured, which is drawn" in message


def test_parameters_may_not_be_changed_later() -> None:
    params = load_params(PARAMS)
    with pytest.raises(ValueError, match="frozen"):
        params.train.seed = 5


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("fusion.kind=s2r", ["fusion.kind is 's2r'", "'s2rm', 'pwam', 'concat' or 'none'"]),
        ("fusion.rotations=3", ["fusion.rotations is 3", "4, 2 or 1"]),
        ("fusion.widths=[8, 8]", ["fusion.widths is [8, 8]", "4 items"]),
        ("fusion.stages=[]", ["fusion.stages is []", "1 item"]),
        ("fusion.stages=[1, 5]", ["fusion.stages.1 is 5", "1, 2, 3 or 4"]),
        ("fusion.stages=[1, 1]", ["fusion.stages is [1, 1]", "each stage once"]),
        ("fusion.slice_kernel=4", ["fusion.slice_kernel is 4", "odd"]),
        ("fusion.balancing=1", ["fusion.balancing is 1", "boolean"]),
        ("vision.image_size=100", ["vision.image_size is 100", "multiple of"]),
        ("vision.image_size=16", ["vision.image_size is 16", "greater than or equal to 32"]),
        ("vision.options=null", ["vision.options is None", "dictionary"]),
        ("language.heads=5", ["language.hidden is 96", "multiple of language.heads=5"]),
        ("language.dropout=1.5", ["language.dropout is 1.5", "less than or equal to 1"]),
        ("train.epochs=0", ["train.epochs is 0", "greater than or equal to 1"]),
        ("train.epochs=2.5", ["train.epochs is 2.5", "integer"]),
        ("train.epochs='3'", ["train.epochs is '3'", "integer"]),
        ("train.learning_rate=0", ["train.learning_rate is 0", "greater than 0"]),
        ("train.learning_rate=fast", ["train.learning_rate is 'fast'", "number"]),
        ("train.device=gpu", ["train.device is 'gpu'", "'auto', 'cpu' or 'cuda'"]),
        ("evaluate.threshold=1", ["evaluate.threshold is 1", "less than 1"]),
        ("loss={bce: 0, dice: 0, auxiliary: 0.4}", ["loss.bce is 0", "one of them must be positive"]),
        ("data.source=folder", ["data.folder is null", "data.source=folder needs"]),
        ("data.benchmarks=[refcoco]", ["data.benchmarks.0 is 'refcoco'", "refcoco_unc"]),
        ("data.benchmarks=[refcocog_umd]", ["data.benchmarks lacks", "refcoco_unc", "runs."]),
        ("runs={}", ["runs is {}", "1 item"]),
        (
            "runs={a/b: {train_on: [refcoco_unc], evaluate_on: [refcoco_unc]}}",
            ["runs.a/b is no name", "letters, digits"],
        ),
        ("runs={a: {train_on: [], evaluate_on: [refcoco_unc]}}", ["runs.a.train_on is []", "1 item"]),
        ("tracking.enabled=null", ["tracking.enabled is None", "boolean"]),
    ],
)
def test_values_that_are_not_allowed(override: str, said: list[str]) -> None:
    fixed = ["language.hidden=96"] if "heads" in override else []
    message = fault(*fixed, override)
    assert message.startswith(f"{PARAMS}: ")
    for part in said:
        assert part in message


def test_a_single_semantic_leaves_nothing_to_balance() -> None:
    one = ("fusion.kind=s2rm", "fusion.coparsing=language_to_vision", "fusion.rotations=1")
    message = fault(*one, "fusion.balancing=true")
    assert "set fusion.balancing=false" in message
    assert load_params(PARAMS, [*one, "fusion.balancing=false"]).fusion.parsed_semantics == 1


IDLE_SWITCHES = [
    ("fusion.kind=pwam", "fusion.distribution=tile"),
    ("fusion.kind=pwam", "fusion.coparsing=none"),
    ("fusion.kind=pwam", "fusion.rotations=2"),
    ("fusion.kind=pwam", "fusion.recurrence=gru"),
    ("fusion.kind=pwam", "fusion.slice_kernel=5"),
    ("fusion.kind=pwam", "fusion.balancing=false"),
    ("fusion.kind=concat", "fusion.query=word"),
    ("fusion.kind=concat", "fusion.balancing=false"),
    ("fusion.kind=none", "fusion.query=word"),
    ("fusion.kind=none", "fusion.rotations=1"),
    ("fusion.kind=none", "decoder.language_guidance=false"),
    ("fusion.distribution=tile", "fusion.query=word"),
    ("fusion.coparsing=none", "fusion.rotations=2"),
    ("fusion.coparsing=none", "fusion.recurrence=gru"),
    ("fusion.coparsing=none", "fusion.slice_kernel=1"),
    ("decoder.kind=fpn", "decoder.language_guidance=false"),
    ("decoder.kind=fpn", "decoder.foreground_guidance=false"),
]


@pytest.mark.parametrize(("cause", "idle"), IDLE_SWITCHES)
def test_a_switch_that_changes_nothing_is_refused(cause: str, idle: str) -> None:
    key, _, value = idle.partition("=")
    full = str(FULL_METHOD[key]).lower()
    assert fault(cause, idle) == (
        f"{PARAMS}: {key} is {value}, which changes nothing with {cause}: leave it at {full}"
    )


@pytest.mark.parametrize("cause", ["=".join(cause) for cause in IDLE])
def test_the_full_method_s_values_are_no_fault(cause: str) -> None:
    load_params(PARAMS, [cause])


@pytest.mark.parametrize(
    "overrides",
    [
        ("fusion.kind=pwam", "fusion.query=word", "fusion.stages=[4]", "fusion.cascade=bottom_up"),
        ("fusion.kind=concat", "fusion.stages=[1, 2]", "decoder.language_guidance=false"),
        ("fusion.kind=none", "fusion.cascade=bottom_up", "decoder.foreground_guidance=false"),
        ("fusion.coparsing=none", "fusion.balancing=false", "fusion.distribution=tile"),
    ],
)
def test_switches_that_do_act_go_together(overrides: tuple[str, ...]) -> None:
    load_params(PARAMS, overrides)


@pytest.mark.parametrize(
    "path",
    [PARAMS, ROOT / "presets" / "paper.yaml", ROOT / "presets" / "study.yaml"],
    ids=["embedded", "paper", "study"],
)
def test_the_parameters_as_given_are_the_full_method(path: Path) -> None:
    """So that a single override of them is a single change of the method, and no idle one."""
    params = load_params(path).model_dump()
    for key, value in FULL_METHOD.items():
        section, name = key.split(".")
        assert params[section][name] == value, key


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
    """Rather than only say what is missing for it."""
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


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    tree = yaml.safe_load(PARAMS.read_text())
    del tree["train"]["seed"]
    with pytest.raises(UserError, match=r"train\.seed is missing$"):
        load_params(write(tmp_path, yaml.safe_dump(tree)))
    del tree["train"]
    with pytest.raises(UserError, match=r": train is missing$"):
        load_params(write(tmp_path, yaml.safe_dump(tree)))


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
        ("a: [1\nb: 2\n", "is no YAML"),
        ("a: \x00", "is no YAML"),
    ],
)
def test_files_that_are_no_parameters(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=said) as caught:
        load_params(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the parameters in .*no\.yaml: No such file"):
        load_params(tmp_path / "no.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\xff\n")
    with pytest.raises(UserError, match="is no YAML"):
        load_params(tmp_path / "latin.yaml")


def test_overrides() -> None:
    params = load_params(
        PARAMS,
        [
            "fusion.balancing=false",
            "vision.options={a: [1, 2]}",
            "data.refshapes.seed=9",
            "language.pretrained=a=b",
        ],
    )
    assert params.fusion.balancing is False
    assert params.vision.options == {"a": [1, 2]}
    assert params.data.refshapes.seed == 9
    assert params.language.pretrained == "a=b"
    assert load_params(PARAMS, ["train.seed=5", "train.seed=6"]).train.seed == 6


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("fusion.balancing", "is no override: write section.key=value"),
        ("fusion.balancng=false", "fusion.balancng is no parameter; did you mean balancing?"),
        ("trian.seed=1", "trian.seed is no parameter"),
        ("fusion.kind.deeper=1", "fusion.kind.deeper is no parameter"),
        ("fusion.zzz=1", "fusion.zzz is no parameter; known are kind, widths"),
        ("fusion.kind=[", "is no YAML"),
    ],
)
def test_overrides_that_are_none(override: str, said: str) -> None:
    assert said in fault(override)


def test_runs_by_name() -> None:
    params: Params = load_params(PARAMS)
    name = next(iter(params.runs))
    assert params.get_run(name) == params.runs[name]
    with pytest.raises(UserError, match=f"unknown run 'nobody': params.yaml has {name}"):
        params.get_run("nobody")


def test_nested_keys_are_joined() -> None:
    tree = {"fusion": {"kind": "s2rm", "widths": [1, 2]}, "runs": {"a": {"b": None}}, "c": 1}
    assert flatten(tree) == {"fusion.kind": "s2rm", "fusion.widths": [1, 2], "runs.a.b": None, "c": 1}
    params = load_params(PARAMS)
    assert params.flatten()["data.refshapes.seed"] == params.data.refshapes.seed
    assert params.flatten() == flatten(yaml.safe_load(PARAMS.read_text()))
