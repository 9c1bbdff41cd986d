"""A vessel graph for networkx, and through it as GraphML for igraph, Gephi, Cytoscape and yEd."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from vpbsd.graph.files.whole import written_whole
from vpbsd.graph.measures.edges import EdgeMeasures, measure_edges
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["to_networkx", "write_graphml"]

_EDGE_NUMBERS = (
    "length_um",
    "chord_um",
    "tortuosity",
    "radius_mean_um",
    "radius_min_um",
    "radius_max_um",
    "volume_um3",
    "surface_um2",
)


def to_networkx(
    graph: VesselGraph, measures: EdgeMeasures | None = None, *, points: bool = True
) -> Any:
    """Return the graph as a ``networkx.MultiGraph``.

    Nodes are numbered as in the tables and carry ``z_um``, ``y_um``, ``x_um``, ``radius_um`` and
    ``component``. Edges have their number as key and carry the measures by name; what is not
    defined, as the tortuosity of a ring, is left out. With ``points``, an edge also carries
    ``points_um``, an array (n, 4) of z, y, x and radius; its first row lies at the smaller end in
    the tables, ``node_a``, which the edge carries as well, as networkx does not keep directions.

    Parameters
    ----------
    graph
        What to convert; everything is in memory afterwards.
    measures
        Of this graph; computed if not given.
    points
        Give the edges their points.
    """
    import networkx as nx

    measures = measures or measure_edges(graph)
    made = nx.MultiGraph(
        voxel_size_z_um=graph.voxel_size.z_um,
        voxel_size_y_um=graph.voxel_size.y_um,
        voxel_size_x_um=graph.voxel_size.x_um,
    )
    radii, components = graph.node_radius_um.tolist(), measures.node_component.tolist()
    for node, (z, y, x) in enumerate(graph.node_position_um.tolist()):
        made.add_node(
            node, z_um=z, y_um=y, x_um=x, radius_um=radii[node], component=components[node]
        )
    columns = {name: getattr(measures, name).tolist() for name in _EDGE_NUMBERS}
    columns |= {f"direction_{a}": measures.direction[:, i].tolist() for i, a in enumerate("zyx")}
    columns["component"] = measures.component.tolist()
    for edge, (a, b) in enumerate(graph.edge_nodes.tolist()):
        known = {name: v[edge] for name, v in columns.items() if not math.isnan(v[edge])}
        if points:
            at = graph.points(edge)
            line = (graph.point_position_um[at], graph.point_radius_um[at][:, None])
            known["points_um"] = np.concatenate(line, axis=1)
        made.add_edge(a, b, key=edge, edge=edge, node_a=a, **known)
    return made


def write_graphml(graph: VesselGraph, path: Path, measures: EdgeMeasures | None = None) -> None:
    """Write nodes, edges and measures as GraphML, without the points along the edges.

    The file is put together in memory: some kilobytes for each edge.

    Parameters
    ----------
    graph
        What to write.
    path
        Named ``.graphml``; replaced if it is there.
    measures
        Of this graph; computed if not given.

    Raises
    ------
    OutputError
        If the file cannot be written; an earlier one stays as it was then.
    """
    import networkx as nx

    made = to_networkx(graph, measures, points=False)
    with written_whole(path) as partial, partial.open("wb") as file:
        nx.write_graphml_xml(made, file)
