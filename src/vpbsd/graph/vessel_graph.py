"""The vessel graph as a value: nodes joined by edges, each edge a polyline with radii."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError
from vpbsd.geometry import Triplet, VoxelSize
from vpbsd.graph.pages import Pages

__all__ = ["VesselGraph"]

_ARRAYS: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "node_position_um": (np.float64, (3,)),
    "node_radius_um": (np.float32, ()),
    "edge_nodes": (np.int64, (2,)),
    "edge_offsets": (np.int64, ()),
    "point_position_um": (np.float32, (3,)),
    "point_radius_um": (np.float32, ()),
}


@dataclass(frozen=True, slots=True, eq=False)
class VesselGraph:
    """Branch points and ends, and the vessels between them; lengths in micrometres, (z, y, x).

    The centre of the first voxel of the mask is the origin: a position is an index times the voxel
    size. Edge ``e`` owns the points ``edge_offsets[e]`` to ``edge_offsets[e + 1]``; its first
    and its last point are its two nodes. A ring without a branch point has one node and one edge
    that joins it to itself. Two nodes may be joined by several edges.

    Arrays may be mapped from files, those of points above all, which grow with the length of all
    vessels: whoever reads these goes through them a few edges at a time.

    Attributes
    ----------
    voxel_size, shape_voxels
        Of the mask.
    node_position_um
        (N, 3) float64.
    node_radius_um
        (N,) float32.
    edge_nodes
        (E, 2) int64 indices of nodes.
    edge_offsets
        (E + 1,) int64, from 0 to P.
    point_position_um
        (P, 3) float32.
    point_radius_um
        (P,) float32.
    pages
        Where graphs that are made of this one, and its measures, put their arrays.

    Raises
    ------
    DataError
        If the arrays do not fit together.
    """

    voxel_size: VoxelSize
    shape_voxels: Triplet
    node_position_um: NDArray[np.float64]
    node_radius_um: NDArray[np.float32]
    edge_nodes: NDArray[np.int64]
    edge_offsets: NDArray[np.int64]
    point_position_um: NDArray[np.float32]
    point_radius_um: NDArray[np.float32]
    pages: Pages = field(default_factory=Pages)

    def __post_init__(self) -> None:
        for name, (kind, tail) in _ARRAYS.items():
            array: NDArray[Any] = getattr(self, name)
            if array.dtype != kind or array.ndim != 1 + len(tail) or array.shape[1:] != tail:
                raise DataError(
                    f"{name} of a vessel graph holds {np.dtype(kind)} of shape (n, *{tail}), got "
                    f"{array.dtype} of shape {array.shape}"
                )
        self._require_counts()
        ends = self.edge_nodes
        if self.edges and (int(ends.min()) < 0 or int(ends.max()) >= self.nodes):
            raise DataError(f"an edge names a node outside the {self.nodes} nodes of its graph")

    def _require_counts(self) -> None:
        offsets, points = self.edge_offsets, len(self.point_position_um)
        counts = {
            "node_radius_um": (len(self.node_radius_um), self.nodes),
            "edge_offsets": (len(offsets), self.edges + 1),
            "point_radius_um": (len(self.point_radius_um), points),
        }
        for name, (found, wanted) in counts.items():
            if found != wanted:
                raise DataError(f"{name} of this vessel graph has {found} items, not {wanted}")
        if offsets[0] != 0 or offsets[-1] != points or bool((np.diff(offsets) < 2).any()):
            raise DataError(
                f"edge_offsets must rise from 0 to {points} by at least two points an edge"
            )

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.node_position_um)

    @property
    def edges(self) -> int:
        """Number of edges."""
        return len(self.edge_nodes)

    @property
    def node_degree(self) -> NDArray[np.int64]:
        """(N,) number of edge ends at each node; an edge from a node to itself counts twice."""
        return np.bincount(self.edge_nodes.ravel(), minlength=self.nodes).astype(np.int64)

    def points(self, edge: int) -> slice:
        """Return where the points of an edge lie."""
        return slice(int(self.edge_offsets[edge]), int(self.edge_offsets[edge + 1]))
