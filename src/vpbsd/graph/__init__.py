"""From a vessel mask to its graph, measures and region tables, block by block.

::

    skeleton/    one array: any mask to its centrelines
    fragments/   every block leaves its part on disk; stitched to one graph, whatever the blocks
    cleaning/    spurs, gaps, small pieces: what is taken off or added is recorded
    measures/    length, radius, tortuosity, ... of edges and of the whole
    regions/     tables of brain regions, distance to the nearest vessel, groups of animals
    files/       Parquet, VTP, SWC, GraphML, and back

    build        all of it in a row: build_graph
    pages        arrays that grow with the graph, in files that the system may page out
    recovery     a graph against the exact network of a simulated volume

Nothing here imports torch.
"""

from __future__ import annotations

from vpbsd.graph.build import build_graph
from vpbsd.graph.cleaning.clean import CleanOptions
from vpbsd.graph.options import GraphOptions, GraphReport
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["CleanOptions", "GraphOptions", "GraphReport", "VesselGraph", "build_graph"]
