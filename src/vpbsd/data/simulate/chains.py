"""Join capillary pieces that meet end to end, so that edges run from fork to fork."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from vpbsd.data.simulate.network import VesselKind, VesselNetwork

__all__ = ["join_chains"]

Floats = NDArray[np.float64]


def join_chains(network: VesselNetwork, smooth_points: float) -> VesselNetwork:
    """Return the network without nodes that merely join two capillaries.

    Parameters
    ----------
    network
        Any network; arterioles and venules are left as they are.
    smooth_points
        Deviation, in points, of the smoothing of joined curves; their ends stay in place.
    """
    thin = network.kinds == VesselKind.CAPILLARY
    through = (network.degrees == 2) & (
        np.bincount(network.edges[thin].ravel(), minlength=len(network.nodes_um)) == 2
    )
    chains = _trace(network.edges, thin, through)
    curves, radii, kinds, ends = [], [], [], []
    for chain in chains:
        curve, radius = _concatenate(network, chain)
        first, flipped = chain[0]
        last, last_flipped = chain[-1]
        if len(chain) > 1:
            curve = _smooth(curve, smooth_points)
            radius = gaussian_filter1d(radius, smooth_points, mode="nearest")
        curves.append(curve)
        radii.append(radius)
        kinds.append(network.kinds[first])
        ends.append(
            (network.edges[first, int(flipped)], network.edges[last, 1 - int(last_flipped)])
        )
    edges = np.array(ends, np.int64).reshape(-1, 2)
    kept, renamed = np.unique(edges, return_inverse=True)
    return VesselNetwork.from_curves(
        network.nodes_um[kept], renamed.reshape(-1, 2), curves, radii, np.array(kinds, np.int64)
    )


_Chain = list[tuple[int, bool]]  # edges in order, each with whether it is walked backwards


def _trace(
    edges: NDArray[np.int64], thin: NDArray[np.bool_], through: NDArray[np.bool_]
) -> list[_Chain]:
    at_node: dict[int, list[int]] = {}
    ends = edges.tolist()
    passes, joinable = through.tolist(), thin.tolist()
    for edge, (a, b) in enumerate(ends):
        for node in (a, b):
            if passes[node]:
                at_node.setdefault(node, []).append(edge)
    used = [False] * len(ends)

    def walk(edge: int, backwards: bool) -> _Chain:
        chain = [(edge, backwards)]
        used[edge] = True
        node = ends[edge][0 if backwards else 1]
        while passes[node]:
            onward = [e for e in at_node[node] if not used[e]]
            if not onward:
                break
            edge = onward[0]
            used[edge] = True
            backwards = ends[edge][1] == node
            chain.append((edge, backwards))
            node = ends[edge][0 if backwards else 1]
        return chain

    chains = []
    for edge, (a, b) in enumerate(ends):
        if used[edge]:
            continue
        if not joinable[edge] or not passes[a]:
            chains.append(walk(edge, False))
        elif not passes[b]:
            chains.append(walk(edge, True))
    # What is left are rings without any fork.
    chains += [walk(edge, False) for edge in range(len(ends)) if not used[edge]]
    return chains


def _concatenate(network: VesselNetwork, chain: _Chain) -> tuple[Floats, Floats]:
    curves, radii = [], []
    for number, (edge, backwards) in enumerate(chain):
        step = -1 if backwards else 1
        skip = 0 if number == 0 else 1  # the joint is already there
        curves.append(network.curve_um(edge)[::step][skip:])
        radii.append(network.curve_radii_um(edge)[::step][skip:])
    return np.concatenate(curves), np.concatenate(radii)


def _smooth(curve: Floats, deviation: float) -> Floats:
    """Smooth the offsets from the chord, which are 0 at both ends, as an odd function there."""
    t = np.linspace(0.0, 1.0, len(curve))[:, None]
    chord = curve[0] + t * (curve[-1] - curve[0])
    offset = curve - chord
    doubled = np.concatenate([offset, -offset[-2:0:-1]])
    smoothed = gaussian_filter1d(doubled, deviation, axis=0, mode="wrap")[: len(curve)]
    smoothed[[0, -1]] = 0.0
    result: Floats = chord + smoothed
    return result
