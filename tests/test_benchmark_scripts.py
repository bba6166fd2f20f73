"""The scripts of benchmarks/ run, print the JSON that they promise, and are summarised in a report."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from s2rm.config.params import Params
from s2rm.core.errors import UserError

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path.stem for path in ROOT.glob("benchmarks/*.py"))
SHARED = {"full_refcoco", "random_inputs", "timing"}  # imported by the others
MACHINE = {"processor": "a CPU", "cores": 2, "threads": 2, "memory_gib": 8, "python": "3.12", "torch": "3"}
RESULT = {
    "command": "python benchmarks/sweep.py",
    "date": "2030-01-02",
    "seconds": {"stream": {"median_s": 0.0021, "min_s": 0.002, "max_s": 0.0029}},
    "ratios": {"numba / stream": 3.5},
    "left_out": {"associative_scan": "torch lacks it"},
    "machine": MACHINE,
}


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    """The scripts as modules; their names are common words and do not stay in sys.modules."""
    before = {name: sys.modules.pop(name) for name in SCRIPTS if name in sys.modules}
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield {name: importlib.import_module(name) for name in SCRIPTS}
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
        for name in SCRIPTS:
            sys.modules.pop(name, None)
        sys.modules.update(before)


def test_every_script_can_be_imported_and_names_its_command(scripts: dict[str, ModuleType]) -> None:
    for name in set(SCRIPTS) - SHARED:
        assert f"python benchmarks/{name}.py" in (scripts[name].__doc__ or ""), name


def test_make_bench_runs_scripts_that_exist(scripts: dict[str, ModuleType]) -> None:
    assert {script for script, *_ in scripts["all"].RUNS.values()} <= {f"{name}.py" for name in SCRIPTS}


def test_the_report_has_date_machine_command_times_and_what_was_left_out(
    scripts: dict[str, ModuleType],
) -> None:
    lines = scripts["all"].render({"sweep": RESULT}).splitlines()
    for line in (
        "# Benchmarks of 2030-01-02",
        "| hardware | a CPU, 2 cores, 8 GiB of memory |",
        "| versions | python 3.12, torch 3 |",
        "`python benchmarks/sweep.py` (2 threads)",
        "| stream | 2.1 ms | 2.0 ms … 2.9 ms |",
        "| **numba / stream** | **3.50** | |",
        "| associative_scan | left out: torch lacks it | |",
    ):
        assert line in lines


def test_the_report_has_results_of_one_day_and_one_machine(scripts: dict[str, ModuleType]) -> None:
    others: dict[str, dict[str, Any]] = {
        "fewer threads": {**RESULT, "machine": {**MACHINE, "threads": 1}},
        "another day": {**RESULT, "date": "2030-01-01"},
        "another machine": {**RESULT, "machine": {**MACHINE, "cores": 64}},
        "without a date": {key: value for key, value in RESULT.items() if key != "date"},
    }
    alike = scripts["all"].select_alike({**others, "sweep": RESULT}, "sweep")
    assert list(alike) == ["fewer threads", "sweep"]


def test_a_benchmark_of_the_day_is_written_beside_the_others(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = scripts["all"]
    monkeypatch.setattr(module, "RESULTS", tmp_path / "json")
    monkeypatch.setattr(module, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(module, "run", lambda name: RESULT)
    for name in ("sweep", "evaluate"):
        monkeypatch.setattr(sys, "argv", ["all.py", name])
        module.main()
    assert sorted(path.name for path in (tmp_path / "json").iterdir()) == ["evaluate.json", "sweep.json"]
    (report,) = (tmp_path / "reports").iterdir()
    assert report.name == "2030-01-02.md"
    assert [line for line in report.read_text().splitlines() if line.startswith("## ")] == [
        "## sweep",
        "## evaluate",
    ]


def test_a_benchmark_runs_from_the_projects_root_and_a_failure_is_named(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = scripts["all"]
    script = "solvers.py"
    monkeypatch.setattr(module, "RUNS", {"good": (script, "--images", "1"), "bad": (script, "--images", "x")})
    monkeypatch.chdir(tmp_path)
    result = module.run("good")
    assert result["command"] == f"python benchmarks/{script} --images 1"
    assert {"date", "refshapes_structured"} <= result.keys()
    with pytest.raises(UserError, match=r"benchmarks/solvers\.py failed with exit code 2"):
        module.run("bad")


@pytest.fixture(scope="module")
def tiny_file(tiny_params: Callable[..., Params], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parameter file with the tests' tiny sizes."""
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(yaml.safe_dump(tiny_params("train.expressions_per_batch=8").model_dump(mode="json")))
    return path


def test_the_first_batch_is_made_as_in_training(
    scripts: dict[str, ModuleType],
    tiny_params: Callable[..., Params],
    tiny_data: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = "runs={joint: {train_on: [refcoco_unc], evaluate_on: [refcoco_unc]}}"
    params = tiny_params("data.benchmarks=[refcoco_unc]", runs)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    (tmp_path / "data").symlink_to(tiny_data.raw.parent)
    monkeypatch.chdir(tmp_path)
    scripts["overhead"].make_first_batch()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by Linux's own means")
@pytest.mark.parametrize(
    "script",
    [
        ("evaluate", "--expressions", "1", "2"),
        ("loader", "--scale", "0.002"),
        ("overhead",),
        ("prepare", "--scale", "0.01"),
        ("status", "--files", "20", "--dependants", "1"),
        ("sweep",),
        ("train",),
    ],
    ids=lambda script: script[0],
)
def test_a_benchmark_prints_one_json_object(script: tuple[str, ...], tiny_file: Path) -> None:
    name, *arguments = script
    options = ["--params", str(tiny_file), "--repeats", "1", "--json"]
    printed = _run(name, *arguments, *options)
    assert {"seconds", "machine"} <= printed.keys()
    for values in printed["seconds"].values():
        assert 0 < values["min_s"] <= values["median_s"] <= values["max_s"]
    assert {"processor", "cores", "threads", "memory_gib", "python", "torch"} <= printed["machine"].keys()


def test_the_step_without_each_measure_is_compared_with_the_whole(
    scripts: dict[str, ModuleType],
    tiny_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = scripts["step"]
    seconds = {module.EVERYTHING: 1.0, **dict.fromkeys(module.WITHOUT, 1.5)}
    monkeypatch.setattr(module, "time_step_apart", lambda path, without: seconds[without])
    monkeypatch.setattr(sys, "argv", ["step.py", "--params", str(tiny_file), "--repeats", "1", "--json"])
    module.main()
    printed = json.loads(capsys.readouterr().out)
    assert printed["ratios"] == {f"without {name} / everything": 1.5 for name in module.WITHOUT}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("without", ["everything", "the fused sweep"])
def test_a_variant_of_the_step_is_timed_in_its_own_process(without: str, tiny_file: Path) -> None:
    command = [sys.executable, "benchmarks/step.py", "--params", str(tiny_file), "--without", without]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0


@pytest.mark.slow
@pytest.mark.long
def test_the_studies_without_training_print_one_json_object() -> None:
    shares = _run("solvers", "--images", "3", "--json")
    alone = {"expressions", "attributes", "position", "blind"}
    assert set(shares["refshapes_structured"]["all"]) == alone
    assert set(shares["refshapes_two_hops"]["two hops"]) == {*alone, "first hop", "last hop"}
    curve = _run("relations", "--steps", "8", "--json")["curve"]
    assert [point["expressions"] for point in curve] == [64 * step for step in range(1, 9)]


def _run(name: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, f"benchmarks/{name}.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


@pytest.mark.slow
def test_the_gpu_script_measures_and_plans_the_same_step(
    scripts: dict[str, ModuleType], tiny_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the device: there, the clock, the memory and the copies are stand-ins."""
    gpu, torch = scripts["gpu"], scripts["gpu"].torch
    properties = type("Properties", (), {"total_memory": 80 * 2**30})()
    for name, value in (
        ("get_device_name", lambda: "NVIDIA H100 80GB HBM3"),
        ("get_device_properties", lambda index: properties),
        ("reset_peak_memory_stats", lambda: None),
        ("max_memory_allocated", lambda: 2**30),
        ("empty_cache", lambda: None),
    ):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.nn.Module, "cuda", lambda self: self)
    monkeypatch.setattr(gpu, "to_gpu", lambda batch: batch)
    monkeypatch.setattr(gpu, "profile", lambda step, trace: {})
    monkeypatch.setattr(gpu, "time_on_gpu", lambda work: (work(), {"median_s": 0.5})[1])
    monkeypatch.setattr(gpu, "LAST_COMPILE", -1.0)  # nothing is compiled
    params = tiny_params()
    total = gpu.describe(params)["total"]
    training = gpu.measure_training(params, total, 1e12, None, gpu.time.monotonic())
    evaluation = gpu.measure_evaluation(params, total, 1e12)
    assert training["expressions"] == params.train.expressions_per_batch
    assert set(training["steps"]) == {"none", "head", "all"}
    for row in training["steps"].values():
        assert row["eager"]["expressions_per_s"] == 2 * training["expressions"]
        assert row["plan"]["peak_gib"] > 0 < row["plan"]["roofline_s"]
        assert "the time was up" in row["compiled"]["failed"]
    agreement = gpu.measure_agreement(str(ROOT / "presets" / "study.yaml"))
    assert agreement["largest_difference"] == 0 < agreement["largest_logit"]
    hours = gpu.estimate(params, training, evaluation)
    assert hours["evaluate_h"] > 0
    result = {"device": "H100", "training": training, "evaluation": evaluation}
    text = "\n".join(gpu.render({**result, "agreement": agreement, "paper_run": hours}))
    assert "train, head, eager" in text
    assert "evaluate, eager" in text
