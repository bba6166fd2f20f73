"""The parameters: their defaults, and refusals of one line that say what, where, and what is allowed."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from s2rm.config.benchmarks import DRAWN_ONLY
from s2rm.config.load import load_params
from s2rm.config.network import Decoder, Fusion
from s2rm.config.params import Params, flatten
from s2rm.config.section import Section
from s2rm.config.switches import FULL_METHOD, IDLE
from s2rm.core.errors import UserError

ROOT = Path(__file__).parents[2]
PARAMS = ROOT / "params.yaml"


def keys(tree: Any, prefix: str = "") -> set[str]:
    """All keys, except those that name runs or a backbone's own options."""
    if not isinstance(tree, dict) or prefix in ("vision.options.", "runs."):
        return {prefix}
    return {key for name, value in tree.items() for key in keys(value, f"{prefix}{name}.")}


def fault(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_params(PARAMS, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_project_s_own_parameters_load() -> None:
    params = load_params(PARAMS)
    assert params.model_dump(mode="json") == yaml.safe_load(PARAMS.read_text())


@pytest.mark.parametrize("name", ["paper", "study"])
def test_the_presets_have_the_same_keys(name: str) -> None:
    preset = ROOT / "presets" / f"{name}.yaml"
    assert keys(yaml.safe_load(preset.read_text())) == keys(yaml.safe_load(PARAMS.read_text()))
    load_params(preset)


def test_the_defaults_are_the_full_method() -> None:
    """As a library: `Fusion()` is the method of the paper, with each of its parts."""
    assert FULL_METHOD == {
        "fusion.kind": "s2rm",
        "fusion.distribution": "attention",
        "fusion.query": "sentence",
        "fusion.affinity": "sigmoid",
        "fusion.refine": True,
        "fusion.coordinates": False,
        "fusion.coparsing": "both",
        "fusion.rotations": 4,
        "fusion.state": "generator",
        "fusion.recurrence": "scan",
        "fusion.slice_kernel": 3,
        "fusion.balancing": True,
        "fusion.cascade": "none",
        "decoder.kind": "casg",
        "decoder.language_guidance": True,
        "decoder.foreground_guidance": True,
    }
    defaults = flatten({"fusion": Fusion().model_dump(), "decoder": Decoder().model_dump()})
    assert FULL_METHOD.items() <= defaults.items()
    assert Fusion().stages == [1, 2, 3, 4]
    assert Fusion().why_no_weights is Fusion().why_no_gates is Fusion().why_no_words is None


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("presets/paper.yaml", {"vision", "language", "fusion", "decoder", "loss", "train", "evaluate"}),
        ("params.yaml", {"data", "preprocess", "runs", "report", "tracking"}),
    ],
)
def test_the_defaults_are_those_of_the_files(name: str, sections: set[str]) -> None:
    wanted = load_params(ROOT / name).model_dump(include=sections)
    assert Params().model_dump(include=sections) == wanted
    assert wanted.keys() == sections


def test_the_defaults_are_allowed_and_not_shared() -> None:
    assert Params.model_validate(Params().model_dump()) == Params()
    assert Params().vision.options is not Params().vision.options
    assert Params().runs is not Params().runs
    assert Fusion().widths is not Fusion().widths


def sections_of(model: type[Section]) -> set[type[Section]]:
    inner = [get_args(field.annotation) or (field.annotation,) for field in model.model_fields.values()]
    found = {each[-1] for each in inner if isinstance(each[-1], type) and issubclass(each[-1], Section)}
    return {model}.union(*(sections_of(each) for each in found))


def test_every_parameter_is_described_in_one_sentence() -> None:
    sections = sections_of(Params)
    assert len(sections) == 14
    for section in sections:
        assert section.__doc__
        assert section.__doc__.endswith(".")
        for key, field in section.model_fields.items():
            described = field.description or getattr(field.annotation, "__doc__", "")
            assert described.endswith("."), (section, key)
            assert ". " not in described, (section, key)
            assert "\n" not in described, (section, key)


def test_the_paper_s_preset_has_the_paper_s_scale() -> None:
    params = load_params(ROOT / "presets" / "paper.yaml")
    assert params.vision.image_size == 480
    assert params.language.pretrained == "google-bert/bert-base-uncased"


def test_the_study_sees_rows_and_columns() -> None:
    """At the model's input size: at least 12 slices at the finest fused stage, objects of at least 16 px."""
    params = load_params(ROOT / "presets" / "study.yaml")
    assert params.runs["structured"].evaluate_on == ["refshapes_structured"]
    assert params.vision.image_size / 2 ** (min(params.fusion.stages) + 1) >= 12
    assert params.vision.image_size / 6 >= 16


@pytest.mark.parametrize("name", DRAWN_ONLY)
def test_a_structured_partition_exists_as_drawn_data_only(name: str) -> None:
    message = fault("data.source=archives", f"data.benchmarks=[refcoco_unc, {name}]")
    assert f"data.benchmarks has {name}, which is drawn" in message


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
        ("runs.joint.train_on=[]", ["runs.joint.train_on is []", "1 item"]),
        ("tracking.enabled=null", ["tracking.enabled is None", "boolean"]),
    ],
)
def test_values_that_are_not_allowed(override: str, said: list[str]) -> None:
    fixed = ["language.hidden=96"] if "heads" in override else []
    message = fault(*fixed, override)
    assert message.startswith(f"{PARAMS}: ")
    for part in said:
        assert part in message


def change(key: str, value: Any) -> Params:
    """params.yaml with one value replaced, which an override would merge."""
    tree = load_params(PARAMS).model_dump()
    *sections, last = key.split(".")
    inner = tree
    for section in sections:
        inner = inner[section]
    inner[last] = value
    return Params.model_validate(tree)


RUN = {"train_on": ["refcoco_unc"], "evaluate_on": ["refcoco_unc"]}


@pytest.mark.parametrize(
    "name", ["a/b", "", " ", "a b", "..", ".a", "-a", "é", "a²", "a" * 65, "a\n", "a+b", "a@b"]
)
def test_names_that_a_file_a_stage_or_mlflow_cannot_have(name: str) -> None:
    with pytest.raises(ValueError, match="is not a valid run name: use up to 64 letters"):
        change("runs", {name: RUN})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("runs", {}, "at least 1 item"),
        ("runs", {"Joint": RUN, "joint": RUN}, "differ in case only"),
        ("fusion.stages", [], "at least 1 item"),
        ("data.benchmarks", ["refcoco_unc", "refcoco_unc"], "refcoco_unc twice"),
        ("runs.joint.train_on", ["refcoco_unc", "refcoco_unc"], "refcoco_unc twice"),
        ("runs.joint.evaluate_on", ["referit_berkeley"] * 3, "referit_berkeley twice"),
        ("tracking.experiment", "", "tracking.experiment is ''"),
        ("tracking.experiment", " s2rm", "tracking.experiment is ' s2rm'"),
        ("tracking.experiment", "a\tb", "tracking.experiment is"),
        ("tracking.experiment", "x" * 501, "tracking.experiment is"),
        ("train.learning_rate", float("inf"), "finite number"),
        ("train.clip", float("nan"), "finite number"),
        ("loss.bce", float("inf"), "finite number"),
    ],
)
def test_values_that_cannot_be_meant(key: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        change(key, value)


def test_a_single_semantic_leaves_nothing_to_balance() -> None:
    one = ("fusion.kind=s2rm", "fusion.coparsing=language_to_vision", "fusion.rotations=1")
    message = fault(*one, "fusion.balancing=true")
    assert "set fusion.balancing=false" in message
    assert load_params(PARAMS, [*one, "fusion.balancing=false"]).fusion.parsed_semantics == 1


IDLE_SWITCHES = [
    ("fusion.kind=pwam", "fusion.distribution=tile"),
    ("fusion.kind=pwam", "fusion.affinity=softmax"),
    ("fusion.kind=pwam", "fusion.refine=false"),
    ("fusion.kind=pwam", "fusion.coordinates=true"),
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
    ("fusion.distribution=tile", "fusion.affinity=softmax"),
    ("fusion.distribution=tile", "fusion.refine=false"),
    ("fusion.distribution=tile", "fusion.coordinates=true"),
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
def test_the_full_method_s_values_are_accepted(cause: str) -> None:
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
def test_switches_that_change_something_are_accepted_together(overrides: tuple[str, ...]) -> None:
    load_params(PARAMS, overrides)


@pytest.mark.parametrize(
    "path",
    [PARAMS, ROOT / "presets" / "paper.yaml", ROOT / "presets" / "study.yaml"],
    ids=["embedded", "paper", "study"],
)
def test_the_parameters_as_given_are_the_full_method(path: Path) -> None:
    """So that one override is one change of the method, and does not leave another switch idle."""
    params = load_params(path).model_dump()
    for key, value in FULL_METHOD.items():
        section, name = key.split(".")
        assert params[section][name] == value, key


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
