"""Figures of what was found, of how training went, and of how methods compare."""

from __future__ import annotations

from vpbsd.report.curves import training_curves
from vpbsd.report.figures import overview_figure
from vpbsd.report.panels import COLOURS, comparison_map

__all__ = ["COLOURS", "comparison_map", "overview_figure", "training_curves"]
