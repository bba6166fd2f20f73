"""The folder of pretrained encoders: its content, and finding the weights that a new model starts from.

vision.safetensors        a timm backbone, if `vision.pretrained`
language/                 config, weights and tokenizer of a text encoder, if `language.pretrained`
weights.json              repository, commit and sha256 of these; `{}` where nothing is pretrained

`s2rm.acquire.hub.fetch_encoders` writes the folder. It is a module of its own so that a training, which only
reads the folder, loads no code that downloads.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from s2rm.config.params import Language, Vision
from s2rm.core.errors import UserError

VISION, LANGUAGE, RECORD = "vision.safetensors", "language", "weights.json"
LANGUAGE_FILES = (  # the largest is fetched last
    "config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "vocab.txt",
    "special_tokens_map.json",
    "model.safetensors",
)


@dataclass(frozen=True)
class EncoderWeights:
    """The pretrained weights that a new model's encoders start from; None means random initialisation."""

    vision: Path | None = None  # a safetensors file
    language: Path | None = None  # a folder that transformers reads


def find_weights(folder: Path, vision: Vision, language: Language) -> EncoderWeights:
    """Return the weights in `folder` that these parameters need.

    Raises:
        UserError: the folder is missing, or holds the weights of other repositories; or the backbone has no
            pretrained weights.
    """
    wanted = list_repositories(vision, language)
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


def list_repositories(vision: Vision, language: Language) -> dict[str, str]:
    """Map each pretrained encoder ("vision", "language") to its repository on the Hugging Face Hub.

    Raises:
        UserError: `vision.pretrained` is set, but timm knows no weights of the backbone.
    """
    wanted = {}
    if vision.pretrained:
        wanted["vision"] = _repository_of(vision.backbone)
    if language.pretrained is not None:
        wanted["language"] = language.pretrained
    return wanted


def find_local(language: Language) -> Path | None:
    """Return the folder on this machine that `language.pretrained` names; None if it names one on the Hub.

    Raises:
        UserError: the name is a path, and no folder is there.
    """
    name = language.pretrained or ""
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return folder
    if name.startswith(("/", "./", "../", "~")):
        raise UserError(f"language.pretrained is {name}, which is not a folder: correct the path")
    return None


def _repository_of(backbone: str) -> str:
    from timm.models import get_pretrained_cfg  # loads torch, which takes seconds: only where it is needed

    try:
        known = get_pretrained_cfg(backbone)
    except RuntimeError as error:
        raise UserError(f"vision.backbone is {backbone!r}: {error}") from None
    if known is None or not known.hf_hub_id:
        raise UserError(
            f"vision.backbone is {backbone!r}: timm knows no weights of it on the Hugging Face Hub; choose "
            "another backbone, or set vision.pretrained=false"
        )
    return str(known.hf_hub_id)
