"""Finds the files of something trained, in a folder here or in a repository on the Hugging Face Hub."""

from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from s2rm.core.errors import UserError

HUB_OPTIONS = {"revision", "token", "cache_dir", "force_download", "local_files_only"}  # of hf_hub_download


def is_local(name: str | Path) -> bool:
    """Say whether `name` means a folder on this machine, there or missing, rather than an id on the Hub.

    An id has the form owner/name; "models/joint" has it too, and is a path where models/ exists.
    """
    path = Path(name)
    return isinstance(name, Path) or path.exists() or len(path.parts) != 2 or path.parent.is_dir()


def find_file(name: str | Path, file: str, *, what: str, **options: Any) -> Path:
    """Return the path of `file`, which is downloaded where `name` is an id on the Hub.

    Args:
        name: a folder, or the id of a repository.
        file: its path in the folder or repository.
        what: what `name` should be, for the message.
        options: those of `hf_hub_download`: revision, token, cache_dir, …

    Raises:
        UserError: there is no such folder, repository or file.
    """
    if is_local(name):
        path = Path(name) / file
        if not path.is_file():
            raise UserError(f"{name} is not a {what}: {file} is missing (train one with `dvc repro`)")
        return path
    try:
        return Path(hf_hub_download(str(name), file, **options))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name} is not a {what} here or on the Hugging Face Hub: {reason}") from None
