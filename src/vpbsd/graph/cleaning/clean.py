"""Clean a graph: what thinning a real mask leaves behind goes, step by step, and is recorded.

::

    duplicates ──► chains ──► spurs ──► gaps ──► components

The order is fixed. Copies come first, since they would hide free ends. Nodes of degree 2 are no
branch points and would shield spurs. Spurs go before gaps are closed, so that no bridge starts at
one. Components are judged last, with their gaps closed and spurs gone. The defaults remove nothing
that could be a vessel: no component, no isolated point, no bridge; only copies and spurs go.
"""

from __future__ import annotations

from dataclasses import dataclass

from vpbsd.graph.cleaning.chains import join_chains, remove_duplicates
from vpbsd.graph.cleaning.components import remove_small_components
from vpbsd.graph.cleaning.gaps import close_gaps
from vpbsd.graph.cleaning.spurs import prune_spurs
from vpbsd.graph.cleaning.step import CleaningStep
from vpbsd.graph.vessel_graph import VesselGraph

__all__ = ["CleanOptions", "clean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanOptions:
    """What to clean, and how far; 0 turns a step off.

    Attributes
    ----------
    spur_factor, spur_extra_um
        Dead ends shorter than ``factor · radius at the branch point + extra`` are spurs.
    gap_longest_um, gap_largest_angle_degrees
        Free ends that are no further apart and face each other within that angle are joined.
    component_shortest_um
        Components whose edges are together shorter are removed.
    isolated_points
        Remove nodes without an edge.
    """

    spur_factor: float = 1.5
    spur_extra_um: float = 0.0
    gap_longest_um: float = 0.0
    gap_largest_angle_degrees: float = 30.0
    component_shortest_um: float = 0.0
    isolated_points: bool = False


def clean(
    graph: VesselGraph, options: CleanOptions | None = None
) -> tuple[VesselGraph, list[CleaningStep]]:
    """Return the cleaned graph, and what each step did, in their order.

    Parameters
    ----------
    graph
        Left as it is.
    options
        The defaults, if not given.

    Raises
    ------
    ConfigError
        If a setting is out of its range.
    """
    options = options or CleanOptions()
    steps = []
    graph, step = remove_duplicates(graph)
    steps.append(step)
    graph, step = join_chains(graph)
    steps.append(step)
    if options.spur_factor or options.spur_extra_um:
        graph, step = prune_spurs(graph, options.spur_factor, options.spur_extra_um)
        steps.append(step)
    if options.gap_longest_um:
        graph, step = close_gaps(graph, options.gap_longest_um, options.gap_largest_angle_degrees)
        steps.append(step)
    if options.component_shortest_um or options.isolated_points:
        graph, step = remove_small_components(
            graph, options.component_shortest_um, options.isolated_points
        )
        steps.append(step)
    return graph, steps
