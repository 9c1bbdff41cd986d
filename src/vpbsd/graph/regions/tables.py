"""The region table: one row a region, from sums of its vessels and counts of its voxels.

=====================================  =============================================================
region, name, is_sum                   label (0 in the row "all"); whether the row sums up others
volume_mm3                             voxels times their volume
vessel_volume_fraction                 vessel voxels / voxels
length_density_mm_per_mm3              length_mm / volume_mm3
branch_points_per_mm3                  nodes of three or more edges / volume_mm3
radius_mean_um, _p10, _p50, _p90       weighted by length
capillary_length_share                 length of radius below that of capillaries / length
extravascular_distance_mean_um         of the distances up to the limit
extravascular_distance_p50_um, _p95    of all distances; empty where that is beyond the limit
extravascular_distance_beyond_share    distances beyond the limit / all
anisotropy, principal_direction_z…     fractional anisotropy of the orientation tensor; 0 to 1
edges, nodes, length_mm                numbers and length
=====================================  =============================================================

The first row is "all": everything that was looked at, what lies in no region included. A region
that has parts (column ``parent`` of the names) is the sum of its parts and of its own voxels; such
rows have ``is_sum``, and adding them to their parts counts twice. What is not defined, such as a
mean radius where there is no vessel, is empty (null in Parquet).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpbsd.errors import DataError, OutputError
from vpbsd.geometry import VoxelSize
from vpbsd.graph.measures.summary import CAPILLARY_RADIUS_UM
from vpbsd.graph.regions.names import OUTSIDE, RegionNames
from vpbsd.graph.regions.tissue_counts import DistanceHistogram, TissueCounts
from vpbsd.graph.regions.vessel_sums import VesselSum, VesselSums
from vpbsd.provenance import write_text_atomic

__all__ = ["ALL", "COLUMNS", "RegionRow", "read_region_table", "region_rows", "write_region_table"]

RegionRow = Mapping[str, Any]
"""A row by column; None where a value is not defined."""

_TYPES: dict[str, type] = {
    "region": int,
    "name": str,
    "is_sum": bool,
    "volume_mm3": float,
    "vessel_volume_fraction": float,
    "length_density_mm_per_mm3": float,
    "branch_points_per_mm3": float,
    "radius_mean_um": float,
    "radius_p10_um": float,
    "radius_p50_um": float,
    "radius_p90_um": float,
    "capillary_length_share": float,
    "extravascular_distance_mean_um": float,
    "extravascular_distance_p50_um": float,
    "extravascular_distance_p95_um": float,
    "extravascular_distance_beyond_share": float,
    "anisotropy": float,
    "principal_direction_z": float,
    "principal_direction_y": float,
    "principal_direction_x": float,
    "edges": int,
    "nodes": int,
    "length_mm": float,
}

COLUMNS = tuple(_TYPES)
"""The columns in order."""

ALL = "all"
"""Name of the row of everything that was looked at."""


def region_rows(
    vessels: VesselSums,
    tissue: TissueCounts,
    voxel_size: VoxelSize,
    names: RegionNames | None = None,
    capillary_radius_um: float = CAPILLARY_RADIUS_UM,
) -> list[RegionRow]:
    """Return the rows of the table: "all", then regions by number, sums among them.

    Parameters
    ----------
    vessels, tissue
        Of the same mask and regions.
    voxel_size
        Of the mask.
    names
        Names and parents; regions that occur nowhere get no row.
    capillary_radius_um
        Vessels of a smaller radius are capillaries.
    """
    names = names or RegionNames()

    def measured(parts: Sequence[int] | None) -> dict[str, Any]:
        vessel_sum, counts = vessels.of(parts), tissue.of(parts)
        return _measures(vessel_sum, counts, voxel_mm3, capillary_radius_um)

    voxel_mm3 = math.prod(voxel_size.zyx_um) * 1e-9
    present = sorted({*vessels.labels.tolist(), *tissue.labels.tolist()} - {OUTSIDE})
    members: dict[int, Sequence[int]] = {region: [region] for region in present}
    sums = {whole: parts for whole, parts in names.members(present).items() if parts}
    members |= sums
    rows: list[RegionRow] = [{"region": OUTSIDE, "name": ALL, "is_sum": True} | measured(None)]
    for region, parts in sorted(members.items()):
        about = {"region": region, "name": names.name(region), "is_sum": region in sums}
        rows.append(about | measured(parts))
    return rows


def _measures(
    vessels: VesselSum,
    tissue: tuple[int, int, DistanceHistogram | None],
    voxel_mm3: float,
    capillary_radius_um: float,
) -> dict[str, Any]:
    voxels, vessel_voxels, distances = tissue
    volume_mm3, length_mm = voxels * voxel_mm3, vessels.length_um * 1e-3
    shape = vessels.orientation
    anisotropy, direction = (None, (None,) * 3) if shape is None else (shape[0], shape[1].tolist())
    return {
        "volume_mm3": volume_mm3,
        "vessel_volume_fraction": _ratio(vessel_voxels, voxels),
        "length_density_mm_per_mm3": _ratio(length_mm, volume_mm3),
        "branch_points_per_mm3": _ratio(vessels.branch_points, volume_mm3),
        "radius_mean_um": vessels.radius_mean_um,
        **{f"radius_p{p}_um": vessels.radius_percentile_um(p) for p in (10, 50, 90)},
        "capillary_length_share": vessels.capillary_length_share(capillary_radius_um),
        "extravascular_distance_mean_um": distances and distances.mean_um,
        "extravascular_distance_p50_um": distances and distances.percentile_um(50),
        "extravascular_distance_p95_um": distances and distances.percentile_um(95),
        "extravascular_distance_beyond_share": distances and distances.beyond_share,
        "anisotropy": anisotropy,
        **{f"principal_direction_{a}": v for a, v in zip("zyx", direction, strict=True)},
        "edges": vessels.edges,
        "nodes": vessels.nodes,
        "length_mm": length_mm,
    }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def write_region_table(rows: Sequence[RegionRow], folder: Path) -> tuple[Path, Path]:
    """Write ``regions.csv`` and ``regions.parquet``; each is there complete or not at all.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(row[name]) for name in COLUMNS} for row in rows)
    comma, parquet = folder / "regions.csv", folder / "regions.parquet"
    write_text_atomic(comma, text.getvalue())
    kinds = {int: pa.int64(), str: pa.string(), bool: pa.bool_(), float: pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in _TYPES.items()])
    partial = parquet.with_suffix(".parquet.partial")
    try:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), partial)
        partial.replace(parquet)
    except OSError as error:
        raise OutputError(f"cannot write '{parquet}': {error.strerror or error}") from error
    return comma, parquet


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def read_region_table(path: Path | str) -> list[RegionRow]:
    """Read a region table, of CSV or Parquet.

    A folder stands for the ``regions.parquet`` or ``regions.csv`` inside. Columns of another make
    are kept where they hold numbers or text.

    Raises
    ------
    DataError
        If there is none, or it lacks the columns region and name.
    """
    file = Path(path)
    if file.is_dir():
        inside = [file / name for name in ("regions.parquet", "regions.csv")]
        file = next((f for f in inside if f.is_file()), inside[0])
    rows = _parquet_rows(file) if file.suffix == ".parquet" else _csv_rows(file)
    if not rows or not {"region", "name"} <= rows[0].keys():
        raise DataError(
            f"'{file}' is no region table: it needs a row for each region and the columns region "
            "and name, as vpbsd graph writes them"
        )
    return rows


def _parquet_rows(file: Path) -> list[RegionRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_table(file).to_pylist())
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"the region table '{file}' cannot be read: {error}; make it with vpbsd graph"
        ) from error


def _csv_rows(file: Path) -> list[RegionRow]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            return [
                {key: _value(key, text or "") for key, text in row.items() if key}
                for row in csv.DictReader(stream)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"the region table '{file}' cannot be read: {error}; make it with vpbsd graph"
        ) from error


def _value(column: str, text: str) -> Any:
    kind = _TYPES.get(column)
    if kind is str:
        return text
    if not text:
        return None
    if kind is bool:
        return text.lower() == "true"
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        return text
