"""The command line as a user meets it: what it writes, and one clear line for bad input."""

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import yaml
from ablation_runs import record
from PIL import Image
from tiny_model import save

from s2rm import cli
from s2rm.config.params import Params
from s2rm.tracking import MlflowStore

ROOT = Path(__file__).parents[1]
UNITS = (1, 1e9, 1e9, 1e6, 1e6)  # in the table of `describe`: parameters, GFLOPs twice, MB twice


@pytest.fixture(scope="module")
def model_folder(
    tmp_path_factory: pytest.TempPathFactory, build_tiny: Callable, tiny_tokenizer: object
) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save(build_tiny(), tiny_tokenizer, folder)
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 50, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple]:
    """Runs `s2rm ARGUMENTS`; returns exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["s2rm", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call


def test_predict_writes_the_mask_and_an_overlay(
    run: Callable, model_folder: Path, photo: Path, tmp_path: Path
) -> None:
    code, out, _ = run(
        "predict", "--model", model_folder, "--image", photo, "--text", "the red circle",
        "--output", tmp_path / "out.png",
    )  # fmt: skip
    assert code == 0
    assert "'the red circle'" in out
    mask = Image.open(tmp_path / "out.png")
    assert mask.size == (50, 30)
    assert set(np.unique(np.asarray(mask))) <= {0, 255}
    assert Image.open(tmp_path / "out-overlay.png").size == (50, 30)


def test_predict_numbers_the_files_of_several_expressions(
    run: Callable, model_folder: Path, photo: Path, tmp_path: Path
) -> None:
    code, _, _ = run(
        "predict", "--model", model_folder, "--image", photo, "--text", "a", "--text", "b",
        "--output", tmp_path / "out.png",
    )  # fmt: skip
    assert code == 0
    assert {path.name for path in tmp_path.glob("out*")} == {
        "out-1.png", "out-1-overlay.png", "out-2.png", "out-2-overlay.png",
    }  # fmt: skip


@pytest.mark.slow
def test_predict_says_what_was_understood_otherwise(model_folder: Path, tmp_path: Path) -> None:
    """In a process of its own: in this one pytest has set up logging."""
    first, second = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    done = subprocess.run(
        [sys.executable, "-m", "s2rm.cli", "predict", "--model", model_folder, "--image", tmp_path / "a.gif",
         "--text", "the 象 on the left", "--output", tmp_path / "out.png"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.splitlines() == [
        f"{tmp_path / 'a.gif'} has 2 frames: the first is used",
        "'the 象 on the left': the model's vocabulary does not know '象'",
    ]
    assert "% of the image" in done.stdout


@pytest.mark.parametrize(
    ("image", "output", "texts"),
    [
        ("photo.png", "photo.png", ["a"]),
        ("photo-overlay.png", "photo.png", ["a"]),
        ("photo-1.png", "photo.png", ["a", "b"]),
        ("photo-2-overlay.png", "photo.png", ["a", "b"]),
        ("linked.png", "photo.png", ["a"]),
    ],
)
def test_predict_never_writes_over_the_image(
    run: Callable, model_folder: Path, tmp_path: Path, image: str, output: str, texts: list[str]
) -> None:
    Image.new("RGB", (30, 20), "red").save(tmp_path / image)
    if image == "linked.png":
        (tmp_path / "photo.png").symlink_to(tmp_path / image)
    given = (tmp_path / image).read_bytes()
    words = [part for text in texts for part in ("--text", text)]
    files = ("--image", tmp_path / image, "--output", tmp_path / output)
    code, _, err = run("predict", "--model", model_folder, *files, *words)
    assert code == 2
    assert "is --image itself, which would be lost" in err
    assert (tmp_path / image).read_bytes() == given


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"--image": "nowhere.jpg"}, "there is no such image"),
        ({"--image": "broken.jpg"}, "cannot be read as an image"),
        ({"--image": "cut.jpg"}, "cannot be read as an image"),
        ({"--image": "blank.jpg"}, "cannot be read as an image"),
        ({"--image": "vector.svg"}, "cannot be read as an image"),
        ({"--image": "empty"}, "empty cannot be read: Is a directory"),
        ({"--text": "  "}, "--text is empty"),
        ({"--model": "empty"}, "empty is not a trained model: config.json is missing"),
        ({"--model": "nowhere"}, "nowhere is not a trained model: the folder does not exist"),
        ({"--model": "some/where"}, "some/where is not a trained model: the folder does not exist"),
        ({"--model": "broken.jpg"}, "broken.jpg is not a trained model: config.json is missing"),
        ({"--output": "out.gif"}, "masks are written as .png"),
        ({"--output": "nowhere/out.png"}, "there is no folder nowhere"),
        ({"--output": f"{300 * 'a'}.png"}, "cannot be written: File name too long"),
        ({"--output": f"{240 * 'a'}.png"}, "cannot be written: File name too long"),  # with -overlay
        ({"--output": "photo.jpg/out.png"}, "cannot be written: Not a directory"),
        ({"--text": "\u200b"}, "expression 1 is empty"),
        ({"--text": "red \udcff"}, "expression 1 is not valid text"),
        ({"--image": f"{300 * 'a'}.png"}, "cannot be read: File name too long"),
        ({"--image": "photo.jpg/a.png"}, "cannot be read: Not a directory"),
        ({"--output": "folder.png"}, "folder.png cannot be written: it is a folder"),
        ({"--threshold": "1.5"}, "must be between 0 and 1"),
    ],
)
def test_bad_input_gives_one_line_and_exit_code_2(
    run: Callable,
    model_folder: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "cut.jpg").write_bytes(photo.read_bytes()[:400])
    (tmp_path / "blank.jpg").touch()
    (tmp_path / "vector.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.png").mkdir()
    given = {"--model": model_folder, "--image": photo, "--text": "the cat", "--output": "out.png"} | change
    code, out, err = run("predict", *(part for pair in given.items() for part in pair))
    assert code == 2
    assert complaint in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not out


def test_predict_asks_for_the_model_unless_there_is_exactly_one(
    run: Callable, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("predict", "--image", photo, "--text", "a", "--output", "out.png")
    assert code == 2
    assert "--model is missing" in err


def test_describe_says_that_options_shrink_the_backbone(
    run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    code, out, err = run("describe", "--json", "-S", "vision.backbone=resnet50", "-S", "vision.image_size=64")
    assert code == 0
    assert json.loads(out)["total"]["parameters"] < 2e6
    assert err.startswith(
        "vision: resnet50 with channels=[32, 48, 64, 96] has 1.3 M parameters, 23.5 M without"
    )


def test_describe_prints_json_and_takes_overrides(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code, out, _ = run("describe", "--json", "-S", "fusion.kind=none")
    assert code == 0
    parts = json.loads(out)
    assert "language" not in parts
    assert set(parts["total"]) == {
        "parameters", "flops_image", "flops_expression", "activations_image", "activations_expression",
    }  # fmt: skip
    code, out, _ = run("describe", "-S", "fusion.kind=none")
    assert code == 0
    head, names, *rows, units = out.splitlines()
    assert head.split() == ["GFLOPs", "activations,", "MB"]
    assert names.split() == ["part", "parameters", "image", "expression", "image", "expression"]
    assert [row.split()[0] for row in rows] == list(parts)
    shown = [float(cell.replace(",", "")) for cell in rows[-1].split()[1:]]
    scaled = [number / scale for number, scale in zip(parts["total"].values(), UNITS, strict=True)]
    assert shown == pytest.approx(scaled, abs=5e-4)
    assert "each image" in units
    code, _, err = run("describe", "-S", "fusion.kinds=none")
    assert code == 2
    assert "did you mean kind?" in err


def test_ablation_renders_recorded_runs_and_later_their_kept_scores(
    run: Callable, tiny_params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    params = tiny_params("runs.joint.evaluate_on=[refcoco_unc]")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump()))
    code, _, err = run("ablation")
    assert code == 2
    assert err.startswith("error: no run 'joint' of the full model")
    assert not (tmp_path / "mlflow.db").exists(), "reading creates no store"
    assert not (tmp_path / "reports").exists()

    store = MlflowStore(tmp_path, params.tracking.experiment)
    record(store, params, 0.7, tmp_path / "full")
    record(store, tiny_params("evaluate.threshold=0.4"), 0.6, tmp_path / "threshold")
    code, out, err = run("ablation")
    assert code == 0
    assert "Downloading" not in err
    ends = (".md", ".tex", ".json", ".csv", "-curves.csv", ".parquet")
    written = [f"reports/ablations/ablation{end}" for end in ends]
    full, first, *rest = out.splitlines()
    assert full == "full model = params.yaml, which is not committed in git"
    assert first.startswith("left out: joint (")
    assert rest == [*written, "the page shows it after `make report`"]
    before = [Path(name).read_bytes() for name in written]

    (tmp_path / "mlflow.db").unlink()
    assert run("ablation") == (0, "".join(f"{line}\n" for line in (full, *rest)), "")
    assert [Path(name).read_bytes() for name in written] == before
    assert not (tmp_path / "mlflow.db").exists()


def test_help_is_complete(run: Callable) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(command in out for command in ("predict", "describe", "ablation", "ui"))


def test_env_prints_versions_and_settings(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    code, output, _ = run("env", "--json")
    found = json.loads(output)
    assert code == 0
    assert found["libraries"]["torch"] == version("torch")
    assert found["variables"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert found["python"] == platform.python_version()
    assert "torch: " + version("torch") in run("env")[1]
