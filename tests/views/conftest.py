"""A folder to serve, beside one that must stay out of reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vpbsd.views.server import FolderServer

ORIGIN = "https://viewer.example"


@dataclass(frozen=True)
class Served:
    """A running server and what is beneath it."""

    server: FolderServer
    folder: Path

    @property
    def root(self) -> str:
        """Path of the folder's address, with the token."""
        return "/" + self.server.url("0-data").split("/", 3)[3]

    @property
    def token(self) -> str:
        return self.root.split("/")[1]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "data"
    (folder / "c" / "0").mkdir(parents=True)
    (folder / "zarr.json").write_text('{"zarr_format": 3}')
    (folder / "c" / "0" / "1").write_bytes(bytes(range(100)))
    (folder / "empty").write_bytes(b"")
    (tmp_path / "secret").write_text("not to be seen")
    (tmp_path / "data-private").mkdir()
    (tmp_path / "data-private" / "secret").write_text("a sibling whose name begins alike")
    (folder / "leaving").symlink_to(tmp_path / "secret")
    (folder / "leaving-folder").symlink_to(tmp_path / "data-private")
    (folder / "staying").symlink_to(folder / "zarr.json")
    (folder / "loop").symlink_to("loop")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe")
    with FolderServer({"0-data": folder}, ORIGIN) as server:
        yield Served(server, folder)
