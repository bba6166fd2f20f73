"""One request to a mirror: what is sent, how the answer is read, and what goes wrong on the line."""

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
    """This mirror is of no use; the message says why."""


class BrokenError(Exception):
    """This attempt failed, another one may not; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, *, wait: float | None = None, stalled: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.stalled = wait, stalled


@dataclass(frozen=True)
class Mirror:
    """An address; the token is sent to its host only, and shown nowhere."""

    url: str  # http or https
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise UserError(f"{self.url[:80]!r} is no http or https address: mend it")
        if self.token is not None and not re.fullmatch("[!-~]+", self.token):
            raise UserError(f"the token for {self.shown} is empty or has spaces or line breaks: mend it")

    @property
    def shown(self) -> str:
        """The address without query and credentials, which may be secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def url_sha256(self) -> str:
        return hashlib.sha256(self.url.encode()).hexdigest()


@dataclass(frozen=True)
class Patience:
    """With a mirror. Seconds, where nothing else is said."""

    connect: float = 20
    stall: float = 30  # the longest silence
    slowest: float = 1024  # bytes/s; what is slower through `stall` seconds has stalled, too
    attempts: int = 6  # in a row without a new byte
    first_wait: float = 1  # then twice as long each time
    longest_wait: float = 60


class Session(requests.Session):
    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = MOST_REDIRECTS

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None:
            resp.close()  # or else requests would read the body first, which may have no end
        return target


class Bearer(AuthBase):
    """Sends the token; requests takes it off again where a redirect leads to another host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        r.headers["Authorization"] = f"Bearer {self._token}"
        return r


def ask(session: Session, mirror: Mirror, headers: dict[str, str], patience: Patience) -> requests.Response:
    """The answer, its body still to be read; `RefusedError` or `BrokenError` where there is none."""
    with _line(patience):
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
            raise RefusedError("is, or redirects to, no http or https address") from None


def read(response: requests.Response, patience: Patience) -> Iterator[bytes]:
    """The body as it comes, to its end; `BrokenError` where the line breaks, stalls or only drips."""
    began, received = time.monotonic(), 0
    while True:
        with _line(patience):
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
def _line(patience: Patience) -> Iterator[None]:
    """Whatever requests, urllib3 and the socket raise becomes `BrokenError`."""
    try:
        yield
    except requests.ConnectTimeout:
        raise BrokenError(f"no connection within {patience.connect:g} s", stalled=True) from None
    except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:  # requests' own are OSErrors
        cause = _cause(error)
        if isinstance(cause, TimeoutError):
            raise BrokenError(f"silent for {patience.stall:g} s", stalled=True) from None
        # Their texts hold the address with its query, the causes' names do not.
        raise BrokenError(getattr(cause, "strerror", None) or type(cause).__name__) from None


def _cause(error: BaseException) -> BaseException:
    """What is beneath the exceptions of requests and urllib3."""
    while type(error).__module__.partition(".")[0] in ("requests", "urllib3"):
        beneath = error.__cause__ or error.__context__
        if beneath is None:
            break
        error = beneath
    return error
