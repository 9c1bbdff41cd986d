"""Vessel graphs as files that other software opens.

::

    write_graph(graph, folder)  ──► nodes.parquet, edges.parquet      read_graph(folder) ──► graph
    write_vtp(graph, path)      ──► ParaView
    write_swc(graph, path)      ──► neuron tools; a forest: loops are cut
    write_graphml(graph, path)  ──► igraph, Gephi, Cytoscape          to_networkx(graph)

Every file appears under its name complete or not at all.
"""

from __future__ import annotations

from vpbsd.graph.files.graphml import to_networkx, write_graphml
from vpbsd.graph.files.parquet import read_frame, read_graph, write_graph
from vpbsd.graph.files.swc import write_swc
from vpbsd.graph.files.vtp import write_vtp

__all__ = [
    "read_frame",
    "read_graph",
    "to_networkx",
    "write_graph",
    "write_graphml",
    "write_swc",
    "write_vtp",
]
