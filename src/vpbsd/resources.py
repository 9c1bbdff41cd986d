"""What is free on this machine: memory and disk; light, so that any room may ask."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

__all__ = ["available_memory_bytes", "free_bytes"]


def free_bytes(path: Path) -> int:
    """Free space in bytes for the user where ``path`` lies or would lie."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def available_memory_bytes() -> int:
    """Memory in bytes that can be taken without swapping."""
    return int(psutil.virtual_memory().available)
