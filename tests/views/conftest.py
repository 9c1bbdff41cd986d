"""A folder to serve, beside one that must stay out of reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vpbsd.geometry import VoxelSize, tile
from vpbsd.views.server import FolderServer
from vpbsd.volumes import OmeZarrWriter, OutputLayout

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


@pytest.fixture
def graph_folder(tmp_path: Path) -> Path:
    """Three vessels as ``vpbsd graph`` writes them: two that meet in a node, one apart.

    The first runs along x from (0, 0, 0) to (0, 0, 8) in steps of 2 µm, the second from there
    along y to (0, 6, 8), the third along z, far away.
    """
    folder = tmp_path / "graph"
    folder.mkdir()
    points = [
        [(0, 0, 0), (0, 0, 2), (0, 0, 4), (0, 0, 6), (0, 0, 8)],
        [(0, 0, 8), (0, 2, 8), (0, 6, 8)],
        [(50, 9, 9), (60, 9, 9)],
    ]
    radii = [[1, 1, 2, 3, 3], [3, 2, 2], [4, 4]]
    columns: dict[str, list[object]] = {
        "edge": [0, 1, 2],
        "node_a": [0, 1, 3],
        "node_b": [1, 2, 4],
        "component": [7, 7, 3],
        "radius_mean_um": [2.0, 2.3, 4.0],
        "length_um": [8.0, 6.0, 10.0],
    }
    for axis, letter in enumerate("zyx"):
        columns[f"points_{letter}_um"] = [[float(p[axis]) for p in line] for line in points]
    columns["points_radius_um"] = [[float(r) for r in line] for line in radii]
    kinds = {k: pa.list_(pa.float32()) for k in columns if k.startswith("points_")}
    write_table(folder / "edges.parquet", columns, kinds)
    write_table(
        folder / "nodes.parquet",
        {
            "node": [0, 1, 2, 3, 4],
            "z_um": [0.0, 0.0, 0.0, 50.0, 60.0],
            "y_um": [0.0, 0.0, 6.0, 9.0, 9.0],
            "x_um": [0.0, 8.0, 8.0, 9.0, 9.0],
            "radius_um": [1.0, 3.0, 2.0, 4.0, 4.0],
            "degree": [1, 2, 1, 1, 1],
            "component": [7, 7, 7, 3, 3],
        },
        {"radius_um": pa.float32()},
    )
    return folder


def write_table(
    path: Path, columns: dict[str, list[object]], kinds: dict[str, pa.DataType]
) -> None:
    """Write a table of which a second row group begins after two rows."""
    table = pa.table({k: pa.array(v, kinds.get(k)) for k, v in columns.items()})
    pq.write_table(table, path, row_group_size=2)


VOXEL_SIZE = VoxelSize(4.0, 2.0, 2.0)


@pytest.fixture(scope="session")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with image, mask and probability of 40 x 48 x 64 voxels, written by our writer."""
    folder = tmp_path_factory.mktemp("brain")
    values = np.arange(40 * 48 * 64, dtype=np.uint32).reshape(40, 48, 64)
    mask = (values % 7 == 0).astype(np.uint8)
    write_zarr(folder / "image.ome.zarr", (values % 1000).astype(np.uint16), "image")
    write_zarr(folder / "mask.ome.zarr", mask, "mask")
    write_zarr(folder / "mask_probability.ome.zarr", mask * 255, "probability")
    write_zarr(folder / "old.ome.zarr", mask, "mask", ngff="0.4")
    return folder


@pytest.fixture(scope="session")
def long_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 16 x 32 x 300 voxels, with a second level."""
    path = tmp_path_factory.mktemp("long") / "long.ome.zarr"
    values = np.arange(16 * 32 * 300, dtype=np.uint32).reshape(16, 32, 300)
    write_zarr(path, (values % 251).astype(np.uint8), "image")
    return path


def write_zarr(path: Path, array: np.ndarray, kind: str, ngff: str = "0.5") -> None:
    """Write a pyramid as segmentation does."""
    layout = OutputLayout(
        shape=array.shape,
        dtype=array.dtype,
        voxel_size_um=VOXEL_SIZE,
        kind=kind,
        shard=(32, 32, 32),
        chunk=(16, 16, 16),
        ngff=ngff,
    )
    with OmeZarrWriter.create(path, layout, attributes={"kind": kind}) as writer:
        for box in tile(array.shape, (32, 32, 32)):
            writer.write(box, array[box.slices])
        writer.build_levels()
        writer.finish()
