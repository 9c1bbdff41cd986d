"""Cut a vessel network to a box."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vpbsd.data.simulate.network import VesselNetwork

__all__ = ["crop_network"]

Floats = NDArray[np.float64]


def crop_network(network: VesselNetwork, low_um: ArrayLike, high_um: ArrayLike) -> VesselNetwork:
    """Return the part inside ``low_um <= position <= high_um``; (z, y, x) in µm.

    An edge that leaves the box ends in a new node on its face, with the radius interpolated
    there; an edge that comes back becomes a second edge. A chord that crosses the box between two
    points outside it is cut as well.
    """
    low, high = np.asarray(low_um, float), np.asarray(high_um, float)
    start = network.segment_start
    a, b = network.points_um[start], network.points_um[start + 1]
    enter, leave = _clip_parameters(a, b, low, high)
    kept = np.flatnonzero(enter < leave)
    enter, leave, first = enter[kept], leave[kept], start[kept]
    ra, rb = network.radii_um[first], network.radii_um[first + 1]
    begin = a[kept] + enter[:, None] * (b[kept] - a[kept])
    end = a[kept] + leave[:, None] * (b[kept] - a[kept])
    begin_radius, end_radius = ra + enter * (rb - ra), ra + leave * (rb - ra)
    # A piece continues the one before if that one reaches the point both share.
    joined = np.zeros(len(kept), bool)
    joined[1:] = (first[1:] == first[:-1] + 1) & (enter[1:] == 0) & (leave[:-1] == 1)
    joined[1:] &= network.point_edge[first[1:]] == network.point_edge[first[:-1]]
    heads = np.flatnonzero(~joined)
    tails = np.append(heads[1:], len(kept))[: len(heads)]
    nodes: list[Floats] = []
    known: dict[int, int] = {}

    def node_at(point: int, position: Floats, whole: bool) -> int:
        edge = int(network.point_edge[point])
        ends = {int(network.offsets[edge]): 0, int(network.offsets[edge + 1]) - 1: 1}
        old = int(network.edges[edge, ends[point]]) if whole and point in ends else -1
        if old >= 0 and old in known:
            return known[old]
        nodes.append(position)
        if old >= 0:
            known[old] = len(nodes) - 1
        return len(nodes) - 1

    edges, curves, radii, kinds = [], [], [], []
    for head, tail in zip(heads.tolist(), tails.tolist(), strict=True):
        last = tail - 1
        edges.append(
            (
                node_at(int(first[head]), begin[head], bool(enter[head] == 0)),
                node_at(int(first[last]) + 1, end[last], bool(leave[last] == 1)),
            )
        )
        curves.append(np.concatenate([begin[head : head + 1], end[head:tail]]))
        radii.append(np.concatenate([begin_radius[head : head + 1], end_radius[head:tail]]))
        kinds.append(network.kinds[network.point_edge[first[head]]])
    return VesselNetwork.from_curves(
        np.array(nodes).reshape(-1, 3), np.array(edges, np.int64).reshape(-1, 2), curves, radii,
        np.array(kinds, np.int64),
    )


def _clip_parameters(
    a: Floats, b: Floats, low: Floats, high: Floats
) -> tuple[Floats, Floats]:
    """Return where (0..1) each segment enters and leaves the box; enter >= leave if it misses."""
    along = b - a
    flat = np.abs(along) < 1e-12
    step = np.where(flat, 1.0, along)
    one, two = (low - a) / step, (high - a) / step
    near, far = np.minimum(one, two), np.maximum(one, two)
    outside = flat & ((a < low) | (a > high))
    near = np.where(flat, 0.0, near)
    far = np.where(flat, np.where(outside, -1.0, 1.0), far)
    return np.maximum(near.max(axis=1), 0.0), np.minimum(far.min(axis=1), 1.0)
