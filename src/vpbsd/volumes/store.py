"""Where a zarr hierarchy lies: a folder, or any URL that fsspec knows.

Credentials, endpoints and regions are those that fsspec and the provider's own tools read from
the environment and their configuration files (``AWS_ENDPOINT_URL``, ``FSSPEC_S3_…``,
``~/.aws/config``, ``~/.config/fsspec``); there are no options of our own.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpbsd.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from zarr.abc.store import Store

__all__ = [
    "Location",
    "exists",
    "is_url",
    "join",
    "local_path",
    "open_store",
    "remove",
    "store_errors",
]

Location = str | Path
"""A path, or, as text, a URL."""

# At least two characters before the colon: `C://` is a drive.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")

# What the providers' clients raise besides OSError; each is looked up only once it is loaded.
_CLIENT_ERRORS = {
    "botocore.exceptions": "BotoCoreError",
    "aiohttp": "ClientError",
    "gcsfs.retry": "HttpError",
}


def is_url(location: Location) -> bool:
    """Whether ``location`` is a URL (``scheme://…``), not a path."""
    return isinstance(location, str) and _URL.match(location) is not None


def local_path(location: Location) -> Path | None:
    """Return the path of what lies on this machine's disks (also ``file://…``), else None."""
    if not is_url(location):
        return Path(location)
    if str(location).lower().startswith("file:"):
        return Path(_filesystem(location)[1])
    return None


def join(location: Location, *parts: str) -> Location:
    """Return the place called ``parts`` inside ``location``: a URL of a URL, a path of a path."""
    if isinstance(location, str) and is_url(location):
        return "/".join([location.rstrip("/"), *(part.strip("/") for part in parts)])
    return Path(location).joinpath(*parts)


def open_store(location: Location, *, read_only: bool) -> Store:
    """Return the zarr store at ``location``; nothing is read or written yet.

    Raises
    ------
    MissingExtraError
        If the package that speaks the URL's protocol is not installed.
    ConfigError
        If nothing speaks the URL's protocol.
    """
    from zarr.storage import FsspecStore, LocalStore

    local = local_path(location)
    if local is not None:
        # Also for file://, where fsspec would leave half a file behind when it is killed.
        return LocalStore(local, read_only=read_only)
    _filesystem(location)
    return FsspecStore.from_url(str(location), read_only=read_only)


def exists(location: Location) -> bool:
    """Whether there is a file or folder; in an object store, any key below the URL.

    Raises
    ------
    MissingExtraError, ConfigError
        As :func:`open_store`.
    """
    local = local_path(location)
    if local is not None:
        return local.exists()
    filesystem, path = _filesystem(location)
    return bool(filesystem.exists(path))


def remove(location: Location) -> None:
    """Remove a folder and all in it, or all keys below a URL; nothing if there is none.

    Raises
    ------
    MissingExtraError, ConfigError
        As :func:`open_store`.
    """
    local = local_path(location)
    if local is not None:
        if local.is_dir():
            shutil.rmtree(local)
        return
    filesystem, path = _filesystem(location)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


def store_errors() -> tuple[type[Exception], ...]:
    """Return what a store may raise on a full disk, a lost connection or a refused key."""
    found = [
        getattr(sys.modules[module], name)
        for module, name in _CLIENT_ERRORS.items()
        if module in sys.modules
    ]
    return (OSError, *found)


def _filesystem(location: Location) -> tuple[Any, str]:
    url = str(location)
    scheme = url.partition("://")[0]
    try:
        from fsspec.core import url_to_fs

        filesystem, path = url_to_fs(url)
    except ImportError as error:
        raise MissingExtraError(
            f"'{url}' cannot be opened, because the package for {scheme}:// is not installed "
            f"({error}): pip install 'vpbsd[cloud]', or the package named here"
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"'{url}' cannot be opened: {error}; use a path, or a scheme that fsspec knows "
            "(s3://, gs://, az://, https://, …)"
        ) from error
    # Another process or store may have written since it was last listed.
    filesystem.invalidate_cache()
    return filesystem, path
