"""Graphs for ParaView, read by a parser of the XML and the bytes behind it."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from drawn_graphs import drawn, straight

from vpbsd.graph import VesselGraph
from vpbsd.graph.files import write_vtp
from vpbsd.graph.measures.length import edge_lengths_um

SIZE = {"Float32": ("<f4", 4), "Int64": ("<i8", 8)}


def parsed(path: Path) -> tuple[ET.Element, dict[str, np.ndarray]]:
    """Read a file as the VTK format describes it."""
    data = path.read_bytes()
    mark = data.index(b'<AppendedData encoding="raw">')
    start = data.index(b"_", mark) + 1
    root = ET.fromstring(data[: start - 1] + b"</AppendedData></VTKFile>")
    assert root.attrib == {
        "type": "PolyData",
        "version": "1.0",
        "byte_order": "LittleEndian",
        "header_type": "UInt64",
    }
    arrays, end = {}, start
    for element in root.iter("DataArray"):
        kind, width = SIZE[element.attrib["type"]]
        at = start + int(element.attrib["offset"])
        assert at == end, "arrays follow each other without a gap"
        (count,) = struct.unpack("<Q", data[at : at + 8])
        end = at + 8 + count
        values = np.frombuffer(data, kind, count // width, at + 8)
        components = int(element.attrib.get("NumberOfComponents", 1))
        arrays[element.attrib["Name"]] = values.reshape(-1, 3) if components == 3 else values
    assert data[end:].split() == [b"</AppendedData>", b"</VTKFile>"]
    return root, arrays


def bent() -> VesselGraph:
    return drawn(
        [straight((0, 0, 0), (0, 3, 0)), straight((0, 3, 0), (0, 3, 2))],
        [[1, 2, 3, 4], [4, 5, 6]],
        alone=[(7, 7, 7)],
        voxel_size_um=(5, 2, 1),
    )


def test_lines_in_the_order_of_paraview(tmp_path) -> None:
    write_vtp(bent(), tmp_path / "graph.vtp", smooth=False)
    root, arrays = parsed(tmp_path / "graph.vtp")
    piece = root.find("PolyData/Piece")
    assert piece is not None
    assert piece.attrib == {
        "NumberOfPoints": "7",
        "NumberOfVerts": "0",
        "NumberOfLines": "2",
        "NumberOfStrips": "0",
        "NumberOfPolys": "0",
    }
    xyz = [[0, 0, 0], [0, 2, 0], [0, 4, 0], [0, 6, 0], [0, 6, 0], [1, 6, 0], [2, 6, 0]]
    assert arrays["Points"].tolist() == xyz
    assert arrays["connectivity"].tolist() == list(range(7))
    assert arrays["offsets"].tolist() == [4, 7]
    assert arrays["radius_um"].tolist() == [1, 2, 3, 4, 4, 5, 6]
    assert arrays["length_um"].tolist() == [6, 2]
    assert arrays["edge"].tolist() == [0, 1]
    assert arrays["component"].tolist() == [0, 0]
    assert arrays["radius_mean_um"].tolist() == [2.5, 5]


def test_arrays_stand_where_vtk_looks_for_them(tmp_path) -> None:
    write_vtp(bent(), tmp_path / "graph.vtp")
    root, _ = parsed(tmp_path / "graph.vtp")
    piece = root.find("PolyData/Piece")
    assert piece is not None
    names = {group.tag: [a.attrib["Name"] for a in group] for group in piece}
    assert names["PointData"] == ["radius_um"]
    assert names["Points"] == ["Points"]
    assert names["Lines"] == ["connectivity", "offsets"]
    assert {"edge", "length_um", "tortuosity", "volume_um3"} <= set(names["CellData"])


def test_smooth_lines_have_the_measured_lengths(tmp_path) -> None:
    stairs = [(0, i // 3, i) for i in range(30)]
    graph = drawn([stairs])
    write_vtp(graph, tmp_path / "smooth.vtp")
    _, arrays = parsed(tmp_path / "smooth.vtp")
    length = np.linalg.norm(np.diff(arrays["Points"], axis=0), axis=1).sum()
    assert length == pytest.approx(edge_lengths_um(graph)[0], rel=1e-5)
    assert arrays["Points"][[0, -1]].tolist() == [[0, 0, 0], [29, 9, 0]]


def test_a_graph_without_edges_is_a_file_without_lines(tmp_path) -> None:
    write_vtp(drawn([], alone=[(0, 0, 0)]), tmp_path / "graph.vtp")
    _, arrays = parsed(tmp_path / "graph.vtp")
    assert all(len(values) == 0 for values in arrays.values())
