"""The region tables of a finished graph, from its folder, its mask and a label volume.

::

    OUT/nodes.parquet, edges.parquet ──► vessels by region ──┐
    mask ──► blocks ──► voxels and distances by region ──────┴──► OUT/regions.csv, regions.parquet
                         └──► OUT/histograms.json: extravascular_distance_um
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vpbsd.blockwise import OnDone, Workers
from vpbsd.errors import ConfigError, DataError, VoxelSizeUnknownError
from vpbsd.geometry import Triplet, VoxelSize
from vpbsd.graph.files import read_frame, read_graph
from vpbsd.graph.measures.histogram import Histogram
from vpbsd.graph.measures.summary import CAPILLARY_RADIUS_UM
from vpbsd.graph.pages import Pages
from vpbsd.graph.regions.extravascular import ExtravascularOptions, count_tissue
from vpbsd.graph.regions.names import RegionNames, read_region_names
from vpbsd.graph.regions.tables import RegionRow, region_rows, write_region_table
from vpbsd.graph.regions.tissue_counts import DistanceHistogram, TissueCounts
from vpbsd.graph.regions.vessel_sums import sum_vessels
from vpbsd.graph.regions.volume import RegionVolume
from vpbsd.provenance import write_json_atomic
from vpbsd.volumes import Location, Volume, open_volume

__all__ = ["RegionOptions", "RegionTables", "open_regions", "write_region_tables"]

_HISTOGRAMS = "histograms.json"
_SHOWN_BIN_UM = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionOptions:
    """Which regions there are, and what is measured in them.

    Attributes
    ----------
    regions
        Label volume in the space of the mask; None: only the row "all".
    names
        CSV with the names of its labels, and parents if there are any.
    voxel_size
        Of the label volume, where the file does not state it.
    atlas
        Name of a BrainGlobe atlas that the mask is registered to, instead of a label volume.
    tissue
        Volume that is above 0 where there is tissue; nothing else is counted.
    capillary_radius_um
        Vessels of a smaller radius are capillaries.
    extravascular_um
        Longest distance to the nearest vessel; 0: distances are not measured.
    spacing_um
        Of the lattice that distances are measured on; 0: at every voxel.
    memory_bytes, workers
        For each process, and where the work is done.

    Raises
    ------
    ConfigError
        If options contradict each other or a number is out of range.
    """

    regions: Location | None = None
    names: Path | None = None
    voxel_size: VoxelSize | None = None
    atlas: str | None = None
    tissue: Location | None = None
    capillary_radius_um: float = CAPILLARY_RADIUS_UM
    extravascular_um: float = 100.0
    spacing_um: float = 4.0
    memory_bytes: int = 2 * 2**30
    workers: Workers = field(default_factory=Workers)

    def __post_init__(self) -> None:
        if self.regions is not None and self.atlas is not None:
            raise ConfigError("regions come from a label volume or from an atlas: name one of them")
        if self.regions is None and (self.names is not None or self.voxel_size is not None):
            raise ConfigError(
                "names and voxel size of regions belong to a label volume: name it with --regions"
            )
        if not 0 < self.capillary_radius_um < math.inf:
            raise ConfigError(
                "capillaries are vessels below a positive radius in µm, got "
                f"{self.capillary_radius_um:g}"
            )
        if not 0 <= self.extravascular_um < math.inf:
            raise ConfigError(
                "the longest distance to a vessel is a number of µm, 0 to measure none, got "
                f"{self.extravascular_um:g}"
            )

    def extravascular(self, work: Path | None) -> ExtravascularOptions:
        """Return how distances are measured; finished blocks are kept in ``work``."""
        return ExtravascularOptions(
            limit_um=self.extravascular_um or None,
            spacing_um=self.spacing_um,
            memory_bytes=self.memory_bytes,
            workers=self.workers,
            work=work,
        )


@dataclass(frozen=True, slots=True)
class RegionTables:
    """What was made.

    Attributes
    ----------
    rows
        Of the table, "all" first.
    tissue
        Counts by region, with the histograms of distances.
    paths
        Files written.
    """

    rows: list[RegionRow]
    tissue: TissueCounts
    paths: tuple[Path, ...]


def write_region_tables(
    graph_folder: Path,
    mask: Volume,
    options: RegionOptions | None = None,
    on_done: OnDone | None = None,
) -> RegionTables:
    """Write the region tables of a graph into its folder.

    Finished blocks are kept in ``regions.work`` inside the folder until the tables are there, so
    that a run that was stopped goes on.

    Parameters
    ----------
    graph_folder
        As `vpbsd graph` leaves it.
    mask
        That the graph was made of.
    options
        Defaults if not given.
    on_done
        Told about every block of the mask that is finished.

    Raises
    ------
    DataError
        If the mask is not that of the graph, or regions cannot be used as such.
    VoxelSizeUnknownError
        If the label volume states no voxel size.
    MissingExtraError
        If an atlas is asked for and brainglobe-atlasapi is not installed.
    ConfigError
        If the memory will not do.
    OutputError
        If the folder cannot be written to.
    """
    options = options or RegionOptions()
    size, shape = read_frame(graph_folder)
    _require_its_mask(mask, shape, graph_folder)
    regions, tissue = open_regions(options, shape, size)
    work = graph_folder / "regions.work"
    counts = count_tissue(
        mask,
        size,
        regions=regions,
        tissue=tissue,
        options=options.extravascular(work),
        on_done=on_done,
    )
    # Not sooner: workers and a large graph need not share the memory.
    vessels = sum_vessels(read_graph(graph_folder, Pages(work)), regions, tissue)
    names = None if regions is None else regions.names
    rows = region_rows(vessels, counts, size, names, options.capillary_radius_um)
    paths: tuple[Path, ...] = write_region_table(rows, graph_folder)
    histogram = counts.of()[2]
    if histogram is not None:
        paths = (*paths, _add_histogram(graph_folder / _HISTOGRAMS, histogram))
    shutil.rmtree(work, ignore_errors=True)
    return RegionTables(rows, counts, paths)


def open_regions(
    options: RegionOptions, shape: Triplet, voxel_size: VoxelSize
) -> tuple[RegionVolume | None, RegionVolume | None]:
    """Open the region and the tissue volume, if there are any.

    Called before a graph is made, it finds what does not fit before hours are spent.

    Parameters
    ----------
    options
        Which volumes.
    shape, voxel_size
        Of the mask, (z, y, x).

    Raises
    ------
    DataError, VoxelSizeUnknownError, MissingExtraError
        As :func:`write_region_tables`.
    """
    return _regions(options, shape, voxel_size), _tissue(options, shape, voxel_size)


def _regions(options: RegionOptions, shape: Triplet, size: VoxelSize) -> RegionVolume | None:
    if options.atlas is not None:
        from vpbsd.graph.regions.atlas import atlas_regions

        return atlas_regions(options.atlas, shape, size)
    if options.regions is None:
        return None
    names = RegionNames() if options.names is None else read_region_names(options.names)
    volume = open_volume(options.regions, voxel_size_um=options.voxel_size)
    return RegionVolume(volume, shape, size, names)


def _tissue(options: RegionOptions, shape: Triplet, size: VoxelSize) -> RegionVolume | None:
    if options.tissue is None:
        return None
    volume = open_volume(options.tissue)
    if volume.voxel_size_um is None:
        if volume.shape_zyx != shape:
            raise VoxelSizeUnknownError(
                f"'{volume.source}' does not state its voxel size in physical units and has other "
                f"voxels ({volume.shape_zyx}) than the mask ({shape}): save it with its voxel "
                "size, for example by vpbsd convert --voxel-size Z Y X"
            )
        volume = volume.with_voxel_size(size)
    return RegionVolume(volume, shape, size, option="the voxel size of that file")


def _require_its_mask(mask: Volume, shape: Triplet, folder: Path) -> None:
    if mask.shape_zyx != shape:
        raise DataError(
            f"'{mask.source}' has {mask.shape_zyx} voxels and the mask of the graph in "
            f"'{folder}' had {shape}: name the mask that the graph was made of"
        )


def _add_histogram(file: Path, histogram: DistanceHistogram) -> Path:
    """Add the distances of the whole volume, in bins of 1 µm, to the histograms of the folder."""
    noted: dict[str, Any] = {}
    if file.exists():
        try:
            noted = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise DataError(
                f"'{file}' is damaged ({error}); remove it, or make the graph anew"
            ) from error
    fine = histogram.counts
    # A rounded distance counts where its multiple of the bin lies.
    coarse = np.floor(np.arange(len(fine)) * histogram.bin_um / _SHOWN_BIN_UM + 1e-9)
    counts = np.bincount(coarse.astype(np.int64), fine).astype(np.int64)
    edges = np.arange(len(counts) + 1) * _SHOWN_BIN_UM
    shown = Histogram(tuple(edges.tolist()), tuple(counts.tolist()))
    noted["extravascular_distance_um"] = shown.as_json() | {"beyond": histogram.beyond}
    write_json_atomic(file, noted)
    return file
