"""Finds the files of a trained model, in a local folder or in a repository on the Hugging Face Hub."""

from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from s2rm.core.errors import UserError

# Keyword arguments of `hf_hub_download`.
HUB_OPTIONS = {"revision", "token", "cache_dir", "force_download", "local_files_only"}


def is_local(name: str | Path) -> bool:
    """Return whether `name` means a local folder, which may be missing, rather than an id on the Hub.

    An id has the form owner/name. "models/joint" has this form too: where a folder models/ exists, that is a
    path.
    """
    path = Path(name)
    return isinstance(name, Path) or path.exists() or len(path.parts) != 2 or path.parent.is_dir()


def find_file(name: str | Path, file: str, *, what: str, **options: Any) -> Path:
    """Return the path of a file, which is downloaded where `name` is an id on the Hub.

    Args:
        name: a folder, or the id of a repository.
        file: path in the folder or repository.
        what: what `name` should be, for the message.
        options: those of `hf_hub_download`: revision, token, cache_dir, …

    Raises:
        UserError: the folder, the repository or the file does not exist, or the Hub cannot be reached.
    """
    if is_local(name):
        path = Path(name) / file
        if not Path(name).exists():
            raise UserError(f"{name} is not a {what}: the folder does not exist (train one with `dvc repro`)")
        if not path.is_file():
            raise UserError(f"{name} is not a {what}: {file} is missing (train one with `dvc repro`)")
        return path
    try:
        return Path(hf_hub_download(str(name), file, **options))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{name} is neither a folder nor a {what} on the Hugging Face Hub that can be read: {reason}"
        ) from None
