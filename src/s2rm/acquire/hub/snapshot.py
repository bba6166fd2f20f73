"""Keeps repositories of the Hugging Face Hub, at one commit each, in a store: <store>/<repository>/<commit>/.

The library's own `hf_hub_download` drops the bytes of an unfinished file when it is stopped, so that half a
gigabyte starts over; here they are kept and the download continues. Every file is checked against the digest
that the Hub lists for it, and its sha256 is recorded once all files are complete. Files may be placed in the
store by hand. The library's settings apply: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, proxies.

https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
"""

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock
from huggingface_hub import HfApi, constants, hf_hub_url, is_offline_mode, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # from the HTTP library that this version uses: no answer at all
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers, validate_repo_id

from s2rm.acquire.hub.file_checks import find_missing, list_needed, refuse_folders
from s2rm.core.errors import UserError
from s2rm.core.files import partial_of, replace, replace_text

logger = logging.getLogger(__name__)

RECORD = "sha256.json"  # file → sha256, beside the files of a commit once all are complete
COMMIT = re.compile("[0-9a-f]{40}")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class UnreachableError(UserError):
    """The Hub gave no usable answer."""


@dataclass(frozen=True)
class Snapshot:
    """Files of a repository at a commit, complete in `folder`."""

    folder: Path
    commit: str
    """Empty for a folder of the user's own."""
    sha256: dict[str, str]


def fetch_snapshot(
    repository: str,
    files: Sequence[str],
    required: Sequence[Collection[str]],
    *,
    store: Path,
    revision: str | None,
    offline: bool,
    checks: Mapping[str, Callable[[Path], None]],
) -> Snapshot:
    """Return files of a repository at one commit; only what the store lacks is downloaded.

    Args:
        repository: the repository's name on the Hub.
        files: the files' names, in the order in which they are fetched.
        required: the names of those that must exist: one of each collection.
        store: the folder of all repositories.
        revision: the commit; None means the newest one.
        offline: the Hub is not asked; only the store and the user's own cache are used.
        checks: name → what is called with the file before the next one is fetched; raises a `UserError`.

    Raises:
        UserError: the files cannot be obtained; the message, one line, says what to do.
        UnreachableError: the Hub gives no usable answer.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise UserError(f"{repository!r} is not a name of a repository on the Hugging Face Hub") from None
    offline = offline or is_offline_mode()
    listing: dict[str, RepoSibling] | None = None
    if revision is None and offline:
        revision = _newest_in_cache(repository, files[0])
    elif revision is None:
        revision, listing = _list(repository, None, required)
    folder = store / repository / revision
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        refuse_folders(folder, files)
        sha256 = _read_record(folder)
        placed = {name for name in files if (folder / name).is_file()}
        if sha256 is None or find_missing(sha256, required) or not placed <= sha256.keys():
            if listing is None and not offline:
                listing = _list_or_trust(repository, revision, files, required, folder)
            for name in files:
                if listing is None:
                    _take_from_cache(repository, revision, name, folder)
                elif name in listing:
                    _obtain(repository, revision, listing[name], folder)
                if name in checks and (folder / name).is_file():
                    checks[name](folder / name)
            placed = {name for name in files if (folder / name).is_file()}
            missing = find_missing(placed, required)
            if missing:
                raise UserError(
                    f"offline, and {repository} at {revision} lacks {', '.join(missing)}: place "
                    f"{list_needed(files, required)} in {folder} by hand, or run this once on a connected "
                    "machine"
                )
            sha256 = {name: _sha256(folder / name) for name in files if name in placed}
            replace_text(folder / RECORD, json.dumps(sha256, indent=2) + "\n")
    return Snapshot(folder, revision, {name: sha256[name] for name in files if name in sha256})


def take_folder(
    folder: Path,
    files: Sequence[str],
    required: Sequence[Collection[str]],
    *,
    checks: Mapping[str, Callable[[Path], None]],
) -> Snapshot:
    """Take a folder of the user's own for a snapshot; the arguments are those of `fetch_snapshot`.

    Raises:
        UserError: a required file is missing, or a check fails.
    """
    refuse_folders(folder, files)
    placed = [name for name in files if (folder / name).is_file()]
    missing = find_missing(placed, required)
    if missing:
        raise UserError(f"{folder} lacks {', '.join(missing)}: place {list_needed(files, required)} there")
    for name in placed:
        if name in checks:
            checks[name](folder / name)
    return Snapshot(folder, "", {name: _sha256(folder / name) for name in placed})


def _list_or_trust(
    repository: str, revision: str, wanted: Sequence[str], required: Sequence[Collection[str]], folder: Path
) -> dict[str, RepoSibling] | None:
    """Return what the Hub lists; None where it does not answer, but the files were placed by hand."""
    try:
        return _list(repository, revision, required)[1]
    except UnreachableError as error:
        if find_missing([name for name in wanted if (folder / name).is_file()], required):
            raise UserError(
                f"{error}, or place {list_needed(wanted, required)} in {folder} by hand"
            ) from None
        logger.warning("%s; the files in %s are used unchecked", error, folder)
        return None


def _list(
    repository: str, revision: str | None, required: Sequence[Collection[str]]
) -> tuple[str, dict[str, RepoSibling]]:
    """Return the commit and its files, by one request to the Hub; refuse where a required one is missing."""
    with _explain(repository, revision):
        info = HfApi().model_info(
            repository, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
    commit, files = info.sha or "", {file.rfilename: file for file in info.siblings or []}
    if not COMMIT.fullmatch(commit) or revision not in (None, commit):
        raise UserError(
            f"{_host()} answers with commit {commit[:60]!r} of {repository}, not {revision or 'one'}: set "
            "another HF_ENDPOINT"
        )
    missing = find_missing(files, required)
    pickles = [name for name in files if name.endswith(PICKLES)]
    if missing and pickles:
        raise UserError(
            f"{repository} at {commit} has no {', '.join(missing)}, only {', '.join(pickles)}: pickles can "
            "run code and are not loaded; choose a repository, or a commit, with safetensors"
        )
    if missing:
        raise UserError(f"{repository} at {commit} has no {', '.join(missing)}: choose another repository")
    return commit, files


def _obtain(repository: str, commit: str, file: RepoSibling, folder: Path) -> None:
    """Obtain one file: from the store itself, from the user's cache or from the Hub."""
    path = folder / file.rfilename
    if not path.exists():
        _take_from_cache(repository, commit, file.rfilename, folder)
    if path.exists() and _is_intact(path, file):
        return
    partial = partial_of(path)
    begun = partial.stat().st_size if partial.exists() else 0
    if file.size is None or begun > file.size:  # it cannot be continued: a mirror may list no sizes
        partial.unlink(missing_ok=True)
        begun = 0
    # The Hub's own address, never the one that it forwards to: so the token is sent to the Hub only.
    url = hf_hub_url(repository, file.rfilename, revision=commit)
    headers = {
        **build_hf_headers(),
        "Accept-Encoding": "identity",
    }  # a compressed download could not be continued
    with _explain(repository, commit), partial.open("ab") as stream:
        http_get(
            url,
            stream,
            resume_size=begun,
            headers=headers,
            expected_size=file.size,
            displayed_filename=file.rfilename,
        )
    if not _is_intact(partial, file):
        partial.unlink()
        raise UserError(f"{file.rfilename} of {repository} arrived damaged and was deleted: run this again")
    partial.replace(path)


def _take_from_cache(repository: str, commit: str, name: str, folder: Path) -> None:
    """Copy a file from the user's own cache of the Hub; a link would let this project change the cache."""
    cached = try_to_load_from_cache(repository, name, revision=commit)
    if isinstance(cached, str) and not (folder / name).exists():
        replace(folder / name, lambda partial: shutil.copyfile(cached, partial))


def _newest_in_cache(repository: str, name: str) -> str:
    cached = try_to_load_from_cache(repository, name, revision=constants.DEFAULT_REVISION)
    if not isinstance(cached, str):
        raise UserError(
            f"offline, and no commit of {repository} is pinned: enter one in the catalog, or run this once "
            "on a connected machine"
        )
    return Path(cached).parent.name


def _read_record(folder: Path) -> dict[str, str] | None:
    """Return the sha256 of every file, if all are complete and unchanged; delete damaged ones."""
    try:
        recorded: dict[str, str] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    damaged = [name for name in recorded if not (folder / name).is_file()]
    for name in set(recorded) - set(damaged):
        if _sha256(folder / name) != recorded[name]:
            logger.warning("%s has changed since it was fetched: fetching it again", folder / name)
            (folder / name).unlink()
            damaged.append(name)
    return None if damaged else recorded


def _is_intact(path: Path, file: RepoSibling) -> bool:
    """Return whether a file has the digest that the Hub lists: sha256 if large, git's sha1 if small."""
    if file.lfs is not None:
        return _sha256(path) == file.lfs.sha256
    if file.blob_id is not None:
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.blob_id
    return file.size in (None, path.stat().st_size)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _host() -> str:
    """Return the Hub's host for messages; HF_ENDPOINT itself may hold a password."""
    return urlsplit(constants.ENDPOINT).hostname or "HF_ENDPOINT"


@contextmanager
def _explain(repository: str, revision: str | None) -> Iterator[None]:
    """Turn the library's errors into `UserError`, without their texts, which show headers."""
    try:
        yield
    except GatedRepoError:
        raise UserError(
            f"{repository} is gated: accept its terms at {_host()}/{repository} and set HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise UserError(f"{repository} has no commit {revision}: correct the commit in the catalog") from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{_host()} has no repository {repository}, or it is private: correct the name, or set HF_TOKEN"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = "check HF_TOKEN" if status in (401, 403) else "try again later"
        raise UnreachableError(
            f"{_host()} answers {status} for {repository}: {advice}, or set HF_ENDPOINT to a mirror"
        ) from None
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise UnreachableError(
            f"cannot reach {_host()} for {repository} ({type(error).__name__}): run this again when "
            "connected, or set HF_ENDPOINT to a mirror"
        ) from None
    except OSError as error:  # the library's own check of the size has no strerror
        reason = error.strerror or "the connection broke"
        raise UserError(f"cannot download {repository}: {reason}; run this again, it continues") from None
    except (ValueError, KeyError, TypeError):  # not a page of the Hub, for example one of a captive portal
        raise UnreachableError(
            f"{_host()} answers for {repository} with something that is not of a Hugging Face Hub: correct "
            "HF_ENDPOINT"
        ) from None
