"""A web server on 127.0.0.1 that behaves as it is told: with or without Range, honest or not."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


class FileServer:
    """Serves ``files`` by path; the other fields say how badly.

    ``cut`` is after how many bytes each of the next connections breaks off; ``failures`` are the
    status codes of the next answers. ``asked`` lists what came: path and Range.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.tags = True
        self.length = True
        self.cut: list[int] = []
        self.failures: list[int] = []
        self.moved: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{path}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.lstrip("/")
        asked = request.headers["Range"]
        self.asked.append((path, asked))
        request.close_connection = True
        if self.failures:
            request.send_error(self.failures.pop(0))
            return
        if path in self.moved:
            request.send_response(302)
            request.send_header("Location", self.moved[path])
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if path not in self.files:
            request.send_error(404)
            return
        self._send(request, self.files[path], asked)

    def _send(self, request: BaseHTTPRequestHandler, content: bytes, asked: str | None) -> None:
        tag = f'"{hashlib.sha256(content).hexdigest()[:12]}"'
        first = 0
        if self.ranges and asked is not None and request.headers["If-Range"] == tag:
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
            if first >= len(content):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(content)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            request.send_response(206)
            last = len(content) - 1
            request.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        else:
            request.send_response(200)
        if self.tags:
            request.send_header("ETag", tag)
        if self.length:
            request.send_header("Content-Length", str(len(content) - first))
        request.send_header("Connection", "close")
        request.end_headers()
        until = first + self.cut.pop(0) if self.cut else len(content)
        request.wfile.write(content[first:until])
