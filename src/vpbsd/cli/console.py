"""What verbs share: opening a volume as it was named, and telling names and values."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from vpbsd.geometry import VoxelSize
    from vpbsd.volumes import Volume

__all__ = ["echo_voxel_size", "location", "opened", "stderr", "tell"]


def opened(path: str, voxel_size: Sequence[float] | None) -> Volume:
    """Open a volume by path or URL, with the voxel size (z, y, x) in µm if it is given."""
    from vpbsd.geometry import VoxelSize
    from vpbsd.volumes import open_volume

    size = VoxelSize.of(voxel_size) if voxel_size else None
    return open_volume(location(path), voxel_size_um=size)


def location(text: str) -> str | Path:
    """Return a URL as it is, and anything else as a path."""
    from vpbsd.volumes import is_url

    return text if is_url(text) else Path(text)


def stderr() -> Console:
    """Return a console for all that is no result."""
    from rich.console import Console

    return Console(stderr=True)


def echo_voxel_size(console: Console, size: VoxelSize, *, given: bool) -> None:
    """Tell which voxel size is used, and where it comes from."""
    source = "as given" if given else "from the file"
    console.print(f"voxel size {size} ({source})", highlight=False, soft_wrap=True)


def tell(lines: Iterable[tuple[str, str]], width: int = 22) -> None:
    """Write names and values to stdout, one a line."""
    for name, value in lines:
        sys.stdout.write(f"{name:<{width}} {value}\n")
