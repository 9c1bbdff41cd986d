"""The options of ``vpbsd graph`` for regions, and the tables they lead to."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpbsd.blockwise import Workers
    from vpbsd.graph.regions.run import RegionOptions

__all__ = ["add_region_options", "region_options"]


def add_region_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for regions and for what is measured in them."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--regions", metavar="LABELS",
        help="label volume in the space of the mask, at any voxel size: one row of the table for "
        "each label",
    )  # fmt: skip
    which.add_argument(
        "--atlas", metavar="NAME",
        help="regions of this BrainGlobe atlas (allen_mouse_25um), for a mask registered to it",
    )  # fmt: skip
    parser.add_argument(
        "--region-names", type=Path, metavar="CSV",
        help="names of the labels: columns id, name and, for sums over regions, parent",
    )  # fmt: skip
    parser.add_argument(
        "--region-voxel-size", type=float, nargs=3, metavar=("Z", "Y", "X"),
        help="of the label volume in µm, where its file does not say",
    )  # fmt: skip
    parser.add_argument(
        "--tissue", metavar="VOLUME", help="count only where this volume is above 0"
    )
    parser.add_argument(
        "--extravascular", type=float, default=100.0, metavar="UM",
        help="longest distance to the nearest vessel in µm, 0 to measure none (default: 100)",
    )  # fmt: skip


def region_options(
    options: argparse.Namespace,
    *,
    workers: Workers | None = None,
    memory_bytes: int | None = None,
    capillary_radius_um: float | None = None,
) -> RegionOptions:
    """Return what ``vpbsd graph`` was told of regions.

    Parameters
    ----------
    options
        With what :func:`add_region_options` adds.
    workers, memory_bytes, capillary_radius_um
        Where the work is done, the memory of each process, and what is a capillary, where the
        verb has options for them.

    Raises
    ------
    ConfigError
        If options contradict each other or are out of range.
    """
    from vpbsd.geometry import VoxelSize
    from vpbsd.graph.regions.run import RegionOptions

    default = RegionOptions()
    size = options.region_voxel_size
    return RegionOptions(
        regions=options.regions,
        names=options.region_names,
        voxel_size=None if size is None else VoxelSize.of(size),
        atlas=options.atlas,
        tissue=options.tissue,
        capillary_radius_um=capillary_radius_um or default.capillary_radius_um,
        extravascular_um=options.extravascular,
        memory_bytes=memory_bytes or default.memory_bytes,
        workers=workers or default.workers,
    )
