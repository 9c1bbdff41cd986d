"""Skeletons drawn by hand, traced and stitched in blocks of any size, without thinning."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import numpy as np

from vpbsd.blockwise import plan_blocks
from vpbsd.geometry import VoxelSize
from vpbsd.graph.fragments.fragment import Fragment, trace
from vpbsd.graph.fragments.stitch import stitch
from vpbsd.graph.pages import Pages
from vpbsd.graph.vessel_graph import VesselGraph

UNIT = VoxelSize(1.0, 1.0, 1.0)


def drawn(*rows: str) -> np.ndarray:
    """Return a skeleton (1, y, x): ``#`` where there is one."""
    return np.array([[c == "#" for c in row] for row in rows])[np.newaxis]


def fragments_of(
    skeleton: np.ndarray, block: Sequence[int] | int, radius_um: np.ndarray | None = None
) -> list[Fragment]:
    """Trace every block of a skeleton that is known as a whole."""
    shape = skeleton.shape
    radius = np.ones(shape, np.float32) if radius_um is None else radius_um
    padded, radii = np.pad(skeleton, 1), np.pad(radius, 1)
    found = []
    for part in plan_blocks(shape, block):
        # In the padded array the block with its rim starts where the block starts in the volume.
        box = part.write.grow(1).shift((1, 1, 1)).slices
        inside = padded[box]
        found.append(trace(inside, radii[box][inside], part.write.start, shape))
    return found


def graph_of(
    skeleton: np.ndarray,
    block: Sequence[int] | int = 1000,
    voxel_size: VoxelSize = UNIT,
    radius_um: np.ndarray | None = None,
    pages: Pages | None = None,
) -> VesselGraph:
    """Return the graph of a skeleton that was cut into blocks."""
    fragments = fragments_of(skeleton, block, radius_um)
    return stitch(lambda: iter(fragments), skeleton.shape, voxel_size, pages)


def points_of(graph: VesselGraph) -> list[list[tuple[float, ...]]]:
    """Return the points of each edge in micrometres, (z, y, x)."""
    return [
        [tuple(float(v) for v in p) for p in graph.point_position_um[graph.points(e)]]
        for e in range(graph.edges)
    ]


def everything(graph: VesselGraph) -> list[bytes]:
    """Return all arrays of a graph as bytes."""
    return [np.ascontiguousarray(array).tobytes() for array in arrays_of(graph)]


def arrays_of(graph: VesselGraph) -> list[np.ndarray]:
    """Return all arrays of a graph."""
    return [
        graph.node_position_um,
        graph.node_radius_um,
        graph.edge_nodes,
        graph.edge_offsets,
        graph.point_position_um,
        graph.point_radius_um,
    ]


def in_a_file(array: np.ndarray) -> bool:
    """Whether an array, or what it is a view of, is mapped from a file."""
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    return base is not None
