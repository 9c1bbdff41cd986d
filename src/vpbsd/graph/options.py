"""What making a graph is told, and what it reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vpbsd.blockwise import Part, Workers
from vpbsd.errors import ConfigError
from vpbsd.geometry import Triplet
from vpbsd.graph.cleaning.clean import CleanOptions
from vpbsd.graph.measures.summary import CAPILLARY_RADIUS_UM
from vpbsd.graph.regions.run import RegionOptions

__all__ = ["MEMORY_BYTES", "GraphOptions", "GraphReport"]

MEMORY_BYTES = int(2.5 * 2**30)
"""For the blocks of all workers together, where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOptions:
    """Choices of one graph; the defaults are right for most masks.

    Attributes
    ----------
    cavity_voxels
        Holes inside vessels of at most so many voxels are filled first; 0 = none.
    largest_radius_um
        Every block is read with the context that vessels of this radius need; None = of
        eight voxels. Blocks that hold wider ones are read with more by themselves: this is about
        speed only.
    clean
        What is taken off the graph.
    capillary_radius_um
        Vessels of a smaller radius are capillaries.
    regions
        Which regions there are, and what is measured in them (capillaries as above); None = no
        tables.
    swc, graphml
        Write these files too.
    block_voxels
        Edges (z, y, x) of the blocks; None = as large as ``memory_bytes`` allows.
    memory_bytes
        Memory for the blocks of all workers together, beside the programs themselves.
    workers, part, work
        Where the work is done, which share of it, and where to keep what it needs to go on.
    overwrite
        Replace an earlier graph, once the new one is complete.
    progress
        Show a progress bar, if stderr is a terminal.
    command
        The command line to note as provenance.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """

    cavity_voxels: int = 64
    largest_radius_um: float | None = None
    clean: CleanOptions = field(default_factory=CleanOptions)
    capillary_radius_um: float = CAPILLARY_RADIUS_UM
    regions: RegionOptions | None = field(default_factory=RegionOptions)
    swc: bool = False
    graphml: bool = False
    block_voxels: Triplet | None = None
    memory_bytes: int = MEMORY_BYTES
    workers: Workers = field(default_factory=Workers)
    part: Part | None = None
    work: Path | None = None
    overwrite: bool = False
    progress: bool = True
    command: str = "vpbsd.graph.build_graph"

    def __post_init__(self) -> None:
        radius = self.largest_radius_um
        if radius is not None and not 0 < radius < math.inf:
            raise ConfigError(f"the largest radius is a positive length in µm, got {radius}")
        if self.cavity_voxels < 0:
            raise ConfigError(
                f"cavities are filled up to a number of voxels, 0 for none; got "
                f"{self.cavity_voxels}"
            )
        if not 0 < self.capillary_radius_um < math.inf:
            raise ConfigError(
                "capillaries are vessels below a positive radius in µm, got "
                f"{self.capillary_radius_um}"
            )
        if self.memory_bytes < 1:
            raise ConfigError(f"memory_bytes must be positive, got {self.memory_bytes}")

    def settings(self) -> dict[str, Any]:
        """Return what the graph and its files depend on, as values that JSON can hold."""
        return {
            "cavity_voxels": self.cavity_voxels,
            "largest_radius_um": self.largest_radius_um,
            **asdict(self.clean),
            "capillary_radius_um": self.capillary_radius_um,
            "regions": None if self.regions is None else _region_settings(self.regions),
            "swc": self.swc,
            "graphml": self.graphml,
        }


def _region_settings(regions: RegionOptions) -> dict[str, Any]:
    def text(value: object) -> str | None:
        return None if value is None else str(value)

    return {
        "regions": text(regions.regions),
        "names": text(regions.names),
        "atlas": regions.atlas,
        "tissue": text(regions.tissue),
        "extravascular_um": regions.extravascular_um,
        "spacing_um": regions.spacing_um,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphReport:
    """What making a graph did.

    Attributes
    ----------
    out
        Folder of the graph, there once no block is missing.
    shape_zyx
        In voxels.
    blocks, resumed_blocks, missing_blocks
        Blocks computed now, finished by earlier runs, and left to other parts.
    redone_blocks
        Blocks that disagreed with a neighbour and were computed again with more context.
    widened_blocks
        Blocks that were read with more context than the plan's, for the width of their vessels.
    elsewhere
        Another part has finished the graph; what follows is not known then.
    nodes, edges
        Of the cleaned graph.
    vessel_voxels, cavities, cavity_voxels
        Counted over all blocks, after filling.
    largest_radius_um
        Largest distance to a wall.
    seconds, voxels_per_second
        Of all that was done now, and of the volume's share that was computed now.
    warnings
        What looks wrong, and what to do.
    measures
        Of the whole volume, as in the summary beside the graph.
    """

    out: Path
    shape_zyx: Triplet
    blocks: int
    resumed_blocks: int
    missing_blocks: int
    elsewhere: bool = False
    redone_blocks: int = 0
    widened_blocks: int = 0
    nodes: int = 0
    edges: int = 0
    vessel_voxels: int = 0
    cavities: int = 0
    cavity_voxels: int = 0
    largest_radius_um: float = 0.0
    seconds: float = 0.0
    voxels_per_second: float = 0.0
    warnings: tuple[str, ...] = ()
    measures: Mapping[str, Any] = field(default_factory=dict)
