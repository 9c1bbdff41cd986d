"""Cut a vessel network to a box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vpbsd.data.simulate.network import VesselNetwork

__all__ = ["crop_network"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def crop_network(network: VesselNetwork, low_um: ArrayLike, high_um: ArrayLike) -> VesselNetwork:
    """Return the part inside ``low_um <= position <= high_um``; (z, y, x) in µm.

    An edge that leaves the box ends in a new node on its face, with the radius interpolated
    there; an edge that comes back becomes a second edge. A piece that crosses the box between two
    points outside it is kept as well.
    """
    pieces = _cut(network, np.asarray(low_um, float), np.asarray(high_um, float))
    heads = np.flatnonzero(~pieces.continues)
    tails = np.append(heads[1:], len(pieces.first))[: len(heads)]
    nodes: list[Floats] = []
    known: dict[int, int] = {}
    edges, curves, radii = [], [], []
    for head, tail in zip(heads.tolist(), tails.tolist(), strict=True):
        curve = np.concatenate([pieces.begin[head : head + 1], pieces.end[head:tail]])
        ends = (
            int(pieces.first[head]) if pieces.enter[head] == 0 else -1,
            int(pieces.first[tail - 1]) + 1 if pieces.leave[tail - 1] == 1 else -1,
        )
        pair = []
        for point, position in zip(ends, (curve[0], curve[-1]), strict=True):
            old = _node_of(network, point)
            if old not in known:
                nodes.append(position)
                if old >= 0:
                    known[old] = len(nodes) - 1
            pair.append(known.get(old, len(nodes) - 1))
        edges.append(pair)
        curves.append(curve)
        radii.append(
            np.concatenate([pieces.begin_radius[head : head + 1], pieces.end_radius[head:tail]])
        )
    return VesselNetwork.from_curves(
        np.array(nodes).reshape(-1, 3),
        np.array(edges, np.int64).reshape(-1, 2),
        curves,
        radii,
        network.kinds[network.point_edge[pieces.first[heads]]],
    )


@dataclass(frozen=True, eq=False)
class _Pieces:
    """What of each straight piece lies in the box, for those that do.

    ``first`` is the point a piece starts at, ``enter`` and ``leave`` (0..1) where it enters and
    leaves the box, and ``continues`` whether it carries on from the piece before.
    """

    first: Ints
    enter: Floats
    leave: Floats
    begin: Floats
    end: Floats
    begin_radius: Floats
    end_radius: Floats
    continues: NDArray[np.bool_]


def _cut(network: VesselNetwork, low: Floats, high: Floats) -> _Pieces:
    start = network.segment_start
    a, along = network.points_um[start], np.diff(network.points_um, axis=0)[start]
    enter, leave = _clip_parameters(a, along, low, high)
    kept = np.flatnonzero(enter < leave)
    a, along, enter, leave, first = a[kept], along[kept], enter[kept], leave[kept], start[kept]
    radius, taper = network.radii_um[first], np.diff(network.radii_um)[first]
    continues = np.zeros(len(kept), bool)
    continues[1:] = (
        (first[1:] == first[:-1] + 1)
        & (enter[1:] == 0)
        & (leave[:-1] == 1)
        & (network.point_edge[first[1:]] == network.point_edge[first[:-1]])
    )
    return _Pieces(
        first=first,
        enter=enter,
        leave=leave,
        begin=a + enter[:, None] * along,
        end=a + leave[:, None] * along,
        begin_radius=radius + enter * taper,
        end_radius=radius + leave * taper,
        continues=continues,
    )


def _clip_parameters(a: Floats, along: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Return where (0..1) each piece enters and leaves the box; enter >= leave if it misses."""
    flat = np.abs(along) < 1e-12
    step = np.where(flat, 1.0, along)
    one, two = (low - a) / step, (high - a) / step
    near, far = np.minimum(one, two), np.maximum(one, two)
    outside = flat & ((a < low) | (a > high))
    near = np.where(flat, 0.0, near)
    far = np.where(flat, np.where(outside, -1.0, 1.0), far)
    return np.maximum(near.max(axis=1), 0.0), np.minimum(far.min(axis=1), 1.0)


def _node_of(network: VesselNetwork, point: int) -> int:
    """Return the node at a point, or -1 where a curve merely passes or was cut."""
    if point < 0:
        return -1
    edge = int(network.point_edge[point])
    if point == network.offsets[edge]:
        return int(network.edges[edge, 0])
    if point == network.offsets[edge + 1] - 1:
        return int(network.edges[edge, 1])
    return -1
