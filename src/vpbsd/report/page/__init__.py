"""One offline HTML page of a run, a mask, a graph or two groups of animals.

::

    sources ──► build ──► page     provenance, training, volumes, scores, graph, regions, warnings
                groups ──► page    animals compared

A section is a file; numbers and pictures are how values are shown in all of them.
"""

from __future__ import annotations

__all__: list[str] = []
