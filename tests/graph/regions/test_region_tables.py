"""The region table: values worked out by hand, sums, files, and the run on a graph's folder."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vpbsd.errors import ConfigError, DataError, VoxelSizeUnknownError
from vpbsd.geometry import VoxelSize
from vpbsd.graph import VesselGraph
from vpbsd.graph.files import write_graph
from vpbsd.graph.measures.edges import measure_edges
from vpbsd.graph.measures.summary import summarise
from vpbsd.graph.regions.extravascular import ExtravascularOptions, count_tissue
from vpbsd.graph.regions.names import RegionNames
from vpbsd.graph.regions.run import RegionOptions, write_region_tables
from vpbsd.graph.regions.tables import COLUMNS, read_region_table, region_rows, write_region_table
from vpbsd.graph.regions.vessel_sums import sum_vessels
from vpbsd.graph.regions.volume import RegionVolume
from vpbsd.volumes import ArrayVolume, open_volume

TEN = VoxelSize(10.0, 10.0, 10.0)
SHAPE = (4, 12, 20)


def graph_of(nodes, edges, chains, radii, shape=SHAPE, size=TEN) -> VesselGraph:
    """Build a graph from positions in µm."""
    lengths = [len(c) for c in chains]
    return VesselGraph(
        voxel_size=size,
        shape_voxels=shape,
        node_position_um=np.asarray(nodes, np.float64).reshape(-1, 3),
        node_radius_um=np.ones(len(nodes), np.float32),
        edge_nodes=np.asarray(edges, np.int64).reshape(-1, 2),
        edge_offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        point_position_um=np.concatenate([np.zeros((0, 3)), *chains]).astype(np.float32),
        point_radius_um=np.concatenate([np.zeros(0), *radii]).astype(np.float32),
    )


def straight(a, b, steps: int) -> np.ndarray:
    return np.linspace(np.asarray(a, float), np.asarray(b, float), steps + 1)


def cross() -> VesselGraph:
    """Three straight vessels from the point y = 50, x = 90: left, right (along x) and down."""
    centre = (0, 50, 90)
    ends = [(0, 50, 0), (0, 50, 190), (0, 110, 90)]
    chains = [straight(centre, end, n) for end, n in zip(ends, (9, 10, 6), strict=True)]
    radii = [np.full(10, 3.0), np.full(11, 4.0), np.full(7, 10.0)]
    return graph_of([centre, *ends], [(0, 1), (0, 2), (0, 3)], chains, radii)


def halves() -> np.ndarray:
    """Region 5 is x < 10 voxels (its face is at x = 95 µm), region 7 the rest."""
    labels = np.full(SHAPE, 5, np.uint16)
    labels[:, :, 10:] = 7
    return labels


def rows_of(graph: VesselGraph, mask: np.ndarray, labels=None, names=None, capillary=5.0):
    size = graph.voxel_size
    regions = (
        None if labels is None else RegionVolume(ArrayVolume(labels, size), mask.shape, size, names)
    )
    options = ExtravascularOptions(spacing_um=0.0, limit_um=40.0)
    tissue = count_tissue(ArrayVolume(mask, size), size, regions=regions, options=options)
    vessels = sum_vessels(graph, regions)
    return region_rows(vessels, tissue, size, names, capillary)


# --------------------------------------------------------------------------------------- by hand


def test_vessels_are_cut_at_the_border() -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[0, 5, :] = 1
    everything, left, right = rows_of(cross(), mask, halves(), RegionNames({5: "left"}))
    assert [r["name"] for r in (everything, left, right)] == ["all", "left", "7"]
    # The step from x = 90 to 100 has its middle on the face at 95, which belongs to the right.
    assert left["length_mm"] == pytest.approx(0.090 + 0.060)
    assert right["length_mm"] == pytest.approx(0.100)
    assert everything["length_mm"] == pytest.approx(0.250)
    # 4 x 12 x 10 voxels of 1000 µm³ in each half.
    assert left["volume_mm3"] == pytest.approx(480e-6)
    assert left["length_density_mm_per_mm3"] == pytest.approx(0.150 / 480e-6)
    assert left["vessel_volume_fraction"] == pytest.approx(10 / 480)
    assert left["branch_points_per_mm3"] == pytest.approx(1 / 480e-6)
    assert right["branch_points_per_mm3"] == 0
    assert (left["nodes"], right["nodes"], everything["nodes"]) == (3, 1, 4)
    assert (left["edges"], right["edges"], everything["edges"]) == (2, 1, 3)


def test_radii_are_weighted_by_length() -> None:
    everything, left, right = rows_of(cross(), np.zeros(SHAPE, np.uint8), halves())
    assert left["radius_mean_um"] == pytest.approx((90 * 3 + 60 * 10) / 150)
    assert right["radius_mean_um"] == pytest.approx(4)
    # 90 of 250 µm have radius 3, 100 have 4, 60 have 10: 36 %, 76 %, 100 %.
    assert everything["radius_p10_um"] == pytest.approx(3)
    assert everything["radius_p50_um"] == pytest.approx(4)
    assert everything["radius_p90_um"] == pytest.approx(10)
    assert everything["capillary_length_share"] == pytest.approx(190 / 250)
    assert left["capillary_length_share"] == pytest.approx(90 / 150)


def test_capillary_radius_is_a_choice() -> None:
    found = sum_vessels(cross()).of()
    assert found.capillary_length_share(4.0) == pytest.approx(90 / 250)  # below 4, not at 4


def test_direction_and_anisotropy() -> None:
    everything, left, right = rows_of(cross(), np.zeros(SHAPE, np.uint8), halves())
    # Right: all along x. Left: 90 along x, 60 along y: eigenvalues 0.6, 0.4, 0 around 1/3:
    # √1.5 · √((0.6-1/3)² + (0.4-1/3)² + (1/3)²) / √(0.36 + 0.16) = √1.5 · √0.18667 / √0.52.
    assert right["anisotropy"] == pytest.approx(1.0)
    assert left["anisotropy"] == pytest.approx(0.733799, abs=1e-6)
    for row in (everything, left, right):
        axis = [row[f"principal_direction_{a}"] for a in "zyx"]
        assert axis == pytest.approx([0, 0, 1])


def test_three_equal_directions_have_no_anisotropy() -> None:
    origin, ends = (0, 0, 0), [(60, 0, 0), (0, 60, 0), (0, 0, 60)]
    chains = [straight(origin, end, 6) for end in ends]
    graph = graph_of([origin, *ends], [(0, 1), (0, 2), (0, 3)], chains, [np.ones(7)] * 3, (7, 7, 7))
    found = sum_vessels(graph).of()
    assert found.orientation is not None
    assert found.orientation[0] == pytest.approx(0, abs=1e-9)


def test_region_without_vessels_and_region_of_nothing_but_vessel() -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, :, :10] = 1
    graph = graph_of([], [], [], [])
    everything, left, right = rows_of(graph, mask, halves())
    assert right["length_density_mm_per_mm3"] == 0
    assert right["vessel_volume_fraction"] == 0
    assert (right["edges"], right["nodes"], right["length_mm"]) == (0, 0, 0)
    for column in ("radius_mean_um", "radius_p50_um", "capillary_length_share", "anisotropy"):
        assert right[column] is None
    assert left["vessel_volume_fraction"] == 1
    assert left["extravascular_distance_mean_um"] is None
    assert left["extravascular_distance_beyond_share"] is None
    # Columns of voxels 10, 20, 30, 40 µm from the vessel are within 40 µm, six are beyond.
    assert right["extravascular_distance_mean_um"] == pytest.approx(25)
    assert right["extravascular_distance_beyond_share"] == pytest.approx(0.6)
    assert right["extravascular_distance_p95_um"] is None
    assert everything["volume_mm3"] == pytest.approx(960e-6)


def test_parents_sum_up_their_parts() -> None:
    names = RegionNames({1: "brain", 5: "left", 7: "right", 9: "absent"}, {5: 1, 7: 1, 9: 1})
    everything, brain, left, right = rows_of(cross(), np.zeros(SHAPE, np.uint8), halves(), names)
    assert [r["is_sum"] for r in (everything, brain, left, right)] == [True, True, False, False]
    assert brain["name"] == "brain"
    for column in COLUMNS[3:]:
        assert brain[column] == pytest.approx(everything[column]), column


# ------------------------------------------------------------------------------------------ laws


def wandering(seed: int) -> VesselGraph:
    """Edges that wander through the volume from voxel to voxel."""
    rng = np.random.default_rng(seed)
    chains, radii = [], []
    for _ in range(12):
        steps = rng.integers(-1, 2, (60, 3))
        steps[~steps.any(axis=1), 2] = 1
        path = np.cumsum(np.vstack([rng.integers(0, SHAPE), steps]), axis=0)
        inside = ((path >= 0) & (path < SHAPE)).all(axis=1)
        length = max(2, int(np.argmin(inside)) if not inside.all() else len(path))
        chains.append(np.clip(path, 0, np.array(SHAPE) - 1)[:length] * 10.0)
        radii.append(rng.uniform(1, 20, length))
    nodes = np.concatenate([[c[0], c[-1]] for c in chains])
    return graph_of(nodes, np.arange(24).reshape(12, 2), chains, radii)


@pytest.mark.parametrize("seed", range(4))
def test_regions_add_up_to_all(seed: int) -> None:
    graph = wandering(seed)
    labels = np.random.default_rng(seed).integers(1, 5, (2, 4, 5)).astype(np.uint8)
    labels = labels.repeat(2, 0).repeat(3, 1).repeat(4, 2)
    everything, *regions = rows_of(graph, np.zeros(SHAPE, np.uint8), labels)
    for column in ("length_mm", "volume_mm3", "edges", "nodes"):
        assert sum(r[column] for r in regions) == pytest.approx(everything[column])
    assert everything["edges"] == graph.edges
    assert everything["nodes"] == graph.nodes
    # Lengths are those of the edges' own measures.
    measures = measure_edges(graph)
    assert everything["length_mm"] == pytest.approx(measures.length_um.sum() / 1000)
    weighted = np.average(measures.radius_mean_um, weights=measures.length_um)
    assert everything["radius_mean_um"] == pytest.approx(weighted, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_row_all_is_the_summary_of_the_graph(seed: int) -> None:
    graph = wandering(seed)
    everything = rows_of(graph, np.zeros(SHAPE, np.uint8))[0]
    volume_um3 = math.prod(SHAPE) * 1000.0
    summary = summarise(graph, volume_um3=volume_um3).as_measures()
    shared = summary.keys() & everything.keys()
    assert len(shared) == 14
    for name in shared:
        # The summary takes percentiles of radii from a histogram with bins of 0.01 µm.
        within = 0.01 if name.startswith("radius_p") else 0.0
        assert everything[name] == pytest.approx(summary[name], rel=1e-6, abs=within), name


def test_tissue_leaves_out_what_lies_outside() -> None:
    tissue = RegionVolume(ArrayVolume((halves() == 7).astype(np.uint8), TEN), SHAPE, TEN)
    found = sum_vessels(cross(), None, tissue).of()
    assert found.length_um == pytest.approx(100)
    assert (found.edges, found.nodes, found.branch_points) == (1, 1, 0)


# ----------------------------------------------------------------------------------------- files


def test_table_is_read_back(tmp_path: Path) -> None:
    rows = rows_of(cross(), np.zeros(SHAPE, np.uint8), halves(), RegionNames({5: "left, upper"}))
    comma, parquet = write_region_table(rows, tmp_path)
    assert read_region_table(comma) == rows
    assert read_region_table(parquet) == rows
    assert read_region_table(tmp_path) == rows
    with comma.open(encoding="utf-8") as stream:
        header = next(csv.reader(stream))
    assert tuple(header) == COLUMNS
    frame = pd.read_parquet(parquet)
    assert frame["region"].tolist() == [0, 5, 7]
    assert frame["name"].tolist() == ["all", "left, upper", "7"]
    assert np.isnan(frame["extravascular_distance_mean_um"][0])  # there was no vessel


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(text)
    with pytest.raises(DataError, match="no region table"):
        read_region_table(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_region_table(tmp_path / "nowhere")


# ------------------------------------------------------------------------------- a finished graph


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Path, Path]:
    """Folder of the graph of `cross`, and its mask with a row of vessel."""
    folder = tmp_path / "graph"
    write_graph(cross(), folder)
    (folder / "histograms.json").write_text('{"radius_um": {"edges": [0, 1], "counts": [3]}}')
    mask = np.zeros(SHAPE, np.uint8)
    mask[0, 5, :] = 255
    np.save(tmp_path / "mask.npy", mask)
    np.save(tmp_path / "labels.npy", halves())
    (tmp_path / "names.csv").write_text("id,name\n5,left\n7,right\n")
    return folder, tmp_path / "mask.npy"


def test_tables_of_a_finished_graph(finished: tuple[Path, Path], tmp_path: Path) -> None:
    folder, mask = finished
    options = RegionOptions(
        regions=tmp_path / "labels.npy",
        names=tmp_path / "names.csv",
        voxel_size=TEN,
        spacing_um=0.0,
        extravascular_um=30.0,
    )
    tables = write_region_tables(folder, open_volume(mask), options)
    assert [p.name for p in tables.paths] == ["regions.csv", "regions.parquet", "histograms.json"]
    assert read_region_table(folder) == tables.rows
    assert [r["name"] for r in tables.rows] == ["all", "left", "right"]
    assert not (folder / "regions.work").exists()
    histograms = json.loads((folder / "histograms.json").read_text())
    assert histograms["radius_um"]["counts"] == [3]
    distances = histograms["extravascular_distance_um"]
    # Along each of the 20 columns: vessel at z 0, y 5; 3 voxels at 10 µm.
    assert len(distances["edges"]) == len(distances["counts"]) + 1
    assert distances["counts"][10] == 3 * 20
    assert sum(distances["counts"]) + distances["beyond"] == 960 - 20


def test_without_regions_there_is_the_row_all(finished: tuple[Path, Path]) -> None:
    folder, mask = finished
    options = RegionOptions(extravascular_um=0.0)
    tables = write_region_tables(folder, open_volume(mask), options)
    (row,) = tables.rows
    assert row["name"] == "all"
    assert row["extravascular_distance_mean_um"] is None
    assert row["length_mm"] == pytest.approx(0.250)
    assert [p.name for p in tables.paths] == ["regions.csv", "regions.parquet"]


def test_tissue_without_voxel_size_has_that_of_the_mask(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, mask = finished
    np.save(tmp_path / "tissue.npy", (halves() == 7).astype(np.uint8))
    options = RegionOptions(tissue=tmp_path / "tissue.npy", extravascular_um=0.0)
    (row,) = write_region_tables(folder, open_volume(mask), options).rows
    assert row["volume_mm3"] == pytest.approx(480e-6)
    assert row["length_mm"] == pytest.approx(0.100)
    np.save(tmp_path / "tissue.npy", np.ones((2, 6, 10), np.uint8))
    with pytest.raises(VoxelSizeUnknownError, match="other voxels"):
        write_region_tables(folder, open_volume(mask), options)


def test_another_mask_is_refused(finished: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="name the mask that the graph was made of"):
        write_region_tables(finished[0], ArrayVolume(np.zeros((3, 3, 3), np.uint8)))


def test_label_volume_without_voxel_size_is_refused(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    options = RegionOptions(regions=tmp_path / "labels.npy")
    with pytest.raises(VoxelSizeUnknownError, match="--region-voxel-size"):
        write_region_tables(finished[0], open_volume(finished[1]), options)


@pytest.mark.parametrize(
    "faulty",
    [
        {"regions": "a", "atlas": "b"},
        {"names": Path("a.csv")},
        {"capillary_radius_um": 0.0},
        {"extravascular_um": -1.0},
    ],
)
def test_contradictions_are_refused(faulty) -> None:
    with pytest.raises(ConfigError):
        RegionOptions(**faulty)
