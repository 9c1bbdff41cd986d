"""Numbers of edges (length, radius, …) and of a whole graph, and histograms of them."""

from __future__ import annotations

__all__: list[str] = []
