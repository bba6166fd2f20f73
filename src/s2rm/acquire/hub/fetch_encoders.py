"""Fetches the pretrained encoders into one folder before any training, which then needs no network.

`s2rm.acquire.hub.weights` describes the folder.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from s2rm.acquire.hub.file_checks import check_safetensors
from s2rm.acquire.hub.language_kind import CONFIG, require_usable_file
from s2rm.acquire.hub.snapshot import fetch_snapshot, take_folder
from s2rm.acquire.hub.weights import (
    LANGUAGE,
    LANGUAGE_FILES,
    RECORD,
    VISION,
    find_local,
    list_repositories,
)
from s2rm.config.params import Language, Vision
from s2rm.core.files import copy, link, partial_of, replace_text

# Encoder → file on the Hub → its path in the folder.
TARGETS = {
    "vision": {"model.safetensors": VISION},
    "language": {name: f"{LANGUAGE}/{name}" for name in LANGUAGE_FILES},
}
# Of each tuple one file is needed.
REQUIRED: dict[str, list[tuple[str, ...]]] = {
    "vision": [("model.safetensors",)],
    "language": [("config.json",), ("tokenizer.json", "vocab.txt"), ("model.safetensors",)],
}


def fetch_weights(
    vision: Vision,
    language: Language,
    output: Path,
    *,
    store: Path,
    revisions: Mapping[str, str | None],
    pin: Callable[[str, str], None],
    offline: bool,
) -> None:
    """Replace the folder `output` by one with the encoders that these parameters call pretrained.

    Args:
        vision: the parameters of the vision encoder.
        language: the parameters of the language encoder.
        output: the folder to write; it links to the files in `store` where the file system allows it.
        store: where downloads are kept, so that they can be continued.
        revisions: repository → commit; None or a missing entry means the newest commit.
        pin: called with repository and commit where `revisions` names none.
        offline: nothing is downloaded; only the store and the user's own cache of the Hub are used.

    Raises:
        UserError: a backbone has no weights on the Hub, a language model cannot be used, or a repository
            or a folder lacks a file.
    """
    record: dict[str, object] = {}
    folder = partial_of(output)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    checks: dict[str, Callable[[Path], None]] = {
        CONFIG: partial(require_usable_file, language=language),
        "model.safetensors": check_safetensors,
    }
    # The language model first: its configuration can refuse it before anything large is fetched.
    for encoder, repository in sorted(list_repositories(vision, language).items()):
        targets = TARGETS[encoder]
        local = find_local(language) if encoder == "language" else None
        if local is not None:
            snapshot = take_folder(local, list(targets), REQUIRED[encoder], checks=checks)
        else:
            revision = revisions.get(repository)
            snapshot = fetch_snapshot(
                repository,
                list(targets),
                REQUIRED[encoder],
                store=store,
                revision=revision,
                offline=offline,
                checks=checks,
            )
            if revision is None:
                pin(repository, snapshot.commit)
        for name in snapshot.sha256:
            place = link if local is None else copy  # no link to a folder that the user may change
            place(snapshot.folder / name, folder / targets[name])
        record[encoder] = {
            "repository": repository,
            "revision": snapshot.commit,
            "sha256": {targets[name]: sha256 for name, sha256 in snapshot.sha256.items()},
        }
    replace_text(folder / RECORD, json.dumps(record, indent=2) + "\n")
    if output.exists():
        shutil.rmtree(output)
    folder.rename(output)
