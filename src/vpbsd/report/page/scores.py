"""Scores of masks against the truth, one column a mask."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from vpbsd.metrics import Scores
from vpbsd.report.page.numbers import number
from vpbsd.report.page.page import Column, Item, Section, Table, Text, Tile

__all__ = ["score_tiles", "scores_section"]

_LABELS = {
    "dice": ("Dice", "1"),
    "precision": ("Precision", "1"),
    "recall": ("Recall", "1"),
    "cldice": ("clDice", "1"),
    "topology_precision": ("Topology precision", "1"),
    "topology_sensitivity": ("Topology sensitivity", "1"),
    "centreline_precision_2_voxels": ("Centreline precision, 2 voxels", "1"),
    "centreline_recall_2_voxels": ("Centreline recall, 2 voxels", "1"),
    "capillary_precision": ("Capillaries: precision", "1"),
    "capillary_recall": ("Capillaries: recall", "1"),
    "large_vessel_precision": ("Larger vessels: precision", "1"),
    "large_vessel_recall": ("Larger vessels: recall", "1"),
    "surface_dice_1_voxel": ("Surface Dice, 1 voxel", "1"),
    "surface_dice_2_voxels": ("Surface Dice, 2 voxels", "1"),
    "hd95_um": ("HD95 (µm)", "0"),
    "assd_um": ("Mean surface distance (µm)", "0"),
    "betti_0_error": ("Betti-0 error (pieces)", "0"),
    "betti_1_error": ("Betti-1 error (loops)", "0"),
    "betti_2_error": ("Betti-2 error (cavities)", "0"),
    "euler_error": ("Euler error", "0"),
    "betti_0_error_per_block": ("Betti-0 error per block", "0"),
    "betti_1_error_per_block": ("Betti-1 error per block", "0"),
    "betti_2_error_per_block": ("Betti-2 error per block", "0"),
    "euler_error_per_block": ("Euler error per block", "0"),
    "foreground_prediction": ("Share marked by the mask", ""),
    "foreground_truth": ("Share marked by the truth", ""),
}


def scores_section(scores: Mapping[Path, Scores], names: Mapping[Path, str]) -> Section | None:
    """Return the table of all scores; what a score means stands in ``docs/metrics.md``."""
    if not scores:
        return None
    columns = [Column("Score", numeric=False), Column("Best is", numeric=False)]
    columns += [Column(names[path]) for path in scores]
    rows, keys = [], []
    for name, (label, best) in _LABELS.items():
        values = [_value(found, name) for found in scores.values()]
        rows.append([label, best, *(number(v, 4) for v in values)])
        keys.append([None, None, *values])
    items: list[Item] = [Table(columns, rows, "Masks against the truth, in the whole volume", keys)]
    notes = {names[path]: found.note for path, found in scores.items() if found.note}
    items += [Text(f"{name}: {note}") for name, note in notes.items()]
    return Section("scores", "Scores", items)


def score_tiles(scores: Mapping[Path, Scores], names: Mapping[Path, str]) -> list[Tile]:
    """Return Dice and clDice of the first masks."""
    tiles = []
    for path, found in list(scores.items())[:2]:
        tiles.append(Tile("Dice", number(found.dice), note=names[path]))
        tiles.append(Tile("clDice", number(found.cldice), note=names[path]))
    return tiles


def _value(found: Scores, name: str) -> float | None:
    value = getattr(found, name)
    return None if value is None or not math.isfinite(value) else float(value)
