"""Define the command `s2rm`: it uses trained models, describes them, and compares recorded runs."""

import argparse
import json
import os
import re
import sys
from pathlib import Path

from s2rm.core.errors import UserError, exit_on_user_error
from s2rm.core.process import bind_threads
from s2rm.core.project import PREPARED, enter_project
from s2rm.tracking.commands import add_commands


def main() -> None:
    """Run the command and exit with its code."""
    exit_on_user_error(_main)


def _main() -> None:
    arguments = _parser().parse_args()
    arguments.command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s2rm",
        description="Referring image segmentation with S²RM + CASG. `dvc repro` runs the pipeline itself.",
        epilog="Exit codes: 0 done, 1 an error of the program or the machine, 2 an error in the input.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    predict = commands.add_parser(
        "predict",
        help="segment what expressions refer to in an image",
        description="Writes the mask (white on black, at the image's size) to OUTPUT and an overlay beside "
        "it, NAME-overlay.png; with several expressions to NAME-1.png, NAME-2.png and so on.",
    )
    predict.add_argument("--model", type=Path, help="a trained folder; default: the only one in models/")
    predict.add_argument("--image", type=Path, required=True, help="JPEG, PNG, WebP, BMP, TIFF or GIF")
    predict.add_argument("--text", action="append", required=True, help="an expression; may be repeated")
    predict.add_argument("--output", type=Path, required=True, help="file for the mask, .png")
    predict.add_argument("--threshold", type=float, default=0.5, help="on the probability (default: 0.5)")
    predict.set_defaults(command=_predict)

    describe = commands.add_parser("describe", help="parameters, FLOPs and activations of the model, by part")
    _take_params(describe)
    describe.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    describe.set_defaults(command=_describe)

    plan = commands.add_parser(
        "plan",
        help="what the trainings will need: batches, memory, time, disk; needs no GPU",
        description="Computes a step with fake tensors, which have shapes and no values. Times are "
        "rooflines, not measurements.",
    )
    plan.add_argument("--gpu", metavar="NAME", help="H100, A100-80GB, RTX4090, …; or its memory in GiB")
    _take_params(plan)
    plan.set_defaults(command=_plan)

    ablation = commands.add_parser(
        "ablation",
        help="compare the recorded runs with the full model, that of the committed params.yaml",
        description="Renders reports/ablations/NAME.md, .tex and .csv from the runs in MLflow, and keeps "
        "their scores in NAME.parquet, from which the tables are rendered where nothing is recorded.",
    )
    ablation.add_argument("--name", default="ablation", help="name of the study (default: ablation)")
    ablation.add_argument(
        "--full", type=Path, help="parameters of the full model (default: params.yaml as last committed)"
    )
    ablation.set_defaults(command=_ablation)

    score = commands.add_parser(
        "score",
        help="score the predicted masks of any model against the prepared data",
        description="Reads JSON, JSON lines, CSV or Parquet. A record has sent_id, or ref_id and sentence, "
        "or file_name and expression; and a mask: COCO's RLE, polygons, or the path of a PNG or .npy file.",
    )
    score.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="the file; docs/scoring.md")
    score.add_argument("--benchmark", required=True, help="as data/prepared has it, such as refcoco_unc")
    score.add_argument("--split", required=True, help="such as val, testA")
    score.add_argument(
        "--protocol",
        default="both",
        help="both, model, original, lavt, cris, lisa (default: both, model and original)",
    )
    score.add_argument("--side", type=int, help="of the model's square, pixels (default: 480)")
    score.add_argument("--threshold", type=float, help="on probabilities (default: the protocol's)")
    score.add_argument(
        "--missing",
        choices=("refuse", "zero"),
        default="refuse",
        help="expressions without a prediction: refuse, or count them as IoU 0 (default: refuse)",
    )
    score.add_argument(
        "--unmatched",
        choices=("refuse", "ignore"),
        default="refuse",
        help="predictions for no expression of the benchmark (default: refuse)",
    )
    score.add_argument("--output", type=Path, help="folder for the scores and the analysis, as of a run")
    score.add_argument("--prepared", type=Path, default=PREPARED, help=f"default: {PREPARED}")
    score.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    score.set_defaults(command=_score)

    compare = commands.add_parser(
        "compare",
        help="compare models, or groups of trainings, expression by expression",
        description="The first is compared with each of the others. A MODEL is a folder or file of scores, "
        "an MLflow run (name or id), or a DVC experiment or git revision (REV or REV:RUN); several joined "
        "by commas are trainings of one model with other seeds.",
    )
    compare.add_argument(
        "models", nargs="+", metavar="MODEL", help="such as results/joint, no-balancing, HEAD~1:joint"
    )
    compare.add_argument(
        "--size", choices=("model", "original"), default="original", help="of the masks (default: original)"
    )
    compare.add_argument("--output", type=Path, help="a page with pictures, .html")
    compare.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    compare.set_defaults(command=_compare)

    check = commands.add_parser(
        "check",
        help="check parameters, data, weights and machine before any work",
        description="Prints what was found, one line each. Exit code 2 where anything is an error.",
    )
    check.add_argument("--params", type=Path, help="default: the project's params.yaml")
    check.add_argument(
        "-S", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="as for `dvc exp run`"
    )
    check.add_argument("--offline", action="store_true", help="do not ask the Hub about language.pretrained")
    check.add_argument("--json", action="store_true", help="a list of JSON objects instead of a table")
    check.set_defaults(command=_check)

    environment = commands.add_parser(
        "env", help="machine, libraries and settings that results and speed depend on, for bug reports"
    )
    environment.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    environment.set_defaults(command=_env)

    add_commands(commands)
    return parser


def _take_params(command: argparse.ArgumentParser) -> None:
    """Let a command take a parameter file and overrides."""
    command.add_argument("--params", type=Path, default=Path("params.yaml"), help="default: params.yaml")
    command.add_argument(
        "-S", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="as for `dvc exp run`"
    )


def _predict(arguments: argparse.Namespace) -> None:
    """Write the masks that a trained model predicts for expressions about an image."""
    bind_threads()  # before torch is imported
    # The input is checked before torch is loaded, which takes seconds.
    from s2rm.data.images import check_output, read_image, save_png

    if not all(text.strip() for text in arguments.text):
        raise UserError("--text is empty: say in words what to segment, as --text 'the red circle'")
    if arguments.output.suffix.lower() != ".png":
        raise UserError(f"--output is {arguments.output}: masks are written as .png")
    if not 0 < arguments.threshold < 1:
        raise UserError(f"--threshold is {arguments.threshold}: it must be between 0 and 1")
    output: Path = arguments.output
    numbers = range(1, len(arguments.text) + 1)
    paths = [output] if len(numbers) == 1 else [output.with_stem(f"{output.stem}-{each}") for each in numbers]
    overlays = [path.with_stem(f"{path.stem}-overlay") for path in paths]
    for path in (*paths, *overlays):
        check_output(path)
    image = read_image(arguments.image, upright=True)
    for path in (*paths, *overlays):
        if path.exists() and path.samefile(arguments.image):
            raise UserError(f"{path} is --image itself, which would be lost: choose another --output")
    folder = arguments.model or _only_model()

    from PIL import Image

    from s2rm.predictor import Predictor
    from s2rm.reporting.overlays import overlay

    masks = Predictor.from_pretrained(folder, arguments.threshold).predict(image, arguments.text)
    for text, mask, path, shown in zip(arguments.text, masks, paths, overlays, strict=True):
        save_png(Image.fromarray(mask).convert("L"), path)
        save_png(overlay(image, mask), shown)
        print(f"{text!r}: {100 * mask.mean():.1f} % of the image → {path}, {shown}")


def _only_model() -> Path:
    """Return the only trained folder in models/."""
    folders = sorted(path.parent for path in Path("models").glob("*/config.json"))
    if len(folders) != 1:
        found = (
            f"models/ holds {', '.join(folder.name for folder in folders)}" if folders else "models/ is empty"
        )
        raise UserError(f"--model is missing and {found}: name a trained folder, as --model models/joint")
    return folders[0]


def _describe(arguments: argparse.Namespace) -> None:
    """Print parameters, FLOPs and activations of the model by part."""
    from s2rm.config.load import load_params

    params = load_params(arguments.params, arguments.overrides)

    from dataclasses import asdict

    from s2rm.model.named import explain_options
    from s2rm.model.profile import describe

    parts = {name: asdict(part) for name, part in describe(params).items()}
    if line := explain_options(params.vision):
        print(line, file=sys.stderr)
    if arguments.json:
        print(json.dumps(parts, indent=2))
        return
    print(f"{'':<12}{'':>14}{'GFLOPs':>24}{'activations, MB':>24}")
    print(f"{'part':<12}{'parameters':>14}" + 2 * f"{'image':>12}{'expression':>12}")
    for name, part in parts.items():
        shown = [part[key] / 1e9 for key in ("flops_image", "flops_expression")]
        shown += [part[key] / 1e6 for key in ("activations_image", "activations_expression")]
        print(f"{name:<12}{part['parameters']:>14,}" + "".join(f"{number:>12,.3f}" for number in shown))
    print("a batch costs `image` for each image and `expression` for each of its expressions")


def _plan(arguments: argparse.Namespace) -> None:
    """Print what the trainings will need."""
    from s2rm.config.load import load_params

    params = load_params(arguments.params, arguments.overrides)

    from s2rm.core.project import PREPARED
    from s2rm.planning.gpus import find_gpu
    from s2rm.planning.plan import describe_plan, make_plan

    gpu = find_gpu(arguments.gpu) if arguments.gpu else None
    for line in describe_plan(make_plan(params, PREPARED, gpu), gpu, Path(params.data.catalog)):
        print(line)


def _score(arguments: argparse.Namespace) -> None:
    """Score predicted masks of any model."""
    from s2rm.scoring.score_command import run

    run(arguments)


def _compare(arguments: argparse.Namespace) -> None:
    """Compare the scores of models."""
    from s2rm.compare.compare_command import run

    run(arguments)


def _check(arguments: argparse.Namespace) -> None:
    """Print what can be found before any work; exit with 2 where anything is an error."""
    from s2rm.checks.command import run_checks

    offline = arguments.offline or os.environ.get("S2RM_OFFLINE", "0") not in ("", "0")
    if not run_checks(arguments.params, arguments.overrides, as_json=arguments.json, offline=offline):
        sys.exit(2)


def _ablation(arguments: argparse.Namespace) -> None:
    """Render the tables that compare the recorded runs with the full model."""
    from s2rm.ablation.effects_table import render_ablation
    from s2rm.ablation.full_model import load_full
    from s2rm.ablation.kinds import add_kinds
    from s2rm.ablation.runs import collect, save_study
    from s2rm.tracking import MlflowStore, has_store

    name, reports = arguments.name, Path("reports/ablations")
    file = arguments.full.resolve() if arguments.full else None
    root = enter_project()
    if not re.fullmatch(r"[\w-]+", name):
        raise UserError(f"--name is {name!r}: use letters, digits, '_' and '-' only")
    full, origin = load_full(file)
    print(f"full model = {origin}")
    kept = reports / f"{name}.parquet"
    store = MlflowStore(root, full.tracking.experiment) if has_store(root) else None
    study = collect(full, store, kept)
    for line in study.left_out:
        print(f"left out: {line}")
    study = study._replace(scores=add_kinds(study.scores, PREPARED))
    written = render_ablation(study, full, reports, name)
    for path in (*written, save_study(study, full, kept)):
        print(path)
    print("the page shows it after `make report`")


def _env(arguments: argparse.Namespace) -> None:
    """Print machine, libraries and settings."""
    from s2rm.core.environment import describe_environment

    found = describe_environment()
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, each in value.items():
                print(f"  {key}: {each}")
        else:
            print(f"{name}: {', '.join(value) if isinstance(value, list) else value}")


if __name__ == "__main__":
    main()
