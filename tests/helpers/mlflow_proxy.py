"""A stand-in before an MLflow server: slow, silent, answering nonsense, losing answers, dead and back again.

with Proxy(target) as proxy:      # target: address of a real server, or None where none is needed
    proxy.delay = 2.0             # seconds before each answer
    proxy.answer = (404, "…")     # instead of the server's
    proxy.lose = 1                # the server does what is asked, and its answer does not arrive
    proxy.stop(); proxy.start()   # the same port
"""

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from servers import free_port


class Proxy:
    def __init__(self, target: str | None = None) -> None:
        self.target, self.port = target, free_port()
        self.delay, self.lose = 0.0, 0
        self.answer: tuple[int, str] | None = None
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: _Server | None = None

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.proxy = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    proxy: Proxy

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may disconnect at any time."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # HTTP/1.0: one request per connection, so that `stop` leaves no connection open

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _pass_on(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        proxy.requests.append(f"{self.command} {urlsplit(self.path).path}")
        time.sleep(proxy.delay)
        status, content, kind = self._ask(proxy, body)
        if proxy.lose:
            proxy.lose -= 1
            self.connection.close()
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    def _ask(self, proxy: Proxy, body: bytes) -> tuple[int, bytes, str]:
        if proxy.answer or not proxy.target:
            status, text = proxy.answer or (404, "nothing")
            return status, text.encode(), "text/html"
        target = urlsplit(proxy.target)
        connection: Any = http.client.HTTPConnection(str(target.hostname), target.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content, answer.headers.get("Content-Type", "application/json")
