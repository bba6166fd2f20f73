"""Fetching from servers that misbehave: the exact bytes arrive, or a `FetchError` says why; never others."""

import gzip
import hashlib
import logging
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import pytest
from faulty_server import Answer, FaultyServer

from s2rm.core.errors import UserError
from s2rm.transfer.fetch import FetchError, Mirror, Patience, WrongContentError, fetch, part_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(60)]

DATA = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)
ZIPPED = gzip.compress(DATA)
# Nothing waits for long, and nothing on a busy machine is taken for a stall.
QUICK = Patience(connect=10, stall=10, attempts=3, first_wait=0.001, longest_wait=0.01)
IMPATIENT = Patience(connect=10, stall=0.4, slowest=1000, attempts=3, first_wait=0.001, longest_wait=0.01)


def is_data(path: Path) -> None:
    if path.read_bytes() != DATA:
        raise WrongContentError("its SHA-256 is another one")


def is_anything(path: Path) -> None:
    """Where no checksum is known, the transport alone must not mix contents."""


class Fetched:
    """Fetches to `target` from paths of one server; keeps account of what `progress` was called with."""

    def __init__(self, server: FaultyServer, target: Path) -> None:
        self.server, self.target, self.reported = server, target, 0
        self.part, self.record = part_of(target), target.with_name(f"{target.name}.part.json")

    def __call__(
        self,
        *mirrors: str | Mirror,
        size: int | None = len(DATA),
        check: Callable[[Path], None] = is_data,
        pinned: bool = True,
        patience: Patience = QUICK,
    ) -> Mirror:
        self.reported = 0
        addresses = [
            mirror if isinstance(mirror, Mirror) else Mirror(f"{self.server.url}/{mirror}")
            for mirror in mirrors or ("file.bin",)
        ]
        try:
            served = fetch(
                addresses,
                self.target,
                size=size,
                check=check,
                pinned=pinned,
                progress=self._progress,
                patience=patience,
            )
        except FetchError:
            assert not self.target.exists()
            assert self.reported == (self.part.stat().st_size if self.part.exists() else 0)
            raise
        assert self.reported == self.target.stat().st_size
        assert not self.part.exists()
        assert not self.record.exists()
        return served

    def _progress(self, count: int) -> None:
        self.reported += count
        assert self.reported >= 0

    def fails(self, *mirrors: str | Mirror, match: str, **options: object) -> list[tuple[str, str]]:
        with pytest.raises(FetchError, match=match) as caught:
            self(*mirrors, **options)  # type: ignore[arg-type]
        return caught.value.attempts

    @property
    def ranges(self) -> list[str | None]:
        return [request.headers.get("range") for request in self.server.requests]


@pytest.fixture
def server(faulty_server: FaultyServer) -> FaultyServer:
    for name in ("file.bin", "second.bin"):
        (faulty_server.folder / name).write_bytes(DATA)
    return faulty_server


@pytest.fixture
def fetched(server: FaultyServer, tmp_path: Path) -> Fetched:
    return Fetched(server, tmp_path / "archives" / "file.bin")


# --- a good server


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("size", [len(DATA), None])
def test_a_good_server_is_asked_once(fetched: Fetched, pinned: bool, size: int | None) -> None:
    served = fetched(pinned=pinned, size=size)
    assert fetched.target.read_bytes() == DATA
    assert served.url == f"{fetched.server.url}/file.bin"
    (request,) = fetched.server.requests
    assert request.headers["accept-encoding"] == "identity"
    assert "range" not in request.headers


def test_an_empty_file_arrives(fetched: Fetched) -> None:
    (fetched.server.folder / "file.bin").write_bytes(b"")
    fetched(size=0, check=is_anything)
    assert fetched.target.read_bytes() == b""


def test_a_target_that_is_there_is_replaced_only_by_a_checked_file(fetched: Fetched) -> None:
    fetched.target.parent.mkdir()
    fetched.target.write_bytes(b"before")
    fetched.server.always("file.bin", Answer(content=OTHER))
    with pytest.raises(FetchError):
        fetch(
            [Mirror(f"{fetched.server.url}/file.bin")],
            fetched.target,
            size=len(DATA),
            check=is_data,
            pinned=True,
            patience=QUICK,
        )
    assert fetched.target.read_bytes() == b"before"
    fetched.server.always("file.bin", Answer())
    fetched()
    assert fetched.target.read_bytes() == DATA


def test_a_chunked_answer_and_one_that_ends_with_the_connection_arrive(fetched: Fetched) -> None:
    for answer in (Answer(chunked=True), Answer(headers={"Content-Length": None})):
        for size in (len(DATA), None):
            fetched.server.plan("file.bin", answer)
            fetched(size=size)
            assert fetched.target.read_bytes() == DATA


def test_a_length_beside_chunks_does_not_count(fetched: Fetched) -> None:
    fetched.server.always("file.bin", Answer(chunked=True, headers={"Content-Length": "5"}))
    fetched()
    assert len(fetched.server.requests) == 1


# --- broken lines


@pytest.mark.parametrize("pinned", [True, False])
def test_a_file_that_is_reset_again_and_again_gets_through_and_no_byte_is_asked_for_twice(
    fetched: Fetched, pinned: bool
) -> None:
    draw = random.Random(3)
    cuts = [Answer(reset_after=draw.randrange(20_000, 40_000)) for _ in range(2 * QUICK.attempts)]
    fetched.server.plan("file.bin", *cuts)
    fetched(pinned=pinned)
    assert fetched.target.read_bytes() == DATA
    assert len(fetched.server.requests) == len(cuts) + 1
    starts = [int(text.removeprefix("bytes=").rstrip("-")) for text in fetched.ranges[1:] if text]
    assert starts == sorted(set(starts))
    assert len(starts) == len(cuts)
    assert fetched.server.requests[-1].sent == len(DATA) - starts[-1]


def test_an_answer_that_ends_too_early_is_continued(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", Answer(close_after=100_000), Answer(chunked=True, close_after=50_000))
    fetched.server.plan("file.bin", Answer(headers={"Content-Length": None}, close_after=50_000))
    fetched()
    assert fetched.target.read_bytes() == DATA
    assert fetched.ranges == [None, "bytes=100000-", "bytes=150000-", "bytes=200000-"]
    assert fetched.server.sent == len(DATA)


def test_a_whole_answer_without_length_that_breaks_off_is_continued(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", Answer(headers={"Content-Length": None}, close_after=70_000))
    fetched()
    assert fetched.ranges == [None, "bytes=70000-"]


def test_a_server_that_gives_only_pieces_is_asked_for_all_of_them(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", Answer(reset_after=1_000))
    fetched.server.always("file.bin", Answer(most=60_000))
    fetched()
    assert fetched.target.read_bytes() == DATA
    assert len(fetched.server.requests) == 6


def test_a_server_that_falls_silent_is_left_and_asked_again(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", Answer(stall_after=100_000))
    fetched(patience=IMPATIENT)
    assert fetched.ranges == [None, "bytes=100000-"]


def test_a_server_that_only_drips_is_left_for_the_next(fetched: Fetched) -> None:
    """Though it gives new bytes at each attempt."""
    fetched.server.always("file.bin", Answer(drip_after=0))
    fetched("file.bin", "second.bin", patience=IMPATIENT)
    assert fetched.target.read_bytes() == DATA
    paths = [request.path for request in fetched.server.requests]
    assert paths == ["/file.bin"] * IMPATIENT.attempts + ["/second.bin"]


def test_a_drip_after_a_good_start_costs_no_attempt(fetched: Fetched) -> None:
    drips = [Answer(drip_after=50_000)] * (IMPATIENT.attempts + 1)
    fetched.server.plan("file.bin", *drips)
    fetched(patience=IMPATIENT)
    assert fetched.target.read_bytes() == DATA
    assert len(fetched.server.requests) == len(drips) + 1


def test_attempts_without_a_new_byte_end_at_the_next_mirror_and_are_counted(fetched: Fetched) -> None:
    fetched.server.always("file.bin", Answer(reset_after=0))
    (first, reason), (second, other) = fetched.fails(
        "file.bin", "nowhere.bin", match="no mirror served file.bin"
    )
    assert first.endswith("/file.bin")
    assert reason.endswith(f"(after {QUICK.attempts} attempts)")
    assert second.endswith("/nowhere.bin")
    assert other == "answers 404 Not Found"


def test_a_server_without_ranges_that_breaks_at_the_same_byte_is_given_up(fetched: Fetched) -> None:
    fetched.server.always("file.bin", Answer(ranges=False, close_after=100_000))
    fetched.fails(match="broken off after 100,000 of 300,000 bytes|IncompleteRead")
    assert len(fetched.server.requests) == 1 + QUICK.attempts


def test_a_server_without_ranges_that_breaks_here_and_there_is_given_up(fetched: Fetched) -> None:
    """Bytes that had arrived before do not count as new."""
    breaks = [Answer(ranges=False, close_after=count) for count in (100_000, 50_000)]
    fetched.server.plan("file.bin", *breaks * 5)
    fetched.fails(match="no mirror served")
    assert len(fetched.server.requests) == 1 + QUICK.attempts


# --- statuses


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 204, 304])
def test_a_refusal_leads_to_the_next_mirror_at_once(fetched: Fetched, status: int) -> None:
    fetched.server.always("file.bin", Answer(status=status))
    served = fetched("file.bin", "second.bin")
    assert served.url.endswith("/second.bin")
    assert [request.path for request in fetched.server.requests] == ["/file.bin", "/second.bin"]


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_is_not_an_empty_file(fetched: Fetched, status: int) -> None:
    fetched.server.always("file.bin", Answer(status=status))
    fetched.fails(match=f"answers {status}", size=None, check=is_anything, pinned=False)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_passing_trouble_is_waited_for(fetched: Fetched, status: int) -> None:
    fetched.server.plan("file.bin", Answer(status=status), Answer(status=status))
    fetched("file.bin", "second.bin")
    assert [request.status for request in fetched.server.requests] == [status, status, 200]


def test_a_lasting_trouble_is_named(fetched: Fetched) -> None:
    fetched.server.always("file.bin", Answer(status=503))
    fetched.fails(match=r"answers 503 Service Unavailable \(after 3 attempts\)")


def test_the_waits_grow(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", *[Answer(status=500)] * 4)
    fetched(patience=Patience(attempts=5, first_wait=0.1))
    times = [request.at for request in fetched.server.requests]
    waits = [after - before for before, after in pairwise(times)]
    assert all(wait >= 0.05 * 2**index for index, wait in enumerate(waits))


@pytest.mark.parametrize("after", ["0", formatdate(0, usegmt=True)], ids=["seconds", "date"])
def test_retry_after_shortens_the_wait(fetched: Fetched, after: str) -> None:
    """Without it this would last longer than a test may."""
    fetched.server.plan("file.bin", Answer(status=429, headers={"Retry-After": after}))
    fetched(patience=Patience(first_wait=1000, longest_wait=1000))


@pytest.mark.parametrize("after", ["1", formatdate(time.time() + 1e6, usegmt=True)], ids=["seconds", "date"])
def test_retry_after_is_waited_for(fetched: Fetched, after: str) -> None:
    fetched.server.plan("file.bin", Answer(status=503, headers={"Retry-After": after}))
    fetched(patience=Patience(first_wait=0.001, longest_wait=1))
    first, second = fetched.server.requests
    assert second.at - first.at >= 1


@pytest.mark.parametrize("after", ["1000000", "9" * 30, "never", "-5", "", "Fri, 99 Foo 2026 99:99:99 GMT"])
def test_retry_after_waits_no_longer_than_the_longest_wait(fetched: Fetched, after: str) -> None:
    fetched.server.plan("file.bin", Answer(status=503, headers={"Retry-After": after}))
    fetched()


# --- what an answer says of itself


@pytest.mark.parametrize("length", [len(DATA) - 1, len(DATA) + 1, 0])
def test_another_length_is_named_before_a_byte_is_read(fetched: Fetched, length: int) -> None:
    fetched.server.always("file.bin", Answer(headers={"Content-Length": str(length)}))
    fetched.fails(match=f"has {length:,} bytes, expected 300,000$")
    assert not fetched.part.exists()
    assert len(fetched.server.requests) == 1


def test_another_length_of_a_range_is_named_before_a_byte_is_read(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", Answer(close_after=100_000))
    fetched.server.always("file.bin", Answer(content=DATA + b"more"))
    fetched.fails(match="has 300,004 bytes, expected 300,000")
    assert fetched.part.stat().st_size == 100_000


def test_a_chunked_answer_of_another_length_is_named(fetched: Fetched) -> None:
    fetched.server.always("file.bin", Answer(chunked=True, content=DATA[:-1]))
    fetched.fails(match="has 299,999 bytes, expected 300,000$")
    assert not fetched.part.exists()


def test_a_length_that_is_too_large_is_found_out_where_no_size_is_known(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", Answer(headers={"Content-Length": str(len(DATA) + 100)}))
    fetched(size=None)
    assert fetched.target.read_bytes() == DATA
    assert [request.status for request in fetched.server.requests] == [200, 416]


def test_a_length_that_is_too_small_is_found_out_by_the_check(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", Answer(headers={"Content-Length": str(len(DATA) - 100)}))
    served = fetched("file.bin", "second.bin", size=None)
    assert served.url.endswith("/second.bin")


@pytest.mark.parametrize("chunked", [True, False])
def test_an_endless_answer_is_not_written_without_end(fetched: Fetched, chunked: bool) -> None:
    headers: dict[str, str | None] = {} if chunked else {"Content-Length": None}
    answer = Answer(endless=True, chunked=chunked, headers=headers)
    fetched.server.always("file.bin", answer)
    largest = 0

    def progress(count: int) -> None:
        nonlocal largest
        largest = max(largest, fetched.part.stat().st_size if fetched.part.exists() else 0)

    with pytest.raises(FetchError, match=r"sends more than 300,000 bytes$"):
        fetch(
            [Mirror(f"{fetched.server.url}/file.bin")],
            fetched.target,
            size=len(DATA),
            check=is_data,
            pinned=True,
            progress=progress,
            patience=QUICK,
        )
    assert 0 < largest <= len(DATA)
    assert not fetched.part.exists()


@pytest.mark.parametrize("length", [None, str(10**15)])
def test_a_file_of_unknown_size_has_an_end(
    fetched: Fetched, length: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2rm.transfer.download.MOST_BYTES", 1_000_000)
    fetched.server.always("file.bin", Answer(endless=True, headers={"Content-Length": length}))
    fetched.fails(match=r"sends more than 1,000,000 bytes$", size=None)
    assert not fetched.part.exists()


def test_wrong_content_of_the_right_length_is_named_and_removed_before_the_next_mirror(
    fetched: Fetched,
) -> None:
    fetched.server.always("file.bin", Answer(content=OTHER))
    attempts = fetched.fails("file.bin", match="its SHA-256 is another one$")
    assert len(attempts) == 1
    assert len(fetched.server.requests) == 1
    assert not fetched.part.exists()
    fetched("file.bin", "second.bin")
    assert fetched.target.read_bytes() == DATA
    assert fetched.ranges == [None] * 3


def test_a_mixture_of_contents_is_fetched_once_more_from_the_start(fetched: Fetched) -> None:
    """From a server that says nothing of the contents' difference."""
    fetched.server.plan("file.bin", Answer(content=OTHER, validators=False, close_after=100_000))
    fetched.server.plan("file.bin", Answer(validators=False))
    fetched()
    assert fetched.target.read_bytes() == DATA
    assert fetched.ranges == [None, "bytes=100000-", None]


def test_a_mixture_that_stays_wrong_is_given_up_after_one_more_try(fetched: Fetched) -> None:
    answers = [Answer(content=OTHER, close_after=100_000), Answer(content=OTHER)] * 5
    fetched.server.plan("file.bin", *answers)
    fetched.fails(match="its SHA-256 is another one")
    assert len(fetched.server.requests) == 4
    assert list(fetched.target.parent.iterdir()) == []


def test_an_answer_of_unknown_length_that_fails_the_check_is_asked_for_once_more(fetched: Fetched) -> None:
    """It may have been cut."""
    fetched.server.plan("file.bin", Answer(headers={"Content-Length": None}, close_after=100_000))
    fetched(size=None)
    assert fetched.target.read_bytes() == DATA


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "br", "gzip, gzip"])
def test_a_content_encoding_is_refused_by_name(fetched: Fetched, encoding: str) -> None:
    answer = Answer(content=ZIPPED, headers={"Content-Encoding": encoding})
    fetched.server.always("file.bin", answer)
    fetched.fails(match=f"Content-Encoding '{encoding}'", size=None)
    assert len(fetched.server.requests) == 1


def test_a_web_page_is_refused_by_name_unless_a_checksum_decides(fetched: Fetched) -> None:
    page = Answer(headers={"Content-Type": "Text/HTML; charset=utf-8"})
    fetched.server.always("file.bin", page)
    fetched.fails(match="answers with a web page$", pinned=False)
    fetched(pinned=True)
    assert fetched.target.read_bytes() == DATA


@pytest.mark.hostile
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "abc"},
        {"Content-Length": "-5"},
        {"Content-Length": "1_000"},
        {"Content-Length": "٣"},
        {"Content-Length": "9" * 5000},
        {"Content-Length": "300000, 7"},
        {"Content-Encoding": "\xff" * 100},
        {"Transfer-Encoding": "chunked"},  # it is not
    ],
    ids=lambda headers: str(headers)[:40],
)
def test_a_garbage_header_is_a_failure_of_this_mirror(fetched: Fetched, headers: dict[str, str]) -> None:
    told = {name: value.encode().decode("latin1") for name, value in headers.items()}
    fetched.server.always("file.bin", Answer(headers=dict(told)))
    for size in (len(DATA), None):
        (failure,) = fetched.fails(match="no mirror served", size=size)
        assert len(failure[1]) < 200
    assert fetched("file.bin", "second.bin").url.endswith("/second.bin")


@pytest.mark.hostile
@pytest.mark.parametrize(
    "content_range",
    [
        None,
        "nonsense",
        "bytes 100000-299999",
        "bytes 100000-99999/300000",
        "bytes 100000-300000/300000",
        "bytes 0-199999/300000",  # other bytes than asked for
        "bytes 100001-299999/300000",
        "bytes 100000-199999/300000",  # fewer than follow
        "bytes " + "9" * 5000 + "-1/2",
        "items 100000-299999/300000",
    ],
)
def test_a_range_that_does_not_fit_is_not_taken(fetched: Fetched, content_range: str | None) -> None:
    """The whole is asked for, or the next mirror."""
    wrong = Answer(headers={"Content-Range": content_range})
    fetched.server.plan("file.bin", Answer(close_after=100_000), wrong)
    fetched()
    assert fetched.target.read_bytes() == DATA
    assert fetched.ranges == [None, "bytes=100000-", None]


@pytest.mark.hostile
@pytest.mark.parametrize("content_range", ["bytes 100000-99999/300000", "bytes 100000-300000/300000"])
def test_a_range_beyond_itself_is_not_taken_without_a_length_either(
    fetched: Fetched, content_range: str
) -> None:
    wrong = Answer(chunked=True, headers={"Content-Range": content_range})
    fetched.server.plan("file.bin", Answer(close_after=100_000), wrong)
    fetched()
    assert fetched.ranges == [None, "bytes=100000-", None]


def test_after_a_range_that_did_not_fit_ranges_are_asked_for_again(fetched: Fetched) -> None:
    wrong = Answer(headers={"Content-Range": "nonsense"})
    fetched.server.plan("file.bin", Answer(close_after=100_000), wrong, Answer(close_after=200_000))
    fetched()
    assert fetched.ranges == [None, "bytes=100000-", None, "bytes=200000-"]


def test_a_range_that_does_not_fit_costs_the_next_mirror_nothing(fetched: Fetched) -> None:
    wrong = Answer(headers={"Content-Range": "nonsense"})
    fetched.server.plan("file.bin", Answer(close_after=100_000), wrong, Answer(status=404))
    fetched("file.bin", "second.bin")
    assert fetched.ranges == [None, "bytes=100000-", None, "bytes=100000-"]


@pytest.mark.hostile
def test_a_range_that_nobody_asked_for_is_refused(fetched: Fetched) -> None:
    raw = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/300000\r\nContent-Length: 5\r\n\r\n12345"
    fetched.server.always("file.bin", Answer(raw=raw))
    fetched.fails(match="answers byte 0 with Content-Range 'bytes 5-9/300000'")
    assert len(fetched.server.requests) == 2


def test_a_range_of_unknown_total_is_continued_to_its_end(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", Answer(close_after=100_000, headers={"Content-Length": None}))
    fetched.server.plan("file.bin", Answer(headers={"Content-Range": "bytes 100000-299999/*"}))
    fetched()
    assert len(fetched.server.requests) == 2


@pytest.mark.hostile
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n",
        b'HTTP/1.1 200 OK\r\nETag: "a\r\n b"\r\nContent-Length: 300000\r\n\r\nabc',
        b"HTTP/1.1 302 Found\r\nLocation: http://[bad\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://host:99999999/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: \r\n\r\n",
    ],
    ids=range(15),
)
def test_what_is_hardly_http_is_a_failure_of_this_mirror(fetched: Fetched, raw: bytes) -> None:
    fetched.server.always("file.bin", Answer(raw=raw))
    for size in (len(DATA), None):
        fetched.fails(match="no mirror served", size=size)
    assert fetched("file.bin", "second.bin").url.endswith("/second.bin")


# --- redirects and secrets


def redirect(location: str, status: int = 302) -> Answer:
    return Answer(status=status, headers={"Location": location})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_also_for_a_range(fetched: Fetched, status: int) -> None:
    fetched.server.always("moved", redirect("/second.bin", status))
    fetched.server.plan("second.bin", Answer(reset_after=100_000))
    served = fetched("moved")
    assert served.url.endswith("/moved")
    assert fetched.target.read_bytes() == DATA
    assert fetched.ranges[2:] == [fetched.ranges[2]] * 2 != [None] * 2


def test_a_redirect_loop_ends(fetched: Fetched) -> None:
    fetched.server.always("loop", redirect("/loop"))
    fetched.fails("loop", match="redirects more than 10 times$")
    assert len(fetched.server.requests) == 11


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/file.bin", "file:///etc/passwd", "mailto:me"])
def test_a_redirect_to_another_scheme_is_refused(fetched: Fetched, location: str) -> None:
    fetched.server.always("moved", redirect(location))
    fetched.fails("moved", match=r"redirects to, something other than an http\(s\) URL$")


def test_the_body_of_a_redirect_is_not_waited_for(fetched: Fetched) -> None:
    fetched.server.always(
        "moved", Answer(status=302, endless=True, headers={"Location": "/file.bin", "Content-Length": None})
    )
    fetched("moved")
    assert fetched.target.read_bytes() == DATA


def test_the_token_goes_to_the_mirrors_host_and_to_no_other(fetched: Fetched, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file.bin").write_bytes(DATA)
    with FaultyServer(tmp_path / "elsewhere") as elsewhere:
        fetched.server.always("start", redirect("/moved"))
        fetched.server.always("moved", redirect(f"{elsewhere.url}/file.bin"))
        fetched(Mirror(f"{fetched.server.url}/start", token="s3cret"))
    here = [request.headers.get("authorization") for request in fetched.server.requests]
    assert here == ["Bearer s3cret"] * 2
    assert [request.headers.get("authorization") for request in elsewhere.requests] == [None]


@pytest.mark.parametrize(
    "answer",
    [Answer(status=403), Answer(status=500), Answer(reset_after=0), Answer(content=OTHER), redirect("/loop")],
)
def test_secrets_are_in_no_message_log_or_file(
    fetched: Fetched, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "s2rm")
    fetched.server.plan("loop", Answer(content=DATA, close_after=1000))
    fetched.server.always("loop", answer)
    host = fetched.server.url.removeprefix("http://")
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    mirrors = [
        Mirror(f"http://user:hidden1@{host}/loop?key=hidden2", token="hidden3"),
        Mirror(f"http://user:hidden1@127.0.0.1:{port}/x?key=hidden2", token="hidden3"),
    ]
    kept = []

    def progress(count: int) -> None:
        kept.extend(path.read_text() for path in fetched.target.parent.glob("*.json"))

    with pytest.raises(FetchError) as caught:
        fetch(
            mirrors,
            fetched.target,
            size=len(DATA),
            check=is_data,
            pinned=True,
            progress=progress,
            patience=QUICK,
        )
    assert caught.value.attempts[0][0] == f"{fetched.server.url}/loop"
    assert "http://127.0.0.1" in caplog.text
    assert kept
    for text in (str(caught.value), repr(caught.value), repr(mirrors), caplog.text, *kept):
        assert "hidden3" not in text
    for text in (str(caught.value), repr(caught.value), caplog.text, *kept):
        assert "hidden" not in text


def test_a_token_that_no_header_can_hold_is_named_but_not_shown() -> None:
    for token in ("s3cret\n", "s3 cret", "", "s3crét"):
        with pytest.raises(UserError, match="token for http://host/file") as caught:
            Mirror("http://host/file?key=1", token)
        assert "s3c" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["ftp://host/file", "file.zip", "http://", "http://[bad", "http://host:x/", ""]
)
def test_an_address_that_is_not_http_is_a_user_error(url: str) -> None:
    with pytest.raises(UserError, match=r"is not an http\(s\) URL"):
        Mirror(url)


# --- no server at all


def test_a_closed_port_and_a_name_that_does_not_resolve_are_named(fetched: Fetched) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    attempts = fetched.fails(
        Mirror(f"http://127.0.0.1:{port}/file.bin"),
        Mirror("http://no-such-host.invalid/file.bin"),
        match="refused",
    )
    assert attempts[0][1] == "Connection refused (after 3 attempts)"
    assert "ame" in attempts[1][1]  # the resolver's words
    assert fetched(Mirror(f"http://127.0.0.1:{port}/file.bin"), "second.bin").url.endswith("/second.bin")


def test_a_port_that_never_answers_is_left(fetched: Fetched) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/file.bin"
        fetched.fails(Mirror(url), match=r"silent for 0.4 s \(after 3 attempts\)", patience=IMPATIENT)


def test_a_port_that_accepts_no_connection_is_left(fetched: Fetched) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]  # more than it lets wait
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(address)
        patience = Patience(connect=0.3, attempts=2, first_wait=0.001)
        fetched.fails(Mirror(f"http://127.0.0.1:{address[1]}/"), match="within 0.3 s", patience=patience)
        for client in waiting:
            client.close()


def test_a_server_without_tls_is_named(fetched: Fetched) -> None:
    url = fetched.server.url.replace("http", "https")
    fetched.fails(Mirror(f"{url}/file.bin"), match=r"SSL.* \(after 3 attempts\)")


def test_without_mirrors_there_is_nothing_to_try(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="none is known"):
        fetch([], tmp_path / "file.bin", size=None, check=is_anything, pinned=False)


# --- continuing what exists


def test_the_next_mirror_continues_where_the_checksum_is_known(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", Answer(close_after=100_000))
    fetched.server.always("file.bin", Answer(status=404))
    served = fetched("file.bin", "second.bin")
    assert served.url.endswith("/second.bin")
    assert fetched.ranges == [None, "bytes=100000-", "bytes=100000-"]
    assert "if-range" not in fetched.server.requests[-1].headers  # the validator is the first mirror's
    assert fetched.target.read_bytes() == DATA


def test_the_next_mirror_starts_over_where_no_checksum_is_known(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", Answer(content=OTHER, close_after=100_000))
    fetched.server.always("file.bin", Answer(status=404))
    fetched("file.bin", "second.bin", check=is_anything, pinned=False)
    assert fetched.target.read_bytes() == DATA
    assert fetched.ranges == [None, "bytes=100000-", None]


def test_bytes_that_nobody_continues_stay_for_the_next_time(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", Answer(close_after=100_000), Answer(status=404))
    fetched.fails("file.bin", "nowhere.bin", match="404", pinned=False)
    fetched("nowhere.bin", "file.bin", pinned=False)
    assert fetched.ranges[-1] == "bytes=100000-"
    assert fetched.server.sent == len(DATA) + 3 * 8


def test_a_server_without_ranges_is_read_from_the_start(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", Answer(ranges=False, close_after=100_000))
    fetched.server.always("file.bin", Answer(ranges=False))
    fetched()
    assert fetched.target.read_bytes() == DATA
    assert [request.status for request in fetched.server.requests] == [200, 200]


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize(
    "headers", [{}, {"ETag": None}, {"ETag": 'W/"1"'}], ids=["etag", "date", "weak etag"]
)
def test_a_content_that_changes_between_two_parts_is_read_from_the_start(
    fetched: Fetched, pinned: bool, if_range: bool, headers: dict[str, str | None]
) -> None:
    first = Answer(content=OTHER, close_after=100_000, headers=headers)
    fetched.server.plan("file.bin", first)
    fetched.server.always("file.bin", Answer(if_range=if_range, headers=headers))
    fetched(pinned=pinned, check=is_anything)
    assert fetched.target.read_bytes() == DATA
    condition = fetched.server.requests[1].headers["if-range"]
    assert condition.startswith('"') is (headers == {})
    assert len(fetched.server.requests) == (2 if if_range else 3)


@pytest.mark.parametrize("later", [True, False])
def test_a_content_without_validators_is_continued_only_where_a_checksum_is_known(
    fetched: Fetched, later: bool
) -> None:
    fetched.server.plan("file.bin", Answer(content=OTHER, validators=False, close_after=100_000))
    fetched.server.always("file.bin", Answer(validators=later, if_range=False))
    fetched(pinned=False, check=is_anything)
    assert fetched.target.read_bytes() == DATA
    assert fetched.ranges == [None, None]


def test_a_range_that_has_lost_its_validator_is_taken_only_where_a_checksum_is_known(
    fetched: Fetched,
) -> None:
    for pinned in (True, False):
        fetched.server.plan("file.bin", Answer(close_after=100_000), Answer(validators=False, if_range=False))
        before = len(fetched.server.requests)
        fetched(pinned=pinned, check=is_anything)
        asked = ["bytes=100000-"] if pinned else ["bytes=100000-", None]
        assert fetched.ranges[before + 1 :] == asked


def test_a_content_of_another_length_is_read_from_the_start_where_no_size_is_known(fetched: Fetched) -> None:
    first = Answer(content=OTHER[:-7], validators=False, close_after=100_000)
    fetched.server.plan("file.bin", first)
    fetched.server.always("file.bin", Answer(validators=False))
    fetched(size=None, check=is_anything)
    assert fetched.target.read_bytes() == DATA


def leave(fetched: Fetched, data: bytes) -> None:
    fetched.part.parent.mkdir(exist_ok=True)
    fetched.part.write_bytes(data)


def test_a_part_of_unknown_origin_is_continued_only_where_a_checksum_is_known(fetched: Fetched) -> None:
    for pinned, asked in ((True, "bytes=1000-"), (False, None)):
        leave(fetched, DATA[:1000])
        fetched(pinned=pinned)
        assert fetched.ranges[-1] == asked


@pytest.mark.parametrize(
    "record", ["", "{", "[]", '{"url_sha256": 5}', "\x00", "[" * 100_000, '{"etag": null}']
)
def test_a_broken_record_counts_as_missing(fetched: Fetched, record: str) -> None:
    leave(fetched, OTHER[:1000])
    fetched.record.write_text(record)
    fetched(pinned=False)
    assert fetched.target.read_bytes() == DATA


def test_a_wrong_part_is_found_out_and_fetched_again(fetched: Fetched) -> None:
    for wrong in (OTHER[:1000], OTHER, OTHER + b"more"):
        leave(fetched, wrong)
        fetched()
        assert fetched.target.read_bytes() == DATA


def test_a_complete_part_is_checked_without_a_request(fetched: Fetched) -> None:
    leave(fetched, DATA)
    fetched()
    assert fetched.server.requests == []


def test_the_mirror_that_served_is_returned_also_where_only_the_check_remained(fetched: Fetched) -> None:
    def ended(path: Path) -> None:
        raise InterruptedError

    fetched.server.always("file.bin", Answer(status=404))
    with pytest.raises(InterruptedError):
        fetched("file.bin", "second.bin", check=ended)
    served = fetched("file.bin", "second.bin")
    assert served.url.endswith("/second.bin")
    assert len(fetched.server.requests) == 2


def test_a_complete_part_of_unknown_size_is_checked_after_416(fetched: Fetched) -> None:
    leave(fetched, DATA)
    fetched(size=None)
    assert [request.status for request in fetched.server.requests] == [416]
    assert fetched.server.sent == 0


@pytest.mark.parametrize("told", ["bytes */200000", "bytes */x", None])
def test_a_416_that_does_not_fit_makes_it_start_over(fetched: Fetched, told: str | None) -> None:
    leave(fetched, OTHER)
    fetched.server.plan("file.bin", Answer(status=416, headers={"Content-Range": told}))
    fetched(size=None)
    assert fetched.target.read_bytes() == DATA
    assert fetched.ranges == ["bytes=300000-", None]


def test_a_416_without_a_length_completes_nothing(fetched: Fetched) -> None:
    fetched.server.plan("file.bin", Answer(close_after=100_000), Answer(status=416))
    fetched(size=None, check=is_anything, pinned=False)
    assert fetched.target.read_bytes() == DATA


def test_a_416_names_another_size(fetched: Fetched) -> None:
    leave(fetched, DATA[:250_000])
    fetched.server.always("file.bin", Answer(content=DATA[:200_000]))
    fetched.fails(match="has 200,000 bytes, expected 300,000$")
    assert fetched.part.stat().st_size == 250_000  # another mirror may have the rest


def test_a_416_to_a_request_for_the_whole_is_a_refusal(fetched: Fetched) -> None:
    fetched.server.always("file.bin", Answer(status=416))
    fetched.fails(match="answers 416 Requested Range Not Satisfiable$")


def test_progress_may_stop_it_and_the_received_bytes_stay(fetched: Fetched) -> None:
    def stop_at_half() -> Callable[[int], None]:
        told = 0

        def progress(count: int) -> None:
            nonlocal told
            told += count
            if told > len(DATA) / 2:
                raise InterruptedError

        return progress

    fetched.server.plan("file.bin", Answer(stall_after=200_000))
    mirror = Mirror(f"{fetched.server.url}/file.bin")
    options = {"size": len(DATA), "check": is_data, "patience": QUICK}
    with pytest.raises(InterruptedError):
        fetch([mirror], fetched.target, pinned=True, progress=stop_at_half(), **options)  # type: ignore[arg-type]
    there = fetched.part.stat().st_size
    assert len(DATA) / 2 < there < len(DATA)
    fetched()
    assert fetched.ranges == [None, f"bytes={there}-"]


def test_progress_may_stop_a_long_wait(fetched: Fetched) -> None:
    fetched.server.always("file.bin", Answer(status=503))

    def progress(count: int) -> None:
        if fetched.server.requests:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fetch(
            [Mirror(f"{fetched.server.url}/file.bin")],
            fetched.target,
            size=None,
            check=is_data,
            pinned=True,
            progress=progress,
            patience=Patience(first_wait=1000, longest_wait=1000),
        )


CHILD = """
import sys
from pathlib import Path
from s2rm.transfer.fetch import Mirror, fetch
mirrors, target, pinned = [Mirror(sys.argv[1])], Path(sys.argv[2]), sys.argv[3] == "pinned"
fetch(mirrors, target, size=None, check=lambda path: None, pinned=pinned)
"""


@pytest.mark.kill
@pytest.mark.parametrize("pinned", ["pinned", "not pinned"])
def test_a_killed_process_is_continued_at_the_last_byte(fetched: Fetched, pinned: str) -> None:
    fetched.server.throttle = 200_000
    arguments = [sys.executable, "-c", CHILD, f"{fetched.server.url}/file.bin", str(fetched.target), pinned]
    lengths = [0]
    for _ in range(3):
        with subprocess.Popen(arguments) as child:
            while not fetched.part.exists() or fetched.part.stat().st_size <= lengths[-1] + 20_000:
                assert child.poll() is None
                time.sleep(0.005)
            child.send_signal(signal.SIGKILL)
        assert not fetched.target.exists()
        lengths.append(fetched.part.stat().st_size)
        assert fetched.part.read_bytes() == DATA[: lengths[-1]]
    fetched.server.throttle = None
    fetched(pinned=pinned == "pinned", size=None)
    assert fetched.target.read_bytes() == DATA
    assert fetched.ranges == [None, *(f"bytes={length}-" for length in lengths[1:])]
    assert fetched.server.requests[-1].sent == len(DATA) - lengths[-1]


# --- this side


def test_a_full_disk_is_not_blamed_on_the_mirrors(fetched: Fetched) -> None:
    fetched.part.parent.mkdir()
    fetched.part.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot write .*file\.bin\.part: No space left on device") as caught:
        fetched("file.bin", "second.bin")
    assert "\n" not in str(caught.value)
    assert len(fetched.server.requests) == 1


def test_a_folder_that_cannot_be_made_is_named_before_a_request(fetched: Fetched, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"cannot write .*file/archive\.zip\.part"):
        Fetched(fetched.server, tmp_path / "file" / "archive.zip")()
    assert fetched.server.requests == []


# --- anything


def draw_fault(draw: random.Random) -> Answer:
    cut = draw.randrange(len(DATA) + 1)
    digits = str(draw.choice([0, 5, len(DATA) - 1, len(DATA) + 1, 10**15]))
    start, end = draw.randrange(len(DATA)), draw.randrange(len(DATA))
    return draw.choice(
        [
            Answer(),
            Answer(reset_after=cut),
            Answer(close_after=cut),
            Answer(ranges=False, reset_after=cut),
            Answer(validators=False, close_after=cut),
            Answer(chunked=True, close_after=cut),
            Answer(headers={"Content-Length": None}, close_after=cut),
            Answer(content=OTHER),
            Answer(content=OTHER, reset_after=cut),
            Answer(content=OTHER, validators=False, if_range=False, close_after=cut),
            Answer(content=DATA[:cut]),
            Answer(content=DATA[:cut], chunked=True),
            Answer(content=DATA + OTHER[:cut]),
            Answer(content=ZIPPED, headers={"Content-Encoding": "gzip"}),
            Answer(status=draw.choice([204, 301, 400, 404, 416, 429, 500, 503])),
            Answer(status=200),
            Answer(status=206),
            Answer(status=302, headers={"Location": "/file.bin"}),
            Answer(headers={"Content-Length": digits}),
            Answer(headers={"Content-Length": "abc"}),
            Answer(headers={"Content-Range": f"bytes {start}-{end}/{len(DATA)}"}),
            Answer(headers={"Content-Range": f"bytes */{digits}"}),
            Answer(headers={"Content-Type": "text/html"}),
            Answer(headers={"ETag": '"the same"'}, content=draw.choice([DATA, OTHER]), close_after=cut),
            Answer(endless=True, chunked=True),
            Answer(most=50_000),
            Answer(raw=draw.randbytes(100)),
            Answer(raw=b"HTTP/1.1 200 OK\r\n" + draw.randbytes(200) + b"\r\n\r\n" + DATA),
        ]
    )


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(60))
def test_after_any_faults_the_file_is_exact_or_absent(
    fetched: Fetched, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2rm.transfer.download.MOST_BYTES", 1_000_000)
    draw = random.Random(seed)
    for name in ("file.bin", "second.bin"):
        fetched.server.plan(name, *[draw_fault(draw) for _ in range(draw.randrange(8))])
    size = draw.choice([None, len(DATA)])
    for _ in range(3):  # a later run goes on with what an earlier one has left
        try:
            fetched("file.bin", "second.bin", size=size, pinned=draw.random() < 0.5)
        except FetchError:
            pass
        else:
            assert fetched.target.read_bytes() == DATA
            fetched.target.unlink()


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(40))
def test_without_a_checksum_contents_are_never_mixed(fetched: Fetched, seed: int) -> None:
    """Whatever happens to the file on the server, also with servers that ignore If-Range."""
    draw = random.Random(seed)
    for name in ("file.bin", "second.bin"):
        answers = [
            Answer(
                content=draw.choice([DATA, OTHER]),
                close_after=draw.choice([None, 50_000, 100_000]),
                reset_after=draw.choice([None, 70_000]),
                ranges=draw.random() < 0.8,
                if_range=draw.random() < 0.5,
                validators=draw.random() < 0.7,
                most=draw.choice([None, 40_000]),
                headers=draw.choice([{}, {}, {"ETag": None}, {"ETag": 'W/"same"'}]),
            )
            for _ in range(10)
        ]
        fetched.server.plan(name, *answers)
    for _ in range(2):
        try:
            fetched("file.bin", "second.bin", pinned=False, check=is_anything)
        except FetchError:
            continue
        assert fetched.target.read_bytes() in (DATA, OTHER)
        fetched.target.unlink()


def test_the_server_runs_in_its_own_process(fetched: Fetched) -> None:
    script = Path(__file__).parents[1] / "helpers" / "faulty_server.py"
    arguments = [sys.executable, str(script), str(fetched.server.folder), "--throttle", "10000000"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            fetched(Mirror(f"{url}/file.bin"))
        finally:
            process.kill()
    assert hashlib.sha256(fetched.target.read_bytes()).digest() == hashlib.sha256(DATA).digest()
