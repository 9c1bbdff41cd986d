"""Graph folders as ``vpbsd graph`` leaves them, written with pyarrow alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Points = Sequence[tuple[float, float, float]]

REGIONS = (
    {"region": 0, "name": "all", "volume_mm3": 8.0, "vessel_volume_fraction": 0.021,
     "length_density_mm_per_mm3": 910.5, "radius_mean_um": 3.25, "capillary_length_share": 0.87},
    {"region": 10, "name": "cortex", "volume_mm3": 5.0, "vessel_volume_fraction": 0.024,
     "length_density_mm_per_mm3": 1002.0, "radius_mean_um": 3.1, "capillary_length_share": 0.9},
    {"region": 9, "name": "white matter", "volume_mm3": 2.5, "vessel_volume_fraction": 0.011,
     "length_density_mm_per_mm3": 402.25, "radius_mean_um": 2.9, "capillary_length_share": 0.94},
    {"region": 2, "name": "ventricle", "volume_mm3": 0.5, "vessel_volume_fraction": 0.0,
     "length_density_mm_per_mm3": 0.0, "radius_mean_um": None, "capillary_length_share": None},
)  # fmt: skip


def write_graph(
    folder: Path,
    edges: Sequence[tuple[int, int, Points, float]],
    degrees: Sequence[int],
    *,
    regions: Sequence[Mapping[str, Any]] = (),
    summary: Mapping[str, Any] | None = None,
    histograms: Mapping[str, Any] | None = None,
    shape_voxels: tuple[int, int, int] | None = None,
) -> Path:
    """Write edges (node a, node b, points (z, y, x) in µm, radius in µm) and node degrees.

    Voxels are of 1 µm; every node has a radius of 1 µm.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = len(degrees)
    places = np.zeros((count, 3))
    for a, b, points, _ in edges:
        places[a], places[b] = points[0], points[-1]
    nodes = {
        "node": pa.array(range(count), pa.int64()),
        **{f"{a}_um": pa.array(places[:, i], pa.float64()) for i, a in enumerate("zyx")},
        "radius_um": pa.array([1.0] * count, pa.float32()),
        "degree": pa.array(degrees, pa.int64()),
        "component": pa.array([0] * count, pa.int64()),
    }
    pq.write_table(pa.table(nodes), folder / "nodes.parquet")
    lengths = [_length(points) for _, _, points, _ in edges]
    radii = pa.array([r for *_, r in edges], pa.float32())
    lists = pa.list_(pa.float32())
    table = {
        "edge": pa.array(range(len(edges)), pa.int64()),
        "node_a": pa.array([a for a, *_ in edges], pa.int64()),
        "node_b": pa.array([b for _, b, *_ in edges], pa.int64()),
        "length_um": pa.array(lengths, pa.float64()),
        "radius_mean_um": radii,
        "radius_min_um": radii,
        "radius_max_um": radii,
        "tortuosity": pa.array([1.25] * len(edges), pa.float64()),
        "component": pa.array([0] * len(edges), pa.int64()),
        **{
            f"points_{axis}_um": pa.array(
                [[p[i] for p in points] for _, _, points, _ in edges], lists
            )
            for i, axis in enumerate("zyx")
        },
        "points_radius_um": pa.array([[r] * len(points) for _, _, points, r in edges], lists),
    }
    about = {"format": 1}
    if shape_voxels is not None:
        about |= {"voxel_size_um": [1.0, 1.0, 1.0], "shape_voxels": list(shape_voxels)}
    metadata = {b"vpbsd": json.dumps(about).encode()}
    pq.write_table(pa.table(table).replace_schema_metadata(metadata), folder / "edges.parquet")
    if regions:
        pq.write_table(pa.Table.from_pylist([dict(r) for r in regions]), folder / "regions.parquet")
    if summary is not None:
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    if histograms is not None:
        (folder / "histograms.json").write_text(json.dumps(histograms), encoding="utf-8")
    return folder


def small_graph(folder: Path, name: str = "all") -> Path:
    """A Y of three vessels, 30, 40 and 50 µm long, with regions, histograms and a summary."""
    line = [(0.0, 0.0, float(x)) for x in range(0, 31, 10)]
    up = [(0.0, float(y), 30.0) for y in range(0, 41, 10)]
    away = [(float(z), 0.0, 30.0) for z in range(0, 51, 10)]
    edges = [(0, 1, line, 6.0), (1, 2, up, 3.0), (1, 3, away, 2.0)]
    regions = [{**r, "name": name if r["region"] == 9 else r["name"]} for r in REGIONS]
    return write_graph(
        folder, edges, [1, 3, 1, 1],
        regions=regions if name != "all" else REGIONS,
        summary={
            "voxel_size_um": [1.0, 1.0, 1.0],
            "shape_voxels": [51, 41, 31],
            "measures": {"volume_mm3": 8.0, "betti_1": 0},
            "cleaning": [{"step": "prune spurs", "removed": 4}],
            "warnings": ["3 edges were shorter than a voxel"],
            "options": {"largest_radius_um": 40.0},
            "provenance": {"command": "vpbsd graph mask.ome.zarr -o graph", "vpbsd": "0.1.0",
                           "time_utc": "2026-01-02T03:04:05+00:00"},
        },
        histograms={"radius_um": {"edges": [0, 2, 4, 8], "counts": [1, 2, 1]}},
    )  # fmt: skip


def _length(points: Points) -> float:
    steps = np.diff(np.asarray(points, np.float64), axis=0)
    return float(np.linalg.norm(steps, axis=1).sum())
