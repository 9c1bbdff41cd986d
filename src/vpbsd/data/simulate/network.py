"""A vessel network: nodes joined by edges, each edge a curved tube of varying radius."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vpbsd.errors import DataError

__all__ = ["VesselKind", "VesselNetwork"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class VesselKind(IntEnum):
    """What an edge is."""

    ARTERIOLE = 0
    VENULE = 1
    CAPILLARY = 2


@dataclass(frozen=True, eq=False)
class VesselNetwork:
    """Nodes, edges and the curve and radii of every edge; all lengths in micrometres.

    Curves are stored one after the other: edge ``e`` owns ``points[offsets[e]:offsets[e + 1]]``,
    and its first and last point are its two nodes.

    Attributes
    ----------
    nodes_um
        (N, 3) positions, (z, y, x).
    edges
        (E, 2) node indices.
    kinds
        (E,) ``VesselKind`` values.
    offsets
        (E + 1,) starts of the curves in ``points_um``.
    points_um
        (P, 3) points of all curves.
    radii_um
        (P,) radius at each point.

    Raises
    ------
    DataError
        If the arrays do not fit together.
    """

    nodes_um: Floats
    edges: Ints
    kinds: Ints
    offsets: Ints
    points_um: Floats
    radii_um: Floats

    def __post_init__(self) -> None:
        edges, points = len(self.edges), len(self.points_um)
        fits = (
            self.nodes_um.shape[1:] == (3,)
            and self.points_um.shape[1:] == (3,)
            and self.edges.shape[1:] == (2,)
            and self.kinds.shape == (edges,)
            and self.offsets.shape == (edges + 1,)
            and self.radii_um.shape == (points,)
            and int(self.offsets[0]) == 0
            and int(self.offsets[-1]) == points
            and (edges == 0 or int(np.diff(self.offsets).min()) >= 2)
        )
        if not fits:
            raise DataError(
                f"{edges} edges, {points} points and {len(self.offsets)} offsets do not make a "
                "vessel network: each edge needs a kind, an offset and at least 2 points"
            )
        if edges and not 0 <= int(self.edges.min()) <= int(self.edges.max()) < len(self.nodes_um):
            raise DataError(f"edges name nodes outside 0..{len(self.nodes_um) - 1}")

    @classmethod
    def from_curves(
        cls,
        nodes_um: ArrayLike,
        edges: ArrayLike,
        curves_um: Sequence[ArrayLike],
        radii_um: Sequence[ArrayLike],
        kinds: ArrayLike | None = None,
    ) -> VesselNetwork:
        """Build from one (P, 3) curve and one (P,) radius array per edge; µm, (z, y, x)."""
        curves = [np.asarray(c, float).reshape(-1, 3) for c in curves_um]
        radii = [
            np.broadcast_to(np.asarray(r, float), (len(c),))
            for r, c in zip(radii_um, curves, strict=True)
        ]
        kind = np.full(len(curves), VesselKind.CAPILLARY) if kinds is None else np.asarray(kinds)
        return cls(
            nodes_um=np.asarray(nodes_um, float).reshape(-1, 3),
            edges=np.asarray(edges, np.int64).reshape(-1, 2),
            kinds=kind.astype(np.int64),
            offsets=np.cumsum([0, *(len(c) for c in curves)]).astype(np.int64),
            points_um=np.concatenate([np.zeros((0, 3)), *curves]),
            radii_um=np.concatenate([np.zeros(0), *radii]),
        )

    def curve_um(self, edge: int) -> Floats:
        """Return the (P, 3) points of one edge."""
        return self.points_um[self.offsets[edge] : self.offsets[edge + 1]]

    def curve_radii_um(self, edge: int) -> Floats:
        """Return the (P,) radii of one edge."""
        return self.radii_um[self.offsets[edge] : self.offsets[edge + 1]]

    @cached_property
    def point_edge(self) -> Ints:
        """(P,) edge that owns each point."""
        return np.repeat(np.arange(len(self.edges)), np.diff(self.offsets))

    @cached_property
    def segment_start(self) -> Ints:
        """(S,) points that are joined to the next point of the same edge."""
        inner = np.ones(len(self.points_um), bool)
        inner[self.offsets[1:] - 1] = False
        return np.flatnonzero(inner)

    @cached_property
    def edge_lengths_um(self) -> Floats:
        """(E,) length of each curve: the sum of its straight pieces."""
        start = self.segment_start
        step = np.linalg.norm(self.points_um[start + 1] - self.points_um[start], axis=1)
        length = np.bincount(self.point_edge[start], step, minlength=len(self.edges))
        return length.astype(np.float64)

    @property
    def length_um(self) -> float:
        """Length of all vessels together."""
        return float(self.edge_lengths_um.sum())

    @cached_property
    def components(self) -> int:
        """Number of connected parts; a node without edges counts."""
        return int(_component_labels(len(self.nodes_um), self.edges)[0])

    @property
    def loops(self) -> int:
        """Number of independent loops: edges - nodes + components (Euler)."""
        return len(self.edges) - len(self.nodes_um) + self.components

    @cached_property
    def degrees(self) -> Ints:
        """(N,) number of edge ends at each node."""
        ends = np.bincount(self.edges.ravel(), minlength=len(self.nodes_um))
        return ends.astype(np.int64)

    def mapped(self, scale: ArrayLike, shift_um: ArrayLike, swap_yx: bool = False) -> VesselNetwork:
        """Return the network with positions swapped in y and x, then times ``scale`` + shift.

        ``scale`` is +1 or -1 per axis (flips), so that lengths and radii stay.
        """
        order = [0, 2, 1] if swap_yx else [0, 1, 2]

        def move(positions: Floats) -> Floats:
            moved: Floats = positions[:, order] * np.asarray(scale, float)
            moved += np.asarray(shift_um, float)
            return moved

        return VesselNetwork(
            move(self.nodes_um),
            self.edges,
            self.kinds,
            self.offsets,
            move(self.points_um),
            self.radii_um,
        )

    def to_tables(self) -> tuple[dict[str, NDArray[np.generic]], dict[str, NDArray[np.generic]]]:
        """Return the node and the edge table, each a mapping from column name to column."""
        z, y, x = self.nodes_um.T
        start = self.offsets[:-1]
        sizes = np.diff(self.offsets)
        nodes: dict[str, NDArray[np.generic]] = {
            "node": np.arange(len(self.nodes_um)),
            "z_um": z,
            "y_um": y,
            "x_um": x,
            "degree": self.degrees,
        }
        mean = np.add.reduceat(self.radii_um, start) / sizes if len(sizes) else np.zeros(0)
        edges: dict[str, NDArray[np.generic]] = {
            "edge": np.arange(len(self.edges)),
            "node_a": self.edges[:, 0],
            "node_b": self.edges[:, 1],
            "kind": np.array([VesselKind(k).name.lower() for k in self.kinds], dtype=str),
            "length_um": self.edge_lengths_um,
            "mean_radius_um": mean,
        }
        return nodes, edges

    def save(self, path: Path | str) -> None:
        """Write all arrays to an ``.npz`` file."""
        with Path(path).open("wb") as file:
            np.savez_compressed(
                file,
                nodes_um=self.nodes_um,
                edges=self.edges,
                kinds=self.kinds,
                offsets=self.offsets,
                points_um=self.points_um,
                radii_um=self.radii_um,
            )

    @classmethod
    def load(cls, path: Path | str) -> VesselNetwork:
        """Read a file written by :meth:`save`.

        Raises
        ------
        DataError
            If the file is missing, truncated or not a vessel network.
        """
        try:
            # Opened here, since NumPy leaves a file that is no archive open.
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                return cls(**{name: file[name] for name in cls.__dataclass_fields__})
        except (OSError, KeyError, ValueError, TypeError, EOFError, BadZipFile) as error:
            raise DataError(
                f"{path} is not a readable vessel network ({error}); expected an .npz file "
                "written by VesselNetwork.save"
            ) from error


def _component_labels(nodes: int, edges: Ints) -> tuple[int, NDArray[np.int32]]:
    if nodes == 0:
        return 0, np.zeros(0, np.int32)
    ones = np.ones(len(edges), np.int8)
    count, labels = connected_components(
        coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(nodes, nodes)), directed=False
    )
    return int(count), labels
