"""Training curves: what the loop wrote down, one row of panels per stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpbsd.errors import DataError
from vpbsd.report.figures import save_figure
from vpbsd.stages.loop import read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Curve", "numbers_over_steps", "stage_panels", "training_curves"]

Curve = tuple[list[int], list[float]]

# Perplexity counts codes: on the axis of the losses it would flatten them.
_NOT_LOSSES = frozenset({"learning_rate", "gradient_norm", "perplexity", "step_seconds"})
_NOT_SCORES = frozenset({"seconds", "threshold"})
_PANEL_INCHES = (4.4, 3.0)


def training_curves(logs: Mapping[str, Path], path: Path) -> None:
    """Draw losses, validation scores and other validation numbers over the training step.

    Parameters
    ----------
    logs
        Name of each stage and its ``metrics.jsonl``.
    path
        Where to write the figure; the suffix decides the format.

    Raises
    ------
    DataError
        If no log is given, or one is empty.
    OutputError
        If the figure cannot be written.
    """
    from matplotlib.figure import Figure

    if not logs:
        raise DataError("no training log was given; name at least one metrics.jsonl")
    titles = ("training loss", "validation score", "other validation numbers")
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * len(titles), height * len(logs) + 0.3), layout="constrained")
    rows = figure.subplots(len(logs), len(titles), squeeze=False)
    for row, (name, file) in zip(rows, logs.items(), strict=True):
        records = read_metrics(file)
        if not records:
            raise DataError(f"{file} is empty: the stage has not logged a step yet; train longer")
        panels = stage_panels(records)
        row[0].set_ylabel(name, fontweight="bold")
        for axes, curves in zip(row, panels, strict=True):
            _draw(axes, curves)
    for axes, title in zip(rows[0], titles, strict=True):
        axes.set_title(title)
    for axes in rows[-1]:
        axes.set_xlabel("step")
    save_figure(figure, path)


def stage_panels(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Curve]]:
    """Split records into losses, scores (which stay within 0 and 1) and the rest."""
    losses = numbers_over_steps(records, "train", leave_out=_NOT_LOSSES)
    validation = numbers_over_steps(records, "validation", leave_out=_NOT_SCORES)
    scores = {k: c for k, c in validation.items() if all(0 <= v <= 1 for v in c[1])}
    rest = {k: c for k, c in validation.items() if k not in scores}
    return [losses, scores, rest]


def numbers_over_steps(
    records: Sequence[Mapping[str, Any]], kind: str, *, leave_out: frozenset[str] = frozenset()
) -> dict[str, Curve]:
    """Return step and value of every number; per-volume scores (``volume.dice``) are left out."""
    curves: dict[str, Curve] = {}
    for record in records:
        if record["kind"] != kind:
            continue
        for key, value in record.items():
            if key in leave_out or key in ("step", "kind") or "." in key:
                continue
            if isinstance(value, int | float) and math.isfinite(value):
                steps, values = curves.setdefault(key, ([], []))
                steps.append(int(record["step"]))
                values.append(float(value))
    return curves


def _draw(axes: Axes, curves: Mapping[str, Curve]) -> None:
    if not curves:
        axes.set_axis_off()
        return
    for name, (steps, values) in curves.items():
        # A single validation is a point: without a marker it would not show.
        axes.plot(steps, values, label=name, marker="o" if len(steps) < 12 else None, markersize=4)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
