"""Graphs as Parquet: read back exactly, and as pandas sees them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from drawn_graphs import drawn, same, straight
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vpbsd.errors import OutputError, VolumeFormatError
from vpbsd.graph import VesselGraph
from vpbsd.graph.files import read_graph, write_graph

VOXEL = (5.0, 1.0, 0.3)


def some_graph() -> VesselGraph:
    """A Y, a ring of its own, a node by itself, two vessels between the same nodes."""
    ring = [(9, 0, 0), (9, 0, 1), (9, 1, 2), (9, 2, 1), (9, 1, 0), (9, 0, 0)]
    arms = [straight((4, 4, 4), p) for p in ((0, 4, 4), (4, 0, 4))]
    twins = [[(4, 4, 4), (5, 5, 4), (6, 4, 4)], [(4, 4, 4), (5, 3, 4), (6, 4, 4)]]
    return drawn([*arms, *twins, ring], 1.25, alone=[(1, 1, 1)], voxel_size_um=VOXEL)


@st.composite
def graphs(draw) -> VesselGraph:
    coordinate = st.integers(0, 6)
    point = st.tuples(coordinate, coordinate, coordinate)
    lines = draw(st.lists(st.lists(point, min_size=2, max_size=9), max_size=12))
    alone = draw(st.lists(point, max_size=3))
    return drawn(lines, 0.7, alone=alone, voxel_size_um=VOXEL)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=graphs(), rows=st.integers(1, 5))
def test_what_is_read_is_what_was_written(tmp_path, graph: VesselGraph, rows: int) -> None:
    write_graph(graph, tmp_path, rows_per_group=rows)
    assert same(read_graph(tmp_path), graph)


def test_pandas_reads_the_columns_with_their_units(tmp_path) -> None:
    write_graph(some_graph(), tmp_path)
    nodes = pd.read_parquet(tmp_path / "nodes.parquet")
    edges = pd.read_parquet(tmp_path / "edges.parquet")
    assert nodes.dtypes.astype(str).to_dict() == {
        "node": "int64",
        "z_um": "float64",
        "y_um": "float64",
        "x_um": "float64",
        "radius_um": "float32",
        "degree": "int64",
        "component": "int64",
    }
    assert list(edges.columns) == [
        "edge",
        "node_a",
        "node_b",
        "length_um",
        "chord_um",
        "tortuosity",
        "radius_mean_um",
        "radius_min_um",
        "radius_max_um",
        "volume_um3",
        "surface_um2",
        "direction_z",
        "direction_y",
        "direction_x",
        "component",
        "points_z_um",
        "points_y_um",
        "points_x_um",
        "points_radius_um",
    ]
    assert nodes.degree.tolist() == [1, 0, 1, 4, 2, 2]
    assert nodes.component.tolist() == [0, 1, 0, 0, 0, 2]
    assert edges.length_um[:2].tolist() == pytest.approx([20, 4])
    assert edges.points_z_um[0].tolist() == [20, 15, 10, 5, 0]
    assert edges.points_radius_um[1].tolist() == [1.25] * 5
    assert edges.tortuosity.isna().tolist() == [False] * 4 + [True]
    assert edges.direction_z[:2].tolist() == [1, 0]


def test_a_ring_has_null_not_nan(tmp_path) -> None:
    write_graph(some_graph(), tmp_path)
    table = pq.read_table(tmp_path / "edges.parquet")
    assert [table[n].null_count for n in ("tortuosity", "direction_y", "chord_um")] == [1, 1, 0]


def test_the_tables_say_of_what_volume_they_are(tmp_path) -> None:
    write_graph(some_graph(), tmp_path)
    for name in ("nodes", "edges"):
        noted = pq.read_schema(tmp_path / f"{name}.parquet").metadata[b"vpbsd"]
        assert json.loads(noted) == {
            "voxel_size_um": [5.0, 1.0, 0.3],
            "shape_voxels": [64, 64, 64],
            "format": 1,
        }


def test_edges_are_written_in_groups(tmp_path) -> None:
    write_graph(some_graph(), tmp_path, rows_per_group=2)
    file = pq.ParquetFile(tmp_path / "edges.parquet")
    assert [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] == [2, 2, 1]
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_memory_mapped_points_are_written(tmp_path) -> None:
    graph = some_graph()
    np.save(tmp_path / "p.npy", graph.point_position_um)
    mapped = replace(graph, point_position_um=np.load(tmp_path / "p.npy", mmap_mode="r"))
    write_graph(mapped, tmp_path / "g")
    assert same(read_graph(tmp_path / "g"), graph)


@pytest.mark.parametrize("name", ["nodes.parquet", "edges.parquet"])
def test_a_missing_table_is_named(tmp_path, name: str) -> None:
    write_graph(some_graph(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(VolumeFormatError, match=f"there is no {name} in"):
        read_graph(tmp_path)


@pytest.mark.parametrize("name", ["nodes.parquet", "edges.parquet"])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
def test_a_table_cut_short_is_refused(tmp_path, name: str, share: float) -> None:
    write_graph(some_graph(), tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(VolumeFormatError, match="copy it again"):
        read_graph(tmp_path)


def test_damaged_pages_are_refused(tmp_path) -> None:
    write_graph(some_graph(), tmp_path)
    data = bytearray((tmp_path / "edges.parquet").read_bytes())
    data[4:400] = bytes(396)
    (tmp_path / "edges.parquet").write_bytes(data)
    with pytest.raises(VolumeFormatError, match=r"damaged|cut short"):
        read_graph(tmp_path)


def test_another_version_is_refused(tmp_path) -> None:
    write_graph(some_graph(), tmp_path)
    for name in ("nodes.parquet", "edges.parquet"):
        table = pq.read_table(tmp_path / name)
        noted = {"voxel_size_um": [1, 1, 1], "shape_voxels": [1, 1, 1], "format": 2}
        pq.write_table(
            table.replace_schema_metadata({b"vpbsd": json.dumps(noted).encode()}), tmp_path / name
        )
    with pytest.raises(VolumeFormatError, match="has format 2, and this vpbsd reads format 1"):
        read_graph(tmp_path)


def test_other_parquet_is_refused(tmp_path) -> None:
    for name in ("nodes.parquet", "edges.parquet"):
        pd.DataFrame({"a": [1]}).to_parquet(tmp_path / name)
    with pytest.raises(VolumeFormatError, match="no vessel graph"):
        read_graph(tmp_path)


def test_tables_of_two_graphs_are_refused(tmp_path) -> None:
    write_graph(some_graph(), tmp_path / "a")
    write_graph(
        drawn(
            [straight((0, 0, 0), (0, 0, 5))],
            alone=[(0, 0, i) for i in (1, 2, 3, 4)],
            voxel_size_um=VOXEL,
        ),
        tmp_path / "b",
    )
    shutil.copy(tmp_path / "a" / "nodes.parquet", tmp_path / "b" / "nodes.parquet")
    with pytest.raises(VolumeFormatError, match="of different graphs"):
        read_graph(tmp_path / "b")


def test_a_failure_leaves_the_earlier_tables(tmp_path, monkeypatch) -> None:
    write_graph(some_graph(), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OutputError, match="No space left"):
        write_graph(drawn([straight((0, 0, 0), (0, 0, 5))]), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
