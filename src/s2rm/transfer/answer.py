"""Validates the header of a response: which bytes of the file follow, if any."""

import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import responses

import requests

from s2rm.transfer.transport import BrokenError, RefusedError

RETRIED = frozenset({408, 425, 429, *range(500, 600)})
_NUMBER = r"[0-9]{1,18}"


@dataclass(frozen=True)
class Answer:
    """Which bytes of the file follow."""

    start: int | None  # offset of the first byte; None where the header is not understood
    end: int | None  # offset after the last byte; None where the header does not say
    total: int | None  # bytes of the whole file; None where the header does not say
    chunked: bool  # the end is marked in the body
    stated: str = ""  # the Content-Range, for messages

    @classmethod
    def of(cls, response: requests.Response) -> "Answer":
        """Read the header of a response.

        Raises:
            BrokenError: no bytes of the file follow, but another attempt may succeed.
            RefusedError: no bytes of the file follow.
        """
        status = response.status_code
        if status in RETRIED:
            raise BrokenError(_name(status), wait=_retry_after(response))
        if status not in (200, 206):
            raise RefusedError(_name(status))
        encoding = response.headers.get("Content-Encoding", "identity").strip()
        if encoding.lower() != "identity":
            raise RefusedError(f"answers with Content-Encoding {encoding[:40]!r}: not the file's own bytes")
        chunked = bool(response.raw.chunked)  # then Content-Length is ignored (RFC 9112, 6.3)
        length = None if chunked else _content_length(response)
        if status == 200:
            return cls(0, length, length, chunked)
        text = response.headers.get("Content-Range", "").strip()
        match = re.fullmatch(rf"bytes ({_NUMBER})-({_NUMBER})/({_NUMBER}|\*)", text)
        stated = repr(text[:80])
        if match:
            start, end = int(match[1]), int(match[2]) + 1
            total = None if match[3] == "*" else int(match[3])
            if start < end <= (total or end) and length in (None, end - start):
                return cls(start, end, total, chunked, stated)
        return cls(None, None, None, chunked, stated)


def total_beyond(response: requests.Response) -> int | None:
    """Return the file's size as the header of a 416 states it (RFC 9110, 15.5.17), or None."""
    match = re.fullmatch(rf"bytes \*/({_NUMBER})", response.headers.get("Content-Range", "").strip())
    return int(match[1]) if match else None


def is_web_page(response: requests.Response) -> bool:
    """Return whether the response declares HTML."""
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/html"


def _content_length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length")
    if text is None:
        return None
    if not re.fullmatch(_NUMBER, text.strip()):
        raise RefusedError(f"answers with Content-Length {text[:40]!r}")
    return int(text)


def _retry_after(response: requests.Response) -> float | None:
    """Return the seconds to wait, from a number or a date; None where it is neither."""
    text = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(_NUMBER, text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _name(status: int) -> str:
    return f"answers {status} {responses.get(status, '')}".strip()
