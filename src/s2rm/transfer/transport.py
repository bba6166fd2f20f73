"""One request to a mirror: what is sent, how the response is read, and how a connection fails."""

import hashlib
import http.client
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError

from s2rm.core.errors import UserError

CHUNK = 1 << 18  # bytes
MOST_REDIRECTS = 10


class RefusedError(Exception):
    """This mirror cannot serve the file; the message says why."""


class BrokenError(Exception):
    """This attempt failed, but another one may succeed.

    Attributes:
        wait: the wait that the server asked for, in seconds, if any.
        stalled: whether the connection was silent or too slow.
    """

    def __init__(self, reason: str, *, wait: float | None = None, stalled: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.stalled = wait, stalled


@dataclass(frozen=True)
class Mirror:
    """An address of a file; the token is sent to its host only, and never shown.

    Raises:
        UserError: the address is not an http(s) URL, or the token cannot be sent in a header.
    """

    url: str  # http or https
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise UserError(f"{self.url[:80]!r} is not an http(s) URL: correct it")
        if self.token is not None and not re.fullmatch("[!-~]+", self.token):
            raise UserError(f"the token for {self.shown} is empty or has spaces or line breaks: correct it")

    @property
    def shown(self) -> str:
        """The address without query and credentials, which may be secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def url_sha256(self) -> str:
        """The digest of the whole address, secrets included."""
        return hashlib.sha256(self.url.encode()).hexdigest()


@dataclass(frozen=True)
class Patience:
    """How long to wait for a mirror, and how often to try again; in seconds unless stated otherwise."""

    connect: float = 20  # to wait for a connection
    stall: float = 30  # the longest silence
    slowest: float = 1024  # bytes/s; a slower connection over `stall` seconds counts as stalled
    attempts: int = 6  # in a row without a new byte
    first_wait: float = 1  # doubled after each attempt
    longest_wait: float = 60


class Session(requests.Session):
    """A session of requests that follows few redirects and reads no body of a redirect."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = MOST_REDIRECTS

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where a response redirects to, if it does, and close it then."""
        target = super().get_redirect_target(resp)
        if target is not None:
            resp.close()  # otherwise requests would read the body first, which may be endless
        return target


class Bearer(AuthBase):
    """Sends the token; requests removes it where a redirect leads to another host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header to a request."""
        r.headers["Authorization"] = f"Bearer {self._token}"
        return r


def ask(session: Session, mirror: Mirror, headers: dict[str, str], patience: Patience) -> requests.Response:
    """Send a request and return the response, its body still unread.

    Args:
        session: the session of this download.
        mirror: the address, and its token.
        headers: more headers.
        patience: how long to wait.

    Raises:
        BrokenError: there is no response, but another attempt may succeed.
        RefusedError: the address, or one that it redirects to, cannot be used.
    """
    with _connection(patience):
        try:
            return session.get(
                mirror.url,
                headers={"Accept-Encoding": "identity", **headers},
                auth=Bearer(mirror.token) if mirror.token else None,
                stream=True,
                timeout=(patience.connect, patience.stall),
            )
        except requests.TooManyRedirects:
            raise RefusedError(f"redirects more than {MOST_REDIRECTS} times") from None
        except ValueError:  # requests' InvalidURL, InvalidSchema, MissingSchema; UnicodeError
            raise RefusedError("is, or redirects to, something other than an http(s) URL") from None


def read(response: requests.Response, patience: Patience) -> Iterator[bytes]:
    """Yield the body in pieces as they arrive.

    Raises:
        BrokenError: the connection breaks, stalls or is too slow.
    """
    began, received = time.monotonic(), 0
    while True:
        with _connection(patience):
            chunk = response.raw.read1(CHUNK)
        if not chunk:
            return
        yield chunk
        received += len(chunk)
        passed = time.monotonic() - began
        if passed >= patience.stall:
            if received < patience.slowest * passed:
                raise BrokenError(f"sends only {received / passed:.0f} bytes/s", stalled=True)
            began, received = time.monotonic(), 0


@contextmanager
def _connection(patience: Patience) -> Iterator[None]:
    """Turn whatever requests, urllib3 and the socket raise into `BrokenError`."""
    try:
        yield
    except requests.ConnectTimeout:
        raise BrokenError(f"no connection within {patience.connect:g} s", stalled=True) from None
    except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:  # requests' own are OSErrors
        cause = _cause(error)
        if isinstance(cause, TimeoutError):
            raise BrokenError(f"silent for {patience.stall:g} s", stalled=True) from None
        # The errors' texts contain the address with its query; the names of their causes do not.
        raise BrokenError(getattr(cause, "strerror", None) or type(cause).__name__) from None


def _cause(error: BaseException) -> BaseException:
    """Return the cause beneath the exceptions of requests and urllib3."""
    while type(error).__module__.partition(".")[0] in ("requests", "urllib3"):
        beneath = error.__cause__ or error.__context__
        if beneath is None:
            break
        error = beneath
    return error
