"""Keep what reports publish, on this machine, until it is sent to MLflow and after that.

    .tracking/<id of the training>/evaluations/<digest>/evaluation.json   metrics, tags, names of the files
    .tracking/<id of the training>/evaluations/<digest>/files/<folder>/   the files

The id of a training that was not tracked is `untracked`.
"""

import json
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from s2rm.core.errors import UserError
from s2rm.core.files import link, replace_text
from s2rm.tracking.journal import FOLDER
from s2rm.tracking.mlflow_store import MlflowStore
from s2rm.tracking.publish import digest_evaluation, publish

UNTRACKED = "untracked"
FILE = "evaluation.json"
WRITABLE = 0o222


@dataclass
class Evaluation:
    """An evaluation as a report publishes it.

    Attributes:
        trained_run: our own id of the training; None if the training was not tracked.
        name: name of the trained model.
        experiment: name of the MLflow experiment.
        metrics: percentages by metric/split.
        tags: tags of a run of its own.
        experiments: names of the DVC experiments that have this result.
        files: names of the files, by artifact folder.
        datasets: what was evaluated on: name → digest.
        time: in milliseconds since 1970.
    """

    trained_run: str | None
    name: str
    experiment: str
    metrics: dict[str, float]
    tags: dict[str, str]
    experiments: list[str] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)
    time: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    def keep(self, root: Path, files: Mapping[str, list[Path]]) -> Path:
        """Write the evaluation and its files; those of an earlier report of the same one are replaced.

        Args:
            root: folder of the project.
            files: files to keep, by artifact folder.

        Returns:
            The folder of the evaluation.

        Raises:
            UserError: it cannot be written, or `trained_run` cannot be an id.
        """
        name = self.trained_run or UNTRACKED
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
            raise UserError(f"{name!r} is not the id of a training: run `dvc repro --force train evaluate`")
        record = root / FOLDER / name
        folder = record / "evaluations" / digest_evaluation(self.metrics)
        if (folder / FILE).exists():
            before = read_evaluation(folder)
            self.time = before.time
            self.experiments = sorted({*before.experiments, *self.experiments})
        self.files = {name: [path.name for path in paths] for name, paths in files.items()}
        try:
            shutil.rmtree(folder / "files", ignore_errors=True)
            for name, paths in files.items():
                for path in paths:
                    _keep_file(path, folder / "files" / name / path.name)
            return replace_text(folder / FILE, json.dumps(asdict(self), indent=1) + "\n").parent
        except OSError as error:
            raise UserError(f"cannot write the record {folder}: {error.strerror}") from None


def find_evaluations(record: Path) -> list[Path]:
    """Return the folders of the evaluations of a training, the earliest first."""
    folders = [path.parent for path in record.glob(f"evaluations/*/{FILE}")]
    return sorted(folders, key=lambda folder: read_evaluation(folder).time)


def read_evaluation(folder: Path) -> Evaluation:
    """Return the evaluation that is kept in a folder.

    Raises:
        UserError: its file is damaged.
    """
    try:
        content: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Evaluation(**content)
    except (ValueError, TypeError):
        raise UserError(f"{folder / FILE} is damaged") from None


def send_evaluation(folder: Path, store: MlflowStore) -> str:
    """Publish the evaluation that is kept in a folder; return the id of its MLflow run."""
    kept = read_evaluation(folder)
    files = {
        name: [path for path in (folder / "files" / name / each for each in names) if path.exists()]
        for name, names in kept.files.items()
    }
    return publish(
        store,
        kept.trained_run,
        kept.name,
        kept.metrics,
        files,
        kept.tags,
        kept.experiments,
        kept.time,
        kept.datasets,
    )


def _keep_file(source: Path, target: Path) -> None:
    """Link a file that DVC has made read-only, since nobody writes into it; copy any other."""
    if source.stat().st_mode & WRITABLE:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    else:
        link(source, target)
