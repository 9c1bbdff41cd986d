"""Small graphs, written down by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from vpbsd.geometry import VoxelSize
from vpbsd.graph import VesselGraph

Point = tuple[float, float, float]


def drawn(
    lines: Sequence[Sequence[Point]],
    radius_um: float | Sequence[Sequence[float]] = 1.0,
    *,
    alone: Sequence[Point] = (),
    voxel_size_um: Point = (1.0, 1.0, 1.0),
) -> VesselGraph:
    """Make the graph of some lines through voxels (z, y, x), whose ends are the nodes."""
    chains = [np.asarray(line, dtype=np.float64) * voxel_size_um for line in lines]
    places = sorted(
        {tuple(c[i]) for c in chains for i in (0, -1)}
        | {tuple(np.multiply(p, voxel_size_um)) for p in alone}
    )
    number = {place: i for i, place in enumerate(places)}
    radii = [
        np.full(len(c), radius_um) if isinstance(radius_um, int | float) else radius_um[i]
        for i, c in enumerate(chains)
    ]
    node_radius = np.full(len(places), radius_um if isinstance(radius_um, int | float) else 0.0)
    for chain, radius in zip(chains, radii, strict=True):
        for i in (0, -1):
            which = number[tuple(chain[i])]
            node_radius[which] = max(node_radius[which], radius[i])
    ends = [[number[tuple(c[0])], number[tuple(c[-1])]] for c in chains]
    return VesselGraph(
        voxel_size=VoxelSize.of(voxel_size_um),
        shape_voxels=(64, 64, 64),
        node_position_um=np.array(places, dtype=np.float64).reshape(-1, 3),
        node_radius_um=node_radius.astype(np.float32),
        edge_nodes=np.array(ends, dtype=np.int64).reshape(-1, 2),
        edge_offsets=np.cumsum([0, *map(len, chains)]).astype(np.int64),
        point_position_um=np.concatenate([*chains, np.empty((0, 3))]).astype(np.float32),
        point_radius_um=np.concatenate([*radii, []]).astype(np.float32),
    )


def straight(start: Point, stop: Point) -> list[Point]:
    """Return the voxels from one to another, along an axis or a diagonal."""
    steps = int(np.abs(np.subtract(stop, start)).max())
    return [tuple(p) for p in np.linspace(start, stop, steps + 1).tolist()]


def same(a: VesselGraph, b: VesselGraph) -> bool:
    """Whether two graphs are equal, array by array."""
    names = ("node_position_um", "node_radius_um", "edge_nodes", "edge_offsets")
    names += ("point_position_um", "point_radius_um")
    return (
        a.voxel_size == b.voxel_size
        and a.shape_voxels == b.shape_voxels
        and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names)
    )


def shuffled(graph: VesselGraph, seed: int) -> VesselGraph:
    """Return the same graph with its edges in another order, some of them turned round."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(graph.edges)
    turned = rng.random(graph.edges) < 0.5
    position, radius, ends = [], [], []
    for edge in order:
        way = -1 if turned[edge] else 1
        position.append(graph.point_position_um[graph.points(edge)][::way])
        radius.append(graph.point_radius_um[graph.points(edge)][::way])
        ends.append(graph.edge_nodes[edge][::way])
    return replace(
        graph,
        edge_nodes=np.array(ends, dtype=np.int64).reshape(-1, 2),
        edge_offsets=np.cumsum([0, *map(len, radius)]).astype(np.int64),
        point_position_um=np.concatenate([*position, np.empty((0, 3), np.float32)]),
        point_radius_um=np.concatenate([*radius, np.empty(0, np.float32)]),
    )


def digitised(
    curve: Callable[[np.ndarray], np.ndarray], voxel_size_um: Point = (1.0, 1.0, 1.0)
) -> list[Point]:
    """Return the chain of voxels nearest to a curve, ``curve(t)`` in µm for t from 0 to 1.

    Voxels that the chain does not need, since their neighbours touch, are left out, those that the
    curve merely grazes first.
    """
    t = np.linspace(0, 1, 4000)
    voxels = np.rint(curve(t) / np.asarray(voxel_size_um)).astype(int)
    starts = np.flatnonzero(np.r_[True, (np.diff(voxels, axis=0) != 0).any(axis=1)])
    stays = np.diff(np.r_[starts, len(t)]).tolist()
    chain = [tuple(v) for v in voxels[starts].tolist()]
    while True:
        idle = [
            (stays[i], i)
            for i in range(1, len(chain) - 1)
            if max(abs(a - b) for a, b in zip(chain[i - 1], chain[i + 1], strict=True)) == 1
        ]
        if not idle:
            return [(float(z), float(y), float(x)) for z, y, x in chain]
        _, i = min(idle)
        del chain[i], stays[i]
