"""Fetches one file over HTTP, from the first of several mirrors that serves it complete and correct.

The bytes received are kept in `<target>.part`, and the download continues from there after a broken
connection or a killed process. `target` appears only when it is complete and checked.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from s2rm.transfer.download import Download, WrongContentError
from s2rm.transfer.partial import PartialFile, part_of
from s2rm.transfer.transport import Mirror, Patience, RefusedError

__all__ = ["FetchError", "Mirror", "Patience", "WrongContentError", "fetch", "part_of"]

logger = logging.getLogger(__name__)


class FetchError(Exception):
    """No mirror served the file.

    Attributes:
        attempts: (`Mirror.shown`, reason) of each mirror, in their order.
    """

    def __init__(self, target: Path, attempts: list[tuple[str, str]]) -> None:
        reasons = "; ".join(f"{url}: {reason}" for url, reason in attempts)
        super().__init__(f"no mirror served {target.name}: {reasons or 'none is known'}")
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
    """Write `target` and return the mirror that served it, or its last bytes.

    Args:
        mirrors: the addresses, in the order in which they are tried.
        target: the file to write.
        size: its bytes, where known.
        check: called with the complete file; raises `WrongContentError` where it is not the right one.
        pinned: whether `check` compares a checksum, so that bytes of several mirrors may be combined.
        progress: called with the number of bytes that exist, are received or (below zero) are dropped, and
            with 0 while nothing arrives; it may raise to stop the download.
        patience: how long to wait for a mirror.

    Raises:
        FetchError: no mirror served the file.
        UserError: the file cannot be written.
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
