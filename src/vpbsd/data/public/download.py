"""Fetch one file over https: goes on where it stopped, checks it, shows it only when it is whole.

::

    PATH                 the file, once it is complete and its digest is right
    .PATH.part           what has come so far
    .PATH.part.json      which address and which version (ETag or date) that is a part of

Going on asks for the rest with ``Range``, and with ``If-Range`` so that a server that has another
version by now sends all of it (RFC 9110, sections 13.1.5 and 14). A server without ``Range``
sends everything again.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import json
import logging
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vpbsd.errors import DataError, OutputError

__all__ = ["NotThereError", "Progress", "download", "sha256_of"]

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes that are there, and all its bytes if known."""

_BLOCK_BYTES = 1 << 18
_TIMEOUT_S = 60.0
_ATTEMPTS = 4
_FIRST_PAUSE_S = 1.0
_CONNECTION_FAULTS = (http.client.HTTPException, ConnectionError, TimeoutError)
_GONE = (401, 403, 404, 410)
# What a later try may mend: too many requests, and the server's own faults.
_PASSING = (408, 425, 429, 500, 502, 503, 504)


class NotThereError(DataError):
    """The server does not give the file, and will not the next time either."""


class _BrokenOffError(Exception):
    """The connection ended too soon; what came so far is kept."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    progress: Progress | None = None,
    first_pause_s: float = _FIRST_PAUSE_S,
) -> None:
    """Fetch ``url`` into ``path``; a file that is there already is kept if its digest is right.

    Parameters
    ----------
    url
        ``https``; plain ``http`` only from this machine.
    sha256
        The digest that the file must have, where it is known.
    first_pause_s
        Before the second of four tries; each further one waits twice as long.

    Raises
    ------
    NotThereError
        If the server says that there is no such file, or that it may not be had.
    DataError
        If the address is not https, the server cannot be reached, the connection keeps breaking
        off, or the content has another digest.
    OutputError
        If the file cannot be written.
    """
    _refuse_insecure(url)
    if path.is_file() and (sha256 is None or sha256_of(path) == sha256):
        return
    part = _Part.of(url, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(_ATTEMPTS):
            try:
                _get(part, progress)
                break
            except _BrokenOffError as error:
                if attempt == _ATTEMPTS - 1:
                    raise DataError(
                        f"downloading {url} broke off {_ATTEMPTS} times ({error}); "
                        f"{part.size_bytes:,} bytes are kept: run the same command again"
                    ) from error
                logger.info("%s: %s; trying again", path.name, error)
                time.sleep(first_pause_s * 2**attempt)
        _check_and_show(part, path, sha256)
    except OSError as error:
        raise OutputError(
            f"cannot write '{path}': {error.strerror or error}; make room or choose another "
            "folder, then run the same command again"
        ) from error


@dataclass(frozen=True, slots=True)
class _Part:
    """What has come of a file so far."""

    url: str
    name: str
    data: Path
    about: Path

    @classmethod
    def of(cls, url: str, path: Path) -> _Part:
        data = path.with_name(f".{path.name}.part")
        return cls(url, path.name, data, data.with_name(f"{data.name}.json"))

    @property
    def size_bytes(self) -> int:
        return self.data.stat().st_size if self.data.is_file() else 0

    def version(self) -> str | None:
        """Return the ETag or date of the file that this is a part of; None where unknown."""
        try:
            about = json.loads(self.about.read_text(encoding="utf-8"))
            version = about["version"] if about["url"] == self.url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return version if isinstance(version, str) else None

    def begin(self, version: str | None) -> None:
        """Forget what came, and note which version comes now."""
        about = {"url": self.url, "version": version}
        self.data.unlink(missing_ok=True)
        self.about.write_text(json.dumps(about), encoding="utf-8")

    def remove(self) -> None:
        self.data.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never to an address that is less safe."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        _refuse_insecure(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _get(part: _Part, progress: Progress | None) -> None:
    """Bring ``part`` to its full size; one try.

    Raises
    ------
    _BrokenOffError
        If a later try may get the rest.
    """
    have, version = part.size_bytes, part.version()
    # Without a version two halves may be of different files; the digest may not be known.
    resume = have > 0 and version is not None
    headers = {"Accept-Encoding": "identity", "User-Agent": "vpbsd"}
    if resume and version is not None:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    request = urllib.request.Request(part.url, headers=headers)
    opener = urllib.request.build_opener(_SecureRedirects)
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as response:
            total = _start(part, response, have if resume else 0)
            _receive(part, response, total, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416 and resume:
            if error.headers["Content-Range"] == f"bytes */{have}":
                return  # all of it was there already
            part.remove()
            raise _BrokenOffError("what was there does not belong to the file any more") from error
        raise _refusal(part.url, error) from error
    except (urllib.error.URLError, *_CONNECTION_FAULTS) as error:
        raise _BrokenOffError(_reason(error)) from error


def _start(part: _Part, response: Any, have: int) -> int | None:
    """Make ``part`` ready for what comes; return how long it will be, if the server says so."""
    if response.status == 206:
        place = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers["Content-Range"] or "")
        if place is None or int(place[1]) != have:
            part.remove()
            raise _BrokenOffError("the server sent another part than was asked for")
        return None if place[2] == "*" else int(place[2])
    etag = response.headers["ETag"]
    # A weak tag promises the same meaning, not the same bytes.
    weak = etag is None or etag.startswith("W/")
    part.begin(response.headers["Last-Modified"] if weak else etag)
    length = response.headers["Content-Length"]
    return int(length) if length is not None and length.isdecimal() else None


def _receive(part: _Part, response: Any, total: int | None, progress: Progress | None) -> None:
    done = part.size_bytes
    with part.data.open("ab") as file:
        while block := _next_block(response):
            file.write(block)
            done += len(block)
            if progress is not None:
                progress(part.name, done, total)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and done < total:
        raise _BrokenOffError(f"{done:,} of {total:,} bytes came")
    if total is not None and done > total:
        part.remove()
        raise _BrokenOffError(f"{done:,} bytes came where {total:,} were announced")


def _next_block(response: Any) -> bytes:
    # Here, unlike around the writing, every OSError is the connection's.
    try:
        block: bytes = response.read(_BLOCK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(_reason(error)) from error
    return block


def _check_and_show(part: _Part, path: Path, sha256: str | None) -> None:
    found = sha256_of(part.data) if sha256 is not None else None
    if found != sha256:
        part.remove()
        raise DataError(
            f"{part.url} has SHA-256 {found}, not {sha256} as published: it was changed on the "
            "way or at its source, so it was not kept; try again, or ask at the home page"
        )
    part.data.replace(path)
    part.about.unlink(missing_ok=True)


def _refusal(url: str, error: urllib.error.HTTPError) -> Exception:
    said = f"{error.code} {error.reason}"
    if error.code in _PASSING:
        return _BrokenOffError(f"the server said {said}")
    if error.code in _GONE:
        return NotThereError(
            f"{url} cannot be had: the server said {said}; the file was moved or withdrawn, or "
            "needs a login: get it from the home page and give its folder with --from"
        )
    return DataError(f"{url} cannot be downloaded: the server said {said}")


def _refuse_insecure(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(parts.hostname)):
        return
    raise DataError(f"'{url}' is not https, so that anybody on the way could change the file")


def _is_this_machine(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(error).__name__
