"""A vessel graph as neuroglancer's precomputed skeletons: one binary file a connected part.

::

    info          {"@type": "neuroglancer_skeletons", "transform", "vertex_attributes"}
    1  2  3 …     points, pieces, (x, y, z) of each point, (from, to) of each piece, radii

All little-endian: two uint32, float32, uint32, float32. Positions are in micrometres; the
transform takes them to nanometres. Source: the neuroglancer documentation, "Precomputed skeleton
format" (https://neuroglancer-docs.web.app/datasource/precomputed/skeleton.html).
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpbsd.views.graph_folder import Polylines

__all__ = ["write_skeletons"]

# The largest parts are files of their own; what is left over shares one more.
_MOST_PARTS = 200
_NANOMETRES_PER_MICROMETRE = 1000


def write_skeletons(vessels: Polylines, folder: Path) -> list[int]:
    """Write vessels as skeletons; returns the numbers of the parts, the largest first.

    Parameters
    ----------
    vessels
        Where they are joined, their end points coincide.
    folder
        Exists, and is empty.
    """
    n = _NANOMETRES_PER_MICROMETRE
    info = {
        "@type": "neuroglancer_skeletons",
        "transform": [n, 0, 0, 0, 0, n, 0, 0, 0, 0, n, 0],
        "vertex_attributes": [{"id": "radius_um", "data_type": "float32", "num_components": 1}],
    }
    (folder / "info").write_text(json.dumps(info), encoding="utf-8")
    part = _parts(vessels)
    order = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[order], np.arange(1, int(part.max(initial=0)) + 2))
    for number, (first, last) in enumerate(pairwise(bounds), start=1):
        (folder / str(number)).write_bytes(_encoded(vessels, order[first:last]))
    return list(range(1, len(bounds)))


def _parts(vessels: Polylines) -> NDArray[np.int64]:
    """(E,) number of each vessel's part, from 1, the part with the most points first."""
    names, index = np.unique(vessels.component, return_inverse=True)
    points = np.bincount(index, np.diff(vessels.offsets), minlength=len(names))
    rank = np.empty(len(names), np.int64)
    rank[np.argsort(-points, kind="stable")] = np.arange(len(names))
    return np.asarray(np.minimum(rank, _MOST_PARTS)[index] + 1, np.int64)


def _encoded(vessels: Polylines, edges: NDArray[np.intp]) -> bytes:
    """Return the file of some vessels."""
    lengths = np.diff(vessels.offsets)[edges]
    ends = np.cumsum(lengths)
    within = np.arange(int(ends[-1])) - np.repeat(ends - lengths, lengths)
    point = np.repeat(vessels.offsets[edges], lengths) + within
    starts = np.flatnonzero(within != np.repeat(lengths, lengths) - 1)
    pieces = np.stack([starts, starts + 1], axis=1)
    return b"".join(
        array.tobytes()
        for array in (
            np.array([len(point), len(pieces)], "<u4"),
            vessels.position_um[point][:, ::-1].astype("<f4"),
            pieces.astype("<u4"),
            vessels.radius_um[point].astype("<f4"),
        )
    )
