"""Stage 0: digests of what DVC does not see of each stage's inputs → .digests/<stage>.json.

    python pipeline/digests.py

Every other stage depends on its own file, not on source files: it runs again when code that it loads has
changed, and does not when a comment, a docstring or the code of other stages has. Reads the sources in src/
and pipeline/ (see source_tree.py and code_digest.py) and writes one digest per module, so `git diff
.digests` shows which modules changed; and, with data.source=folder or a language model in a folder, one
of that folder (own_data.py). Takes half a second, and runs every time: of a folder elsewhere DVC cannot know
whether it has changed.

Where a change of code cannot change the results, `dvc commit STAGE` keeps them.
"""

import json
import logging
from pathlib import Path

import context
from code_digest import digest_scripts, join_names, list_changes
from logs import set_up_logging
from own_data import digest_language_model, digest_own_data
from paths import DIGESTS, ROOT

from s2rm.acquire.hub.weights import find_local
from s2rm.acquire.own_folder import find_folder
from s2rm.config.load import load_params
from s2rm.core.errors import exit_on_user_error
from s2rm.core.files import replace_text

logger = logging.getLogger(__name__)


def main() -> None:
    """Write the digests of all stages; log which modules changed since the last time."""
    set_up_logging()
    stages = find_stages(context.CHECKOUT / "pipeline")
    digests = digest_scripts(context.CHECKOUT, [f"pipeline.{stage}" for stage in stages])
    params = load_params()
    data = params.data
    if data.source == "folder":
        folder = find_folder(data, ROOT)
        digests["pipeline.download"]["the data folder"] = digest_own_data(folder, data.benchmarks)
    if (model := find_local(params.language)) is not None:
        digests["pipeline.weights"]["the language model's folder"] = digest_language_model(model)
    for stage in stages:
        path, now = DIGESTS / f"{stage}.json", digests[f"pipeline.{stage}"]
        before = _read(path)
        if before is not None and (changed := list_changes(before, now)):
            logger.info("what %s depends on changed: %s", stage, join_names(changed))
        replace_text(path, json.dumps(now, indent=2) + "\n")
    for path in DIGESTS.glob("*.json"):
        if path.stem not in stages:
            path.unlink()


def find_stages(folder: Path) -> list[str]:
    """Return the names of the scripts in `folder` that run as programs, except this one."""
    return sorted(
        path.stem
        for path in folder.glob("*.py")
        if path.stem != "digests" and '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")
    )


def _read(path: Path) -> dict[str, str] | None:
    """Return the digests of the last time; None where there are none, or the file has merge conflicts."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    exit_on_user_error(main)
