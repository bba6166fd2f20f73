"""Pretrained encoders as one folder, fetched before any training, which then needs no network.

vision.safetensors        a backbone of timm, if `vision.pretrained`
language/                 config, weights and tokenizer of a BERT, if `language.pretrained`
weights.json              repository, commit and sha256 of these; `{}` where nothing is pretrained
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from s2rm.acquire.hub.snapshot import fetch_snapshot
from s2rm.config.params import Language, Vision
from s2rm.core.errors import UserError
from s2rm.core.files import link, partial_of, replace_text

VISION, LANGUAGE, RECORD = "vision.safetensors", "language", "weights.json"
# Encoder → file on the Hub → its place; the largest is fetched last.
TARGETS = {
    "vision": {"model.safetensors": VISION},
    "language": {
        name: f"{LANGUAGE}/{name}"
        for name in (
            "config.json",
            "tokenizer_config.json",
            "tokenizer.json",
            "vocab.txt",
            "special_tokens_map.json",
            "model.safetensors",
        )
    },
}
REQUIRED = {"vision": ["model.safetensors"], "language": ["config.json", "model.safetensors"]}


@dataclass(frozen=True)
class EncoderWeights:
    """Where a new model's encoders start from; None is random."""

    vision: Path | None = None  # a safetensors file
    language: Path | None = None  # a folder that transformers reads


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
    """Makes the folder `output` anew, of what these parameters call pretrained.

    Args:
        store: where downloads are kept and continued; `output` links to its files where it can.
        revisions: repository → commit. None, or no entry, is the newest: `pin` is told repository and commit.
        offline: nothing is downloaded: what lies in the store and the user's own cache must do.
    """
    record: dict[str, object] = {}
    folder = partial_of(output)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for encoder, repository in _repositories(vision, language).items():
        targets = TARGETS[encoder]
        revision = revisions.get(repository)
        snapshot = fetch_snapshot(
            repository, list(targets), REQUIRED[encoder], store=store, revision=revision, offline=offline
        )
        if revision is None:
            pin(repository, snapshot.commit)
        for name in snapshot.sha256:
            link(snapshot.folder / name, folder / targets[name])
        record[encoder] = {
            "repository": repository,
            "revision": snapshot.commit,
            "sha256": {targets[name]: sha256 for name, sha256 in snapshot.sha256.items()},
        }
    replace_text(folder / RECORD, json.dumps(record, indent=2) + "\n")
    if output.exists():
        shutil.rmtree(output)
    folder.rename(output)


def find_weights(folder: Path, vision: Vision, language: Language) -> EncoderWeights:
    """What of `folder` these parameters need; `UserError` where it holds something else, or nothing."""
    wanted = _repositories(vision, language)
    if not wanted:
        return EncoderWeights()
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        held = {encoder: entry["repository"] for encoder, entry in record.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        raise UserError(f"{folder} holds no pretrained weights: run `dvc repro weights`") from None
    for encoder, repository in wanted.items():
        if held.get(encoder) != repository:
            raise UserError(
                f"{folder} holds {held.get(encoder, 'nothing')} for {encoder}, not {repository}: run "
                "`dvc repro weights`"
            )
    return EncoderWeights(
        vision=folder / VISION if "vision" in wanted else None,
        language=folder / LANGUAGE if "language" in wanted else None,
    )


def _repositories(vision: Vision, language: Language) -> dict[str, str]:
    """Encoder → the repository on the Hub that it starts from."""
    wanted = {}
    if vision.pretrained:
        wanted["vision"] = _repository_of(vision.backbone)
    if language.pretrained is not None:
        wanted["language"] = language.pretrained
    return wanted


def _repository_of(backbone: str) -> str:
    from timm.models import get_pretrained_cfg  # imports torch: seconds, spared where nothing is pretrained

    try:
        known = get_pretrained_cfg(backbone)
    except RuntimeError as error:
        raise UserError(f"vision.backbone is {backbone!r}: {error}") from None
    if known is None or not known.hf_hub_id:
        raise UserError(
            f"vision.backbone is {backbone!r}, of which timm knows no weights on the Hugging Face Hub: "
            "choose another one, or set vision.pretrained=false"
        )
    return str(known.hf_hub_id)
