"""A Hugging Face Hub on 127.0.0.1, as far as downloading models needs it.

It serves a folder with ORGANISATION/NAME/COMMIT/files, where the file ORGANISATION/NAME/main names the newest
commit; `publish` writes that. Large files are served at another port, to which requests are forwarded, as by
the real Hub.

    python tests/helpers/hub_server.py FOLDER      prints its address, for HF_ENDPOINT, and serves
"""

import hashlib
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".bin")


def publish(folder: Path, repository: str, files: dict[str, bytes]) -> str:
    """Adds a commit, which becomes the newest, and returns it."""
    digest = hashlib.sha1(repository.encode())
    for name, content in sorted(files.items()):
        digest.update(name.encode() + content)
    commit = digest.hexdigest()
    for name, content in files.items():
        path = folder / repository / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / repository / "main").write_text(commit)
    return commit


@dataclass(frozen=True)
class Request:
    server: str  # hub | files
    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class HubServer:
    """`with HubServer(folder) as hub` serves at `hub.url`. Its faults apply to all requests."""

    folder: Path
    status: int | None = None  # of every answer
    page: bytes | None = None  # instead of every answer
    gated: bool = False
    commit: str | None = None  # the commit that answers name, whichever it is
    damaged: bool = False  # the first byte of large files differs
    sizes: bool = True  # files are listed with sizes and digests
    cut: int | None = None  # the next large file breaks off after so many bytes
    hold: int | None = None  # large files wait after so many bytes, until `go` is set
    go: threading.Event = field(default_factory=threading.Event)
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> "HubServer":
        self._servers = {
            name: ThreadingHTTPServer(
                ("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self, "name": name})
            )
            for name in ("hub", "files")
        }
        for server in self._servers.values():
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go.set()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    @property
    def url(self) -> str:
        return self.address("hub")

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self._servers[name].server_port}"

    def asked(self, pattern: str) -> list[Request]:
        """The requests for paths that match."""
        return [request for request in self.requests if re.search(pattern, request.path)]


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    name: str
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        pass

    def _answer(self) -> None:
        hub, url = self.hub, urlsplit(self.path)
        self.hub.requests.append(
            Request(
                self.name,
                self.command,
                unquote(url.path),
                self.headers.get("Range"),
                self.headers.get("Authorization"),
            )
        )
        if hub.status is not None or hub.page is not None:
            return self._send(hub.status or 200, hub.page or b"")
        path = unquote(url.path).strip("/")
        if self.name == "files":
            return self._send_file(hub.folder / path)
        if found := re.fullmatch(r"api/models/(.+?)(?:/revision/([^/]+))?", path):
            return self._describe(found[1], found[2] or "main", "blobs" in parse_qs(url.query))
        if found := re.fullmatch(r"(.+?)/resolve/([^/]+)/(.+)", path):
            return self._resolve(*found.groups())
        return self._refuse(404, "EntryNotFound")

    def _describe(self, repository: str, revision: str, blobs: bool) -> None:
        folder = self._folder(repository, revision)
        if folder is None:
            return
        siblings = []
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            name, content = path.relative_to(folder).as_posix(), path.read_bytes()
            sibling: dict[str, object] = {"rfilename": name}
            if blobs and self.hub.sizes:
                sibling |= {"size": len(content), "blobId": hashlib.sha1(_blob(content)).hexdigest()}
                if name.endswith(LARGE):
                    sha256 = hashlib.sha256(content).hexdigest()
                    sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        described = {"id": repository, "sha": self.hub.commit or folder.name, "siblings": siblings}
        self._send(200, json.dumps(described).encode(), {"Content-Type": "application/json"})

    def _resolve(self, repository: str, revision: str, name: str) -> None:
        folder = self._folder(repository, revision)
        if folder is None:
            return None
        if self.hub.gated:
            return self._refuse(403, "GatedRepo")
        if not (folder / name).is_file():
            return self._refuse(404, "EntryNotFound")
        content = (folder / name).read_bytes()
        headers = {"X-Repo-Commit": folder.name}
        if name.endswith(LARGE):
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            headers |= {
                "X-Linked-Size": str(len(content)),
                "X-Linked-Etag": etag,
                "Location": f"{self.hub.address('files')}/{repository}/{folder.name}/{name}",
            }
            return self._send(302, b"", headers)
        return self._send_file(
            folder / name, headers | {"ETag": f'"{hashlib.sha1(_blob(content)).hexdigest()}"'}
        )

    def _folder(self, repository: str, revision: str) -> Path | None:
        """The folder of a commit; without one, answers why and returns None."""
        folder = self.hub.folder / repository
        if "/" not in repository:  # names from before there were organisations are forwarded
            for path in self.hub.folder.glob(f"*/{repository}"):
                target = self.path.replace(repository, f"{path.parent.name}/{repository}", 1)
                return self._send(307, b"", {"Location": target})
        if not (folder / "main").is_file():
            return self._refuse(401, "RepoNotFound")  # as the real Hub answers clients without a token
        commit = (folder / "main").read_text() if revision == "main" else revision
        if not (folder / commit).is_dir():
            return self._refuse(404, "RevisionNotFound")
        return folder / commit

    def _send_file(self, path: Path, headers: dict[str, str] | None = None) -> None:
        hub, content = self.hub, path.read_bytes()
        headers = {**(headers or {}), "Accept-Ranges": "bytes"}
        if hub.damaged and path.name.endswith(LARGE):
            content = bytes([content[0] ^ 1]) + content[1:]
        begin, status = 0, 200
        if found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            begin, status = int(found[1]), 206
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        cut = hub.cut if path.name.endswith(LARGE) else None
        if cut is None or self.command == "HEAD":
            return self._send(status, content[begin:], headers)
        hub.cut = None
        self._send(status, content[begin:], headers, stop=cut)
        self.close_connection = True
        return None

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code})

    def _send(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, stop: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.name == "files" and self.hub.hold is not None:
            self.wfile.write(content[: self.hub.hold])
            self.wfile.flush()
            self.hub.go.wait(timeout=120)
            content = content[self.hub.hold :]
        self.wfile.write(content[:stop])


def _blob(content: bytes) -> bytes:
    """The bytes whose sha1 git uses."""
    return b"blob %d\0" % len(content) + content


if __name__ == "__main__":
    with HubServer(Path(sys.argv[1])) as server:
        print(server.url, flush=True)
        threading.Event().wait()
