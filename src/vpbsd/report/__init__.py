"""Figures of what was found and of how training went."""

from __future__ import annotations

from vpbsd.report.curves import training_curves
from vpbsd.report.figures import COLOURS, comparison_map, overview_figure

__all__ = ["COLOURS", "comparison_map", "overview_figure", "training_curves"]
