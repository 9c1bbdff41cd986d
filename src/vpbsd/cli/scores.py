"""Scores as lines of a table, with a word where there is no number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpbsd.metrics import Calibration, Scores

__all__ = ["score_lines"]


def score_lines(scores: Scores, calibration: Calibration | None) -> Iterator[tuple[str, str]]:
    """Yield names and values of all scores, the note last."""
    one_is_empty = not (scores.foreground_prediction and scores.foreground_truth)
    for name, value in scores.to_dict().items():
        if name == "note":
            continue
        if isinstance(value, float):
            yield name, f"{value:.4f}"
        elif value is not None:
            yield name, str(value)
        elif name.startswith("betti"):
            yield name, "not counted"
        elif name.endswith("_um"):
            yield name, "infinite" if one_is_empty else "not known"
        else:
            yield name, "no such vessels"
    if calibration:
        yield "expected_calibration_error", f"{calibration.expected_calibration_error:.4f}"
        yield "brier", f"{calibration.brier:.4f}"
        for point in calibration.curve():
            if point.voxels:
                yield (
                    f"probability {point.low:.2f} to {point.high:.2f}",
                    f"{point.vessel_share:.4f} are vessel of {point.voxels} voxels",
                )
    if scores.note:
        yield "note", scores.note
