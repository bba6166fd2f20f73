"""One file over HTTP, from the first of several mirrors that gives it whole and right.

What has come is kept in `<target>.part` and continued, after a broken line as after a killed process;
`target` appears complete and checked.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from s2rm.acquire.http.download import Download, WrongContentError
from s2rm.acquire.http.partial import PartialFile, part_of
from s2rm.acquire.http.transport import Mirror, Patience, RefusedError

__all__ = ["FetchError", "Mirror", "Patience", "WrongContentError", "fetch", "part_of"]

logger = logging.getLogger(__name__)


class FetchError(Exception):
    """No mirror gave the file; `attempts`: a (`Mirror.shown`, reason) for each, in their order."""

    def __init__(self, target: Path, attempts: list[tuple[str, str]]) -> None:
        reasons = "; ".join(f"{url}: {reason}" for url, reason in attempts)
        super().__init__(f"no mirror gave {target.name}: {reasons or 'there is none'}")
        self.attempts = attempts


def fetch(
    mirrors: Sequence[Mirror],
    target: Path,
    *,
    size: int | None,
    check: Callable[[Path], None],
    pinned: bool,
    progress: Callable[[int], None] = lambda count: None,
    patience: Patience = Patience(),  # noqa: B008 (it is frozen)
) -> Mirror:
    """Writes `target` and returns the mirror that served, or served last; `FetchError` where none did.

    `size`: bytes, where known. `check` looks at the complete file; `pinned`: by a checksum, so that bytes
    of several mirrors may be put together. `progress` is told of bytes that are there, come, or (below
    zero) are dropped; it may raise to stop, and is asked so (with 0) while nothing comes. `UserError` where
    the file cannot be written.
    """
    part = PartialFile(target, progress)
    attempts = []
    for mirror in mirrors:
        download = Download(mirror, part, size, check, pinned, patience)
        try:
            download.run()
        except RefusedError as refused:
            count = f" (after {download.asked} attempts)" if download.asked > 1 else ""
            attempts.append((mirror.shown, f"{refused}{count}"))
            logger.info("%s: %s", *attempts[-1])
        else:
            part.publish()
            served = part.origin.url_sha256 if part.origin else None
            return next((other for other in mirrors if other.url_sha256 == served), mirror)
    raise FetchError(target, attempts)
