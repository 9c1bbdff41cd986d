"""A web server on this machine alone, for a viewer that runs in the browser.

The viewer's page comes from elsewhere, so the browser asks whether that page may read what is
served here. Four things keep everyone else out:

* the socket listens on 127.0.0.1;
* every address begins with a random token, which only the printed link contains;
* only the viewer's origin is allowed in (CORS), and requests of other pages are refused, also
  those that browsers send without an origin, such as for an image in a page;
* the ``Host`` header must be this server's own: a foreign name that was made to point here (DNS
  rebinding) is refused.

Reading is all that is possible: GET, HEAD, and the browser's preflight OPTIONS.
"""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import socket
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import urlsplit

from vpbsd.errors import ConfigError, OutputError
from vpbsd.views.mounts import Mounts
from vpbsd.views.ranges import UnsatisfiableRangeError, asked_range

__all__ = ["HOST", "FolderServer", "origin_of"]

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
_METHODS = "GET, HEAD, OPTIONS"
_IDLE_SECONDS = 60.0
_POLL_SECONDS = 0.05  # how soon the server notices that it is to end
_PREFLIGHT_SECONDS = 600
_DEFAULT_PORTS = {"http": 80, "https": 443}
# A browser that has gone away, or has heard enough.
_GONE = (BrokenPipeError, ConnectionError, TimeoutError)


def origin_of(url: str) -> str:
    """Return the origin of a web page, as a browser names it: ``https://host`` or with a port.

    Raises
    ------
    ConfigError
        If it is not a http or https address.
    """
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in _DEFAULT_PORTS or not host:
        raise ConfigError(
            f"'{url}' is not the address of a web page; give the viewer's, "
            "as in https://neuroglancer-demo.appspot.com"
        )
    host = f"[{host}]" if ":" in host else host
    plain = port is None or port == _DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}" if plain else f"{scheme}://{host}:{port}"


class FolderServer:
    """Serves folders, and nothing else, to one web page.

    Use it as a context: it serves from a thread of its own until the context ends.

    Parameters
    ----------
    folders
        By their name in addresses.
    origin
        Of the page that may read, see :func:`origin_of`.
    port
        0 = any that is free.

    Raises
    ------
    DataError
        If one of ``folders`` is not a folder.
    OutputError
        If the port is taken.
    ConfigError
        If there is no such port.
    """

    def __init__(self, folders: Mapping[str, Path], origin: str, port: int = 0) -> None:
        if not 0 <= port <= 65535:
            raise ConfigError(
                f"a port is a number from 1 to 65535, or 0 for a free one, got {port}"
            )
        mounts = Mounts.of(folders)
        try:
            self._server = _Server(mounts, origin, port)
        except OSError as error:
            raise OutputError(
                f"port {port} of {HOST} cannot be used ({error.strerror}); another program has "
                "it: choose another --port, or leave it out to take a free one"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="vpbsd-view", daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def url(self, name: str) -> str:
        """Return the address of a folder, token included, without a slash at the end."""
        return f"http://{HOST}:{self.port}/{self._server.token}/{name}"

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

    def wait(self) -> None:
        """Wait until the server ends, or Ctrl-C."""
        while self._thread.is_alive():
            self._thread.join(0.5)  # without a limit, some systems would not notice Ctrl-C


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A browser opens many connections at once.
    request_queue_size = 64
    # On Windows this would let another program take the port over while we serve.
    allow_reuse_address = os.name == "posix"

    def __init__(self, mounts: Mounts, origin: str, port: int) -> None:
        self.mounts, self.origin = mounts, origin
        self.token = secrets.token_urlsafe(24)
        super().__init__((HOST, port), _Handler)
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a request; the server goes on."""
        logger.warning("a request could not be answered", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open: a view takes hundreds of chunks
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True

    @property
    def _ours(self) -> _Server:
        return cast(_Server, self.server)

    def do_GET(self) -> None:
        """Answer with a file, or a range of it."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with what there is to know about a file."""
        self._answer(with_body=False)

    def do_OPTIONS(self) -> None:
        """Answer the browser's question whether a page may ask."""
        if not self._admits():
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        self.send_response(HTTPStatus.NO_CONTENT)
        self._cors()
        self.send_header("Access-Control-Allow-Methods", _METHODS)
        self.send_header("Access-Control-Allow-Headers", "Range, If-Range, If-None-Match")
        self.send_header("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS))
        if self.headers.get("Access-Control-Request-Private-Network") == "true":
            # Chromium asks this when a page of the internet turns to this machine.
            self.send_header("Access-Control-Allow-Private-Network", "true")
        self._end()

    def _answer(self, *, with_body: bool) -> None:
        if not self._admits():
            self._refuse(HTTPStatus.FORBIDDEN)
            return
        opened = self._opened()
        if opened is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        file, state = opened
        with file:
            tag = f'"{state.st_size:x}-{state.st_mtime_ns:x}"'
            if self.headers.get("If-None-Match") == tag:
                self._head(HTTPStatus.NOT_MODIFIED, tag)
                self._end()
                return
            # A range of the file as it was is worth nothing once the file has changed.
            changed = self.headers.get("If-Range", tag) != tag
            header = self.headers.get("Range") if with_body and not changed else None
            try:
                span = asked_range(header, state.st_size)
            except UnsatisfiableRangeError:
                self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"bytes */{state.st_size}")
                return
            self._send_file(file, state.st_size, span, tag, with_body=with_body)

    def _send_file(
        self, file: FileIO, size_bytes: int, span: range | None, tag: str, *, with_body: bool
    ) -> None:
        chosen = range(size_bytes) if span is None else span
        self._head(HTTPStatus.OK if span is None else HTTPStatus.PARTIAL_CONTENT, tag)
        if span is not None:
            self.send_header("Content-Range", f"bytes {span[0]}-{span[-1]}/{size_bytes}")
        json = urlsplit(self.path).path.endswith(
            (".json", "/info", ".zarray", ".zattrs", ".zgroup")
        )
        self.send_header("Content-Type", "application/json" if json else "application/octet-stream")
        self.send_header("Content-Length", str(len(chosen)))
        self._end()
        if not with_body or not chosen:
            return
        # From the disk to the socket by the system itself: no file is ever held in memory.
        connection: socket.socket = self.connection
        sent = connection.sendfile(file, chosen.start, len(chosen))
        if sent != len(chosen):  # the file was cut short meanwhile; the browser must notice
            self.close_connection = True

    def _admits(self) -> bool:
        """Whether a request comes from the viewer, or from no web page at all."""
        if self.headers.get("Host", "").lower() not in self._ours.hosts:
            return False
        origin = self.headers.get("Origin")
        if origin is None:
            return self.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
        return bool(origin == self._ours.origin)

    def _opened(self) -> tuple[FileIO, os.stat_result] | None:
        _, _, address = self.path.partition("?")[0].partition("#")[0].partition("/")
        token, _, inside = address.partition("/")
        if not hmac.compare_digest(token.encode(), self._ours.token.encode()):
            return None
        return self._ours.mounts.open(inside)

    def _head(self, status: HTTPStatus, tag: str) -> None:
        self.send_response(status)
        self._cors()
        self.send_header("ETag", tag)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", "private, no-cache")  # kept, but asked for anew

    def _cors(self) -> None:
        self.send_header("Access-Control-Allow-Origin", self._ours.origin)
        self.send_header("Vary", "Origin")
        exposed = "Accept-Ranges, Content-Length, Content-Range, ETag"
        self.send_header("Access-Control-Expose-Headers", exposed)
        # A browser must not guess that a chunk is a page or a script.
        self.send_header("X-Content-Type-Options", "nosniff")

    def _refuse(self, status: HTTPStatus, content_range: str | None = None) -> None:
        """Answer without a body; a missing chunk is nothing unusual, and the connection stays."""
        self.send_response(status)
        self._cors()
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.send_header("Content-Length", "0")
        self._end()

    def _end(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            # What was sent along is not read; it must not be taken for the next request.
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def handle(self) -> None:
        """Answer the requests of one connection until the browser has gone."""
        try:
            super().handle()
        except _GONE as error:
            logger.debug("connection ended: %r", error)

    def version_string(self) -> str:
        """Say no more than needed about what runs here."""
        return "vpbsd"

    def log_message(self, format: str, *args: Any) -> None:
        """Log requests where they do not disturb."""
        logger.debug(format, *args)
