"""From a vessel mask to its graph, measures and region tables, block by block.

::

    mask ──► block: distance, thinning, pieces ──► stitched graph ──► cleaned ──► measured
                                                                        │
                                                     region tables ◄────┴──► Parquet, VTP, SWC

Nothing here imports torch.
"""

from __future__ import annotations

from vpbsd.graph.build import build_graph
from vpbsd.graph.clean import CleanOptions
from vpbsd.graph.options import GraphOptions, GraphReport
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["CleanOptions", "GraphOptions", "GraphReport", "VesselGraph", "build_graph"]
