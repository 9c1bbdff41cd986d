"""How numbers, columns and arrays are shown: units from their names, digits that mean something."""

from __future__ import annotations

import base64
import html
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.report.page.page import Column

__all__ = ["MISSING", "column_of", "in_plot", "number", "packed", "percent", "shown", "size_text"]

MISSING = "–"

# Longest first: ``length_density_mm_per_mm3`` ends in ``_mm3`` too.
_UNITS = (
    ("_mm_per_mm3", "mm/mm³"),
    ("_per_mm3", "1/mm³"),
    ("_um3", "µm³"),
    ("_um2", "µm²"),
    ("_mm3", "mm³"),
    ("_mm2", "mm²"),
    ("_um", "µm"),
    ("_mm", "mm"),
    ("_m", "m"),
    ("_voxels", "voxels"),
    ("_seconds", "s"),
    ("_bytes", "bytes"),
)
_SHARES = ("_share", "_fraction")
_LABELS = {
    "name": "Region",
    "region": "Label",
    "nodes": "Nodes",
    "edges": "Vessel segments",
    "vessel_volume_fraction": "Vessel volume",
    "capillary_length_share": "Capillaries, by length",
    "extravascular_distance_beyond_share": "Tissue far from vessels",
    "radius_mean_um": "Mean radius",
    "radius_p10_um": "Radius, 10th percentile",
    "radius_p50_um": "Median radius",
    "radius_p90_um": "Radius, 90th percentile",
    "extravascular_distance_mean_um": "Mean distance to a vessel",
    "extravascular_distance_p50_um": "Median distance to a vessel",
    "extravascular_distance_p95_um": "Distance to a vessel, 95th percentile",
    "branch_points_per_mm3": "Branch points",
    "length_density_mm_per_mm3": "Length density",
    "volume_mm3": "Volume",
    "vessel_voxels": "Volume of vessels",
    "length_mm": "Length of vessels",
}


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits, no exponent, and spaces at thousands."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    whole = math.floor(math.log10(abs(value))) + 1
    places = max(0, digits - whole)
    if places > 8:
        return f"{value:.{digits - 1}e}"
    text = f"{value:,.{places}f}".replace(",", "\u202f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: float | None, digits: int = 3) -> str:
    """Return a share from 0 to 1 in percent, without the sign."""
    return number(None if value is None else 100 * value, digits)


def column_of(name: str) -> Column:
    """Return label and unit of a column whose name ends in its unit, as in ``radius_mean_um``."""
    stem, unit = name, ""
    for suffix, sign in _UNITS:
        if name.endswith(suffix):
            stem, unit = name.removesuffix(suffix), sign
            break
    if name.endswith(_SHARES):
        unit = "%"
        stem = name.removesuffix("_share")
    label = _LABELS.get(name) or stem.replace("_", " ").capitalize()
    return Column(label, unit)


def shown(name: str, value: Any) -> str:
    """Return a cell of the column ``name`` as text: shares in percent, texts as they are."""
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        # Labels are names, not amounts.
        return str(value) if name == "region" else f"{value:,}".replace(",", "\u202f")
    return percent(value) if name.endswith(_SHARES) else number(float(value), 4)


def size_text(size_bytes: int) -> str:
    """Return a size on disk in MB."""
    return f"{size_bytes / 1e6:.1f} MB"


def in_plot(text: str) -> str:
    """Return text that plotly shows as it is: it reads a few tags in what it is given."""
    return html.escape(text, quote=False)


def packed(array: NDArray[Any]) -> dict[str, str]:
    """Return an array as plotly reads it from base64, float32: a third of the size of text."""
    values = np.ascontiguousarray(array, "<f4")
    return {"dtype": "f4", "bdata": base64.b64encode(values.tobytes()).decode("ascii")}
