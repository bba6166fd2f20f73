"""Check the encoders that the parameters name: whether they can be used, and their pretrained weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, get_session, validate_repo_id
from safetensors import SafetensorError, safe_open

from s2rm.acquire.hub.language_kind import CONFIG, require_usable, require_usable_file
from s2rm.acquire.hub.weights import LANGUAGE, RECORD, find_local, find_weights, list_repositories
from s2rm.checks.findings import Finding, attempt
from s2rm.config.params import Language, Params, Vision
from s2rm.core.errors import UserError
from s2rm.core.memory import count_free_memory
from s2rm.core.project import SCRATCH, WEIGHTS

MODEL = "model.safetensors"  # the weights in the folder of a language model
PATIENCE = 3  # seconds that the Hub has to answer
TRAINED = 16  # bytes per parameter: value, gradient and two moments of AdamW in float32


def check_encoders(params: Params, root: Path, *, offline: bool) -> Iterator[Finding]:
    """Yield what is found about the encoders. Nothing is downloaded or written.

    Args:
        params: all parameters.
        root: folder of the project.
        offline: whether the Hub must not be asked for the configuration of a language model.
    """
    yield _check_backbone(params.vision)
    if params.language.pretrained is not None:
        yield _check_language(params.language, root, offline=offline)
    yield _check_weights(params, root)


def _check_backbone(vision: Vision) -> Finding:
    from s2rm.model.encoders.backbone_sketch import count_parameters, require_trainable, sketch_backbone
    from s2rm.model.named import explain_options

    given: dict[str, Any] = {"image_size": vision.image_size, "options": vision.options}

    def look() -> str:
        parameters = count_parameters(sketch_backbone(vision.backbone, **given))
        require_trainable(vision.backbone, **given)
        need, free = TRAINED * parameters, count_free_memory()
        if free is not None and need > free:
            raise UserError(
                f"vision.backbone={vision.backbone} has {parameters / 1e6:,.0f} M parameters: their training "
                f"needs {need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; choose a smaller one"
            )
        return f"{vision.backbone}, {parameters / 1e6:.1f} M parameters, {vision.image_size} pixels"

    finding = attempt("vision", look)
    line = explain_options(vision) if finding.status == "ok" else None
    return Finding("vision", "warning", line.removeprefix("vision: ")) if line else finding


def _check_weights(params: Params, root: Path) -> Finding:
    chosen = params.vision, params.language
    finding = attempt("weights", lambda: ", ".join(list_repositories(*chosen).values()))
    if finding.status == "error":
        return finding
    if not finding.found:
        return Finding("weights", "ok", "none: both encoders start from random weights")
    try:
        held = find_weights(root / WEIGHTS, *chosen)
    except UserError:  # those of earlier parameters, which `dvc repro` replaces, or none
        return Finding("weights", "not checked", f"{finding.found}: not downloaded yet")
    files = [path for path in (held.vision, held.language and held.language / MODEL) if path]
    for file in files:
        try:
            with safe_open(file, "np"):
                pass
        except (OSError, SafetensorError) as error:
            reason = f"{file} cannot be read: {' '.join(str(error).split())[:100]}"
            return Finding("weights", "error", f"{reason}; run `dvc repro --force weights`")
    return finding


def _check_language(language: Language, root: Path, *, offline: bool) -> Finding:
    """Check the kind of a pretrained language model, by the nearest config.json."""
    name = str(language.pretrained)
    finding = attempt("language", lambda: str(find_local(language) or ""))
    if finding.status == "error":
        return finding
    local = Path(finding.found) / CONFIG if finding.found else _find_config(name, root)

    def look() -> str:
        if local:
            require_usable_file(local, language)
        else:
            require_usable(_ask_hub(name), language)
        return f"{name}, {language.tokens} tokens"

    if local is None and (offline or constants.HF_HUB_OFFLINE):
        return Finding("language", "not checked", f"{name}: offline, and its {CONFIG} is not here")
    try:
        return attempt("language", look)
    except (HTTPError, OfflineModeIsEnabled) as error:
        return Finding(
            "language", "not checked", f"{name}: the Hub cannot be reached ({type(error).__name__})"
        )


def _find_config(name: str, root: Path) -> Path | None:
    """Return the config.json of a language model on this machine; None where there is none."""
    held = root / WEIGHTS / LANGUAGE / CONFIG
    try:
        record = json.loads((root / WEIGHTS / RECORD).read_text(encoding="utf-8"))
        if record["language"]["repository"] == name and held.is_file():
            return held
    except (OSError, ValueError, KeyError, TypeError):
        pass
    stored = sorted((root / SCRATCH / "weights" / name).glob(f"*/{CONFIG}"))
    if stored:
        return stored[-1]
    try:
        cached = try_to_load_from_cache(name, CONFIG)
    except HFValidationError:
        return None
    return Path(cached) if isinstance(cached, str) else None


def _ask_hub(name: str) -> Any:
    """Return the content of a repository's config.json.

    Raises:
        UserError: there is no such repository or file, or what the Hub answers is not JSON.
        HTTPError: the Hub does not answer, or answers with an error of its own.
    """
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise UserError(
            f"language.pretrained is {name!r}, which is not a name on the Hub: it must be owner/name"
        ) from None
    answer = get_session().get(
        hf_hub_url(name, CONFIG), headers=build_hf_headers(), timeout=PATIENCE, follow_redirects=True
    )
    if answer.status_code in (401, 403, 404):
        raise UserError(
            f"the Hub answers {answer.status_code} for {CONFIG} of {name}: correct language.pretrained, or "
            "set HF_TOKEN if it is private"
        )
    try:
        answer.raise_for_status()
        return answer.json()
    except ValueError:
        raise UserError(f"the Hub's {CONFIG} of {name} is not JSON: correct HF_ENDPOINT") from None
