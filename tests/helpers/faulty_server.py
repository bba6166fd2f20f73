"""A real HTTP/1.1 server on 127.0.0.1 that serves a folder, and misbehaves as instructed.

    with FaultyServer(folder) as server:
        server.plan("file.zip", Answer(reset_after=1000), Answer(status=503))  # the next two requests
        server.always("other.zip", Answer(ranges=False))                       # every one
        … server.url …, server.requests

Without a plan it serves as a good server does: ranges, If-Range, ETag, Last-Modified.

    python faulty_server.py FOLDER --throttle BYTES_PER_SECOND     # prints its URL, serves until it is killed
"""

import argparse
import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

BLOCK = 1 << 14


@dataclass(frozen=True)
class Answer:
    """How one request is answered; anything not given is as a good server does it."""

    status: int | None = None  # with a short text instead of the file
    raw: bytes | None = None  # all that is sent, instead of a response
    content: bytes | None = None  # instead of the file's
    headers: dict[str, str | None] = field(default_factory=dict)  # more or other ones; None leaves one out
    ranges: bool = True
    if_range: bool = True  # respects If-Range
    validators: bool = True  # sends ETag and Last-Modified
    chunked: bool = False
    most: int | None = None  # bytes of one answer to a request for a range
    endless: bool = False  # goes on after the content
    # After so many bytes of the body:
    reset_after: int | None = None
    close_after: int | None = None
    stall_after: int | None = None  # is silent until the client leaves
    drip_after: int | None = None  # then one byte per 20 ms


@dataclass
class Request:
    path: str  # as received, with its query
    headers: dict[str, str]  # names in small letters
    at: float = field(default_factory=time.monotonic)
    status: int = 0
    sent: int = 0  # bytes of the body


class FaultyServer:
    """Serves `folder`; `throttle`: bytes per second and connection."""

    def __init__(self, folder: Path, throttle: float | None = None) -> None:
        self.folder, self.throttle = folder.resolve(), throttle
        self.requests: list[Request] = []
        self._plans: dict[str, list[Answer]] = {}
        self._always: dict[str, Answer] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.faulty = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.02)

    def plan(self, path: str, *answers: Answer) -> None:
        """Sets the answers to the next requests for `path` (relative to the folder), in their order."""
        with self._lock:
            self._plans.setdefault(path, []).extend(answers)

    def always(self, path: str, answer: Answer) -> None:
        """Sets the answer to every request for `path` that has no plan."""
        self._always[path] = answer

    @property
    def sent(self) -> int:
        """Bytes of all bodies."""
        return sum(request.sent for request in self.requests)

    def take(self, path: str) -> Answer:
        with self._lock:
            plan = self._plans.get(path)
            return plan.pop(0) if plan else self._always.get(path, Answer())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    faulty: FaultyServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may disconnect at any time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        faulty = self.server.faulty
        request = Request(self.path, {name.lower(): value for name, value in self.headers.items()})
        faulty.requests.append(request)
        path = unquote(urlsplit(self.path).path).lstrip("/")
        answer = faulty.take(path)
        if answer.raw is not None:
            self.close_connection = True
            self.connection.sendall(answer.raw)
            return
        file = (faulty.folder / path).resolve()
        content = answer.content
        if answer.status is not None:
            self._send(request, answer, answer.status, {}, _Bytes(b"faulty!\n"), 0, 8)
        elif content is not None:
            self._serve(request, answer, _Bytes(content))
        elif file.is_relative_to(faulty.folder) and file.is_file():
            self._serve(request, answer, _File(file))
        else:
            self._send(request, answer, 404, {}, _Bytes(b"nothing\n"), 0, 8)

    def _serve(self, request: Request, answer: Answer, content: "_Bytes | _File") -> None:
        headers = {"Content-Type": "application/octet-stream"}
        if answer.validators:
            headers |= {"ETag": content.etag, "Last-Modified": formatdate(content.modified, usegmt=True)}
        if answer.ranges:
            headers["Accept-Ranges"] = "bytes"
        start, end, status = 0, content.size, 200
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        condition = request.headers.get("if-range")
        same = not answer.if_range or condition in (None, headers.get("ETag"), headers.get("Last-Modified"))
        if wanted and answer.ranges and same:
            start = int(wanted[1])
            if start >= content.size:
                headers["Content-Range"] = f"bytes */{content.size}"
                self._send(request, answer, 416, headers, content, 0, 0)
                return
            end, status = min(end, start + (answer.most or end)), 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{content.size}"
        self._send(request, answer, status, headers, content, start, end)

    def _send(
        self,
        request: Request,
        answer: Answer,
        status: int,
        headers: dict[str, str],
        content: "_Bytes | _File",
        start: int,
        end: int,
    ) -> None:
        request.status = status
        length = {"Transfer-Encoding": "chunked"} if answer.chunked else {"Content-Length": str(end - start)}
        sent: dict[str, str | None] = {"Connection": "close", **headers, **length, **answer.headers}
        self.send_response(status)
        for name, value in sent.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.close_connection = True  # where a length is wrong, nothing more can follow
        for block in self._blocks(answer, content.blocks(start, end)):
            self.connection.sendall(b"%x\r\n%b\r\n" % (len(block), block) if answer.chunked else block)
            request.sent += len(block)
        if answer.reset_after is not None:
            linger = struct.pack("ii", 1, 0)  # close sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        elif answer.stall_after is not None:
            self.connection.recv(1)  # ends when the client leaves
        elif answer.close_after is None and answer.chunked:
            self.connection.sendall(b"0\r\n\r\n")

    def _blocks(self, answer: Answer, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The body as it is sent, in its time."""
        ends = [
            end for end in (answer.reset_after, answer.close_after, answer.stall_after) if end is not None
        ]
        left = min(ends, default=None)
        before_drip = answer.drip_after
        throttle = self.server.faulty.throttle
        for block in _go_on(blocks) if answer.endless else blocks:
            if left is not None:
                block, left = block[:left], left - min(left, len(block))
            if before_drip is not None:
                quick, slow = block[:before_drip], block[before_drip:]
                before_drip -= len(quick)
                if quick:
                    yield quick
                for byte in slow:
                    time.sleep(0.02)
                    yield bytes([byte])
            elif block:
                yield block
                if throttle:
                    time.sleep(len(block) / throttle)
            if left == 0:
                return


def _go_on(blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield from blocks
    while True:
        yield bytes(BLOCK)


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)
        digest = hashlib.sha256(data).hexdigest()
        self.etag, self.modified = f'"{digest[:16]}"', 1e9 + int(digest[:6], 16)

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        for place in range(start, end, BLOCK):
            yield self._data[place : min(place + BLOCK, end)]


class _File:
    def __init__(self, path: Path) -> None:
        stat = path.stat()
        self._path, self.size, self.modified = path, stat.st_size, stat.st_mtime
        self.etag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(start)
            while start < end and (block := file.read(min(BLOCK, end - start))):
                start += len(block)
                yield block


def main() -> None:
    parser = argparse.ArgumentParser(description="serve a folder on 127.0.0.1")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--throttle", type=float, help="bytes per second and connection")
    arguments = parser.parse_args()
    server = FaultyServer(arguments.folder, arguments.throttle)
    print(server.url, flush=True)
    server.serve()


if __name__ == "__main__":
    main()
