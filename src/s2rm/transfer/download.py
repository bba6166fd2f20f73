"""Downloads one file from one mirror, until it is complete and checked or the mirror is given up.

Ranges and validators are those of RFC 9110, 13 to 15.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import requests

from s2rm.transfer.answer import Answer, is_web_page, total_beyond
from s2rm.transfer.partial import ContentOrigin, PartialFile
from s2rm.transfer.transport import BrokenError, Mirror, Patience, RefusedError, Session, ask, read

logger = logging.getLogger(__name__)

MOST_BYTES = 100_000_000_000  # the most that is read of a file of unknown size


class WrongContentError(Exception):
    """The file is not the right one; the message says what is wrong. Raised by a `check`."""


@dataclass
class Download:
    """The download of one file from one mirror, in as many requests as it takes.

    The arguments are those of `s2rm.transfer.fetch.fetch`.
    """

    mirror: Mirror
    part: PartialFile
    size: int | None
    check: Callable[[Path], None]
    pinned: bool
    patience: Patience
    asked: int = 0  # requests sent
    whole: bool = False  # the next request is for the whole file, whatever exists already
    doubtful: bool = True  # the bytes may belong to several contents, or end too early

    def run(self) -> None:
        """Complete the part and check it.

        Raises:
            RefusedError: this mirror does not serve the right file.
            UserError: the part cannot be written.
        """
        for last in (False, True):
            self._fill()
            self.part.sync()
            try:
                self.check(self.part.path)
                return
            except WrongContentError as error:
                self.part.drop()
                if last or not self.doubtful:
                    raise RefusedError(str(error)) from None

    def _fill(self) -> None:
        """Send requests until the part is complete, or several in a row have brought no new byte."""
        furthest, fruitless = self.part.length, 0
        with Session() as session:
            while True:
                began = time.monotonic()
                try:
                    return self._attempt(session)
                except BrokenError as broken:
                    gained, passed = self.part.length - furthest, time.monotonic() - began
                    drips = broken.stalled and gained < self.patience.slowest * passed
                    furthest = max(furthest, self.part.length)
                    fruitless = fruitless + 1 if gained <= 0 or drips else 0
                    if fruitless >= self.patience.attempts:
                        raise RefusedError(str(broken)) from None
                    wait = self._wait(broken, fruitless)
                    logger.info("%s: %s; next attempt in %.0f s", self.mirror.shown, broken, wait)
                until = time.monotonic() + wait
                while (left := until - time.monotonic()) > 0:
                    self.part.progress(0)
                    time.sleep(min(left, 1))

    def _wait(self, broken: BrokenError, fruitless: int) -> float:
        """Return the seconds to wait: as the server asks, else growing, with jitter between clients."""
        if broken.wait is not None:
            return min(broken.wait, self.patience.longest_wait)
        longest = min(self.patience.first_wait * 2 ** max(0, fruitless - 1), self.patience.longest_wait)
        return longest * random.uniform(0.5, 1)

    def _attempt(self, session: Session) -> None:
        """Send one request and complete the part; `BrokenError` or `RefusedError` says why that failed."""
        offset, known, headers = self._offset(), self._known(), {}
        if offset and offset == self.size:  # complete, but its process was killed before it was checked
            return
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if known and known.validator:
                headers["If-Range"] = known.validator
        self.asked += 1
        with ask(session, self.mirror, headers, self.patience) as response:
            if offset and response.status_code == 416:
                self._end_at(response, offset)
            else:
                self._receive(response, offset)

    def _known(self) -> ContentOrigin | None:
        """Return the part's origin, if it is from this address."""
        origin = self.part.origin
        return origin if origin and origin.url_sha256 == self.mirror.url_sha256 else None

    def _offset(self) -> int:
        """Return the byte to continue from: without a checksum, only within the content of the part."""
        known = self._known()
        continues = not self.whole and (self.pinned or (known is not None and known.validator is not None))
        return self.part.length if continues else 0

    def _end_at(self, response: requests.Response, offset: int) -> None:
        """Handle a 416: no byte follows the part, so it is complete or belongs to another file."""
        total = total_beyond(response)
        self._check_size(total)
        if total != offset:
            self._ask_for_the_whole(f"has no byte {offset:,}")
        self.doubtful = True

    def _receive(self, response: requests.Response, offset: int) -> None:
        answer = Answer.of(response)
        if not self.pinned and is_web_page(response):
            raise RefusedError("answers with a web page")
        self._check_size(answer.total)
        self._place(response, answer, offset)
        limit = self.size if answer.end is None else answer.end
        most = min(limit or MOST_BYTES, MOST_BYTES if self.size is None else self.size)
        with self.part.opened() as append:
            for chunk in read(response, self.patience):
                if self.part.length + len(chunk) > most:
                    self.part.drop()
                    raise RefusedError(f"sends more than {most:,} bytes")
                append(chunk)
        length, total = self.part.length, self.size or answer.total
        if limit is not None and length < limit and not (answer.chunked and answer.end is None):
            raise BrokenError(f"broken off after {length:,} of {limit:,} bytes")
        if answer.end is not None and length != total:
            raise BrokenError("sends less than was requested")  # which a server may do
        if total is not None and length != total:
            self.part.drop()
            self._check_size(length)

    def _place(self, response: requests.Response, answer: Answer, offset: int) -> None:
        """Prepare the part for the bytes that follow."""
        etag, last_modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
        origin = ContentOrigin(self.mirror.url_sha256, etag, last_modified, self.size or answer.total)
        known = self._known()
        if response.status_code == 200 or (answer.start == offset == 0):
            self.part.begin(origin)
            self.whole = False
            self.doubtful = answer.end is None and self.size is None and not answer.chunked
        elif answer.start != offset:
            self._ask_for_the_whole(f"answers byte {offset:,} with Content-Range {answer.stated}")
        elif known and self._differ(known, origin):
            self._ask_for_the_whole("has another content than before")
        else:
            self.doubtful = True
            if not known:
                self.part.adopt(origin)

    def _differ(self, known: ContentOrigin, found: ContentOrigin) -> bool:
        if None not in (known.total, found.total) and known.total != found.total:
            return True
        if found.validator is None and self.pinned:  # the checksum decides
            return False
        return known.validator is not None and known.validator != found.validator

    def _ask_for_the_whole(self, reason: str) -> NoReturn:
        """Request the whole file next.

        The part is kept until a whole answer comes, as another mirror may be able to continue it.
        """
        if self.whole:
            raise RefusedError(reason)
        self.whole = True
        raise BrokenError(reason)

    def _check_size(self, found: int | None) -> None:
        if None not in (found, self.size) and found != self.size:
            raise RefusedError(f"has {found:,} bytes, expected {self.size:,}")
