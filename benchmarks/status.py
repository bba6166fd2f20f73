"""Time of `dvc status` when nothing has changed: images in one zip, as in the pipeline, or in a folder.

    python benchmarks/status.py --json

Two DVC projects in a temporary folder, each with one stage that writes the images and sixteen that depend on
them: as many as preprocessing, training and evaluation of five benchmarks and the report.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from timing import build_parser, describe_machine, print_result, time_interleaved

from s2rm.core.errors import exit_on_user_error
from s2rm.data.image_zip import ImageZipWriter

FILES, BYTES, DEPENDANTS = 26_000, 2_000, 16  # images, the size of each, stages that depend on them
CONFIG = '[core]\n    analytics = false\n    check_update = false\n[cache]\n    type = "hardlink"\n'


def main() -> None:
    """Print the times and their ratio."""
    parser = build_parser(__doc__)
    parser.add_argument("--files", type=int, default=FILES, help="images (default: %(default)s)")
    parser.add_argument(
        "--dependants", type=int, default=DEPENDANTS, help="stages that depend on them (default: %(default)s)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        projects = {}
        for kind in ("zip", "folder"):
            projects[kind] = Path(temporary) / kind
            make_project(projects[kind], kind, arguments.files, arguments.dependants)
        seconds = time_interleaved(
            {
                f"dvc status, {kind}": lambda project=project: run_dvc(project, "status")
                for kind, project in projects.items()
            },
            arguments.repeats,
        )
    medians = [seconds[f"dvc status, {kind}"]["median_s"] for kind in ("folder", "zip")]
    print_result(
        {
            "seconds": seconds,
            "ratios": {"folder / zip": medians[0] / medians[1]},
            "files": arguments.files,
            "dependants": arguments.dependants,
            "machine": describe_machine(),
        },
        arguments.json,
    )


def make_project(project: Path, kind: str, count: int, dependants: int) -> None:
    """Write a project whose pipeline has run.

    Args:
        project: the folder to make.
        kind: `zip` or `folder`.
        count: images.
        dependants: stages that depend on them.
    """
    (project / ".dvc").mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    (project / ".dvc" / "config").write_text(CONFIG)
    images = project / "data" / "images"
    images.mkdir(parents=True)
    files = {f"{number:012d}.jpg": f"{number:0{BYTES}d}".encode() for number in range(count)}
    if kind == "zip":
        with ImageZipWriter(images / "train2014.zip") as zipped:
            for name, data in files.items():
                zipped.add(name, data)
    else:
        for name, data in files.items():
            (images / name).write_bytes(data)
    stages = {"images": {"cmd": "echo", "outs": ["data/images"]}}
    stages |= {
        f"use{number}": {"cmd": f"echo > {number}.txt", "deps": ["data/images"], "outs": [f"{number}.txt"]}
        for number in range(dependants)
    }
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    run_dvc(project, "commit", "--force", "images")
    run_dvc(project, "repro")


def run_dvc(project: Path, *arguments: str) -> None:
    """Run a DVC command in a project.

    Raises:
        RuntimeError: it failed; the message is its output.
    """
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=project, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


if __name__ == "__main__":
    exit_on_user_error(main)
