"""What tests of the public data sets share: stand-ins, and a server on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from file_server import FileServer  # noqa: E402  (found through the path above)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as started:
        yield started
