"""A vessel graph for ParaView: one polyline an edge, in VTK's XML format for poly data (.vtp).

The VTK File Formats (Kitware): a piece lists its points, and its lines as the numbers of their
points (``connectivity``) and where each line ends among these (``offsets``). Arrays are appended
raw after the ``_`` that ends the XML, each led by its size in bytes as a UInt64; the ``offset`` of
an array counts bytes from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vpbsd.graph.files.whole import written_whole
from vpbsd.graph.measures.edges import EdgeMeasures, measure_edges
from vpbsd.graph.measures.length import edge_chunks, smoothed_points_um
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["write_vtp"]

_CELLS = (
    "length_um",
    "chord_um",
    "tortuosity",
    "radius_mean_um",
    "radius_min_um",
    "radius_max_um",
    "volume_um3",
    "surface_um2",
)
_VTK_NAME = {"<f4": "Float32", "<i8": "Int64"}


@dataclass(frozen=True, slots=True)
class _Array:
    """One array of the file: its place in the XML, and its values, some at a time."""

    name: str
    kind: str
    shape: tuple[int, ...]
    values: Iterator[NDArray[np.generic]]

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.kind).itemsize

    def element(self, offset: int) -> str:
        components = f' NumberOfComponents="{self.shape[1]}"' if len(self.shape) == 2 else ""
        return (
            f'<DataArray type="{_VTK_NAME[self.kind]}" Name="{self.name}"{components} '
            f'format="appended" offset="{offset}"/>'
        )


def write_vtp(
    graph: VesselGraph,
    path: Path,
    measures: EdgeMeasures | None = None,
    *,
    smooth: bool = True,
) -> None:
    """Write the lines of a graph, with ``radius_um`` at points and measures for each line.

    Coordinates are (x, y, z) in µm, as ParaView wants them. Isolated points, which have no line,
    are left out. The points of an edge are its own: those of nodes appear once for each edge.

    Parameters
    ----------
    graph
        What to write.
    path
        Named ``.vtp``; replaced if it is there.
    measures
        Of this graph; computed if not given.
    smooth
        Write the smoothed centrelines, whose lengths are the measured ones, not the staircases of
        voxel centres.

    Raises
    ------
    OutputError
        If the file cannot be written; an earlier one stays as it was then.
    """
    measures = measures or measure_edges(graph)
    groups = _groups(graph, measures, smooth)
    with written_whole(path) as partial, partial.open("wb") as file:
        file.write(_header(graph, groups).encode("ascii"))
        for arrays in groups.values():
            for array in arrays:
                _append(file, array)
        file.write(b"\n</AppendedData>\n</VTKFile>\n")


def _groups(graph: VesselGraph, measures: EdgeMeasures, smooth: bool) -> dict[str, list[_Array]]:
    """Return the arrays by the element they stand in, in the order in which they are appended."""
    points, edges = len(graph.point_radius_um), graph.edges
    cells = [_Array(name, "<f4", (edges,), iter([getattr(measures, name)])) for name in _CELLS]
    ends = iter([graph.edge_offsets[1:]])
    return {
        "PointData": [_Array("radius_um", "<f4", (points,), _radii(graph))],
        "CellData": [
            _Array("edge", "<i8", (edges,), iter([np.arange(edges)])),
            _Array("component", "<i8", (edges,), iter([measures.component])),
            *cells,
        ],
        "Points": [_Array("Points", "<f4", (points, 3), _positions(graph, smooth))],
        "Lines": [
            _Array("connectivity", "<i8", (points,), _numbers(graph)),
            _Array("offsets", "<i8", (edges,), ends),
        ],
    }


def _header(graph: VesselGraph, groups: dict[str, list[_Array]]) -> str:
    lines = [
        '<?xml version="1.0"?>',
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
        "<PolyData>",
        f'<Piece NumberOfPoints="{len(graph.point_radius_um)}" NumberOfVerts="0" '
        f'NumberOfLines="{graph.edges}" NumberOfStrips="0" NumberOfPolys="0">',
    ]
    offset = 0
    for element, arrays in groups.items():
        shown = ' Scalars="radius_um"' if element == "PointData" else ""
        lines.append(f"<{element}{shown}>")
        for array in arrays:
            lines.append(array.element(offset))
            offset += 8 + array.size_bytes
        lines.append(f"</{element}>")
    lines += ["</Piece>", "</PolyData>", '<AppendedData encoding="raw">', "_"]
    return "\n".join(lines)


def _append(file: BinaryIO, array: _Array) -> None:
    file.write(np.array(array.size_bytes, dtype="<u8").tobytes())
    for values in array.values:
        file.write(np.ascontiguousarray(values, dtype=array.kind).tobytes())


def _points(graph: VesselGraph, edges: slice) -> slice:
    return slice(int(graph.edge_offsets[edges.start]), int(graph.edge_offsets[edges.stop]))


def _radii(graph: VesselGraph) -> Iterator[NDArray[np.float32]]:
    return (graph.point_radius_um[_points(graph, edges)] for edges in edge_chunks(graph))


def _positions(graph: VesselGraph, smooth: bool) -> Iterator[NDArray[np.floating]]:
    for edges in edge_chunks(graph):
        at = _points(graph, edges)
        points = smoothed_points_um(graph, edges) if smooth else graph.point_position_um[at]
        yield points[:, ::-1]


def _numbers(graph: VesselGraph) -> Iterator[NDArray[np.int64]]:
    for edges in edge_chunks(graph):
        at = _points(graph, edges)
        yield np.arange(at.start, at.stop)
