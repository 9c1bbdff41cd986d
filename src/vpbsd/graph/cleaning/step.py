"""What one step of cleaning did to a graph, as numbers for the summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CleaningStep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningStep:
    """One step of cleaning: what it was told, what it took and what it added.

    Attributes
    ----------
    step
        Its name: ``duplicates``, ``spurs``, ``gaps``, ``components`` or ``chains``.
    settings
        What it was told, units in the names.
    edges_removed, nodes_removed, length_removed_um
        Vessels, and branch points and ends, that are gone; a node that merely lies within a vessel
        now counts as dissolved.
    edges_added, length_added_um
        Bridges across gaps.
    nodes_dissolved
        Nodes where exactly two edge ends met, which were joined to one edge.
    rounds
        How often the step was repeated until nothing changed.
    details
        One entry for each change that a reader may want to check on its own.
    """

    step: str
    settings: Mapping[str, float | int | bool | None] = field(default_factory=dict)
    edges_removed: int = 0
    nodes_removed: int = 0
    length_removed_um: float = 0.0
    edges_added: int = 0
    length_added_um: float = 0.0
    nodes_dissolved: int = 0
    rounds: int = 1
    details: tuple[Mapping[str, Any], ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the step changed the graph at all."""
        return bool(
            self.edges_removed or self.nodes_removed or self.edges_added or self.nodes_dissolved
        )

    def as_json(self) -> dict[str, Any]:
        """Return the step as values that JSON can hold."""
        return {
            "step": self.step,
            "settings": dict(self.settings),
            "edges_removed": self.edges_removed,
            "nodes_removed": self.nodes_removed,
            "length_removed_um": self.length_removed_um,
            "edges_added": self.edges_added,
            "length_added_um": self.length_added_um,
            "nodes_dissolved": self.nodes_dissolved,
            "rounds": self.rounds,
            "details": [dict(d) for d in self.details],
        }
