"""Time of `dvc status` when nothing has changed: images as one pack, as we keep them, or as a folder.

    python benchmarks/status.py --json

Two DVC projects in a temporary folder: a stage that writes the images, and sixteen that depend on them, as
five benchmarks' preprocessing, training and evaluation and the report do.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from timing import machine, parser, show, time_interleaved

from s2rm.core.errors import exit_on_user_error
from s2rm.data.image_zip import ImageZipWriter

FILES, BYTES, DEPENDANTS = 26_000, 2_000, 16
CONFIG = '[core]\n    analytics = false\n    check_update = false\n[cache]\n    type = "hardlink"\n'


def main() -> None:
    arguments = parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        projects = {}
        for kind in ("pack", "folder"):
            projects[kind] = Path(temporary) / kind
            _make(projects[kind], kind)
        seconds = time_interleaved(
            {
                f"dvc status, {kind}": lambda project=project: _dvc(project, "status")
                for kind, project in projects.items()
            },
            arguments.repeats,
        )
    medians = [seconds[f"dvc status, {kind}"]["median_s"] for kind in ("folder", "pack")]
    show(
        {
            "seconds": seconds,
            "ratios": {"folder / pack": medians[0] / medians[1]},
            "files": FILES,
            "dependants": DEPENDANTS,
            "machine": machine(),
        },
        arguments.json,
    )


def _make(project: Path, kind: str) -> None:
    (project / ".dvc").mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    (project / ".dvc" / "config").write_text(CONFIG)
    images = project / "data" / "images"
    images.mkdir(parents=True)
    files = {f"{number:012d}.jpg": f"{number:0{BYTES}d}".encode() for number in range(FILES)}
    if kind == "pack":
        with ImageZipWriter(images / "train2014.zip") as pack:
            for name, data in files.items():
                pack.add(name, data)
    else:
        for name, data in files.items():
            (images / name).write_bytes(data)
    stages = {"images": {"cmd": "echo", "outs": ["data/images"]}}
    stages |= {
        f"use{number}": {"cmd": f"echo > {number}.txt", "deps": ["data/images"], "outs": [f"{number}.txt"]}
        for number in range(DEPENDANTS)
    }
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    _dvc(project, "commit", "--force", "images")
    _dvc(project, "repro")


def _dvc(project: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=project, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


if __name__ == "__main__":
    exit_on_user_error(main)
