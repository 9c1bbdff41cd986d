"""How training went: losses, validation, and how the codebook was used, one run after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpbsd.config import load_config
from vpbsd.report.curves import Curve, numbers_over_steps, stage_panels
from vpbsd.report.page.numbers import in_plot, number, percent
from vpbsd.report.page.page import Facts, Finding, Heading, Item, Picture, Plot, Section, Text, Tile
from vpbsd.report.page.sources import STAGES
from vpbsd.report.page.warnings import stage_warnings
from vpbsd.stages.loop import read_metrics

__all__ = ["Patterns", "patterns_section", "training_section", "training_tiles"]

_CODEBOOK = ("perplexity", "perplexity_share", "dead_code_share")
_SCORES = ("score", "dice", "cldice", "precision", "recall")
_MARKERS_BELOW = 12  # a single validation is a point: without a marker it would not show


@dataclass(frozen=True, slots=True)
class Patterns:
    """The look of a codebook's vessel patterns, or the reason why there is none.

    Attributes
    ----------
    png
        The figure; None where it could not be made.
    note
        Where it is from, or why it is missing.
    """

    png: bytes | None
    note: str


Records = Sequence[Mapping[str, Any]]


def training_section(
    runs: Sequence[Path], names: Mapping[Path, str]
) -> tuple[Section | None, list[Finding]]:
    """Return curves of every stage of every run, and what looks wrong in them.

    Raises
    ------
    ConfigError
        If the configuration of a run is not one.
    """
    items: list[Item] = []
    found: list[Finding] = []
    for run in runs:
        config = load_config(run / "config.yaml")
        for stage in STAGES:
            log = run / stage / "metrics.jsonl"
            if not log.is_file():
                continue
            records = read_metrics(log)
            steps = int(getattr(config, stage).steps)
            found += stage_warnings(stage, records, steps, f"run {names[run]},")
            items.append(Heading(f"Run {names[run]}: {stage}"))
            items += _stage(records, steps)
    return (Section("training", "Training", items) if items else None), found


def training_tiles(runs: Sequence[Path], names: Mapping[Path, str]) -> list[Tile]:
    """Return the validation scores of each run's last stage with a log, and its perplexity."""
    tiles: list[Tile] = []
    for run in runs:
        best: Tile | None = None
        for stage in STAGES:
            log = run / stage / "metrics.jsonl"
            records = read_metrics(log) if log.is_file() else []
            scored = [r for r in records if r["kind"] == "validation" and "cldice" in r]
            if scored:
                top = max(scored, key=lambda r: float(r["score"]))
                best = Tile("clDice on validation", number(top["cldice"]), note=names[run])
        if best is not None:
            tiles.append(best)
    return tiles


def patterns_section(
    patterns: Mapping[Path, Patterns], names: Mapping[Path, str]
) -> Section | None:
    """Return what the codes most used for vessels look like."""
    items: list[Item] = []
    for run, look in patterns.items():
        if look.png is None:
            items.append(Text(f"{names[run]}: {look.note}"))
            continue
        alt = (
            f"Codes of {names[run]} most used for vessels: bars of how much each is used, and the "
            "image patches whose encodings lie nearest to it."
        )
        items.append(Picture(look.png, alt, f"{names[run]}. {look.note}"))
    return Section("patterns", "Vessel patterns of the codebook", items) if items else None


def _stage(records: Records, steps: int) -> list[Item]:
    losses, scores, rest = stage_panels(records)
    validation = {**scores, **rest}
    codes = {k: c for k, c in validation.items() if k in _CODEBOOK}
    scores = {k: c for k, c in scores.items() if k in _SCORES}
    # The score of pretraining is its reconstruction error with a minus.
    others = {k: c for k, c in validation.items() if k not in {*codes, *scores, "score"}}
    items: list[Item] = [Facts(_facts(records, steps))]
    items += _plots("Training loss", losses)
    items += _plots("Validation score", scores, within_one=True)
    items += _plots("Validation, other numbers", others)
    batch = numbers_over_steps(records, "train").get("perplexity")
    perplexity = {"of a batch": batch} if batch else {}
    if "perplexity" in codes:
        perplexity["of the validation volumes"] = codes["perplexity"]
    items += _plots("Codebook: perplexity", perplexity, unit="codes")
    shares = {
        "perplexity / size": codes.get("perplexity_share"),
        "dead codes": codes.get("dead_code_share"),
    }
    known = {name: curve for name, curve in shares.items() if curve is not None}
    items += _plots("Codebook: share of its codes", known, within_one=True)
    return items


def _facts(records: Records, steps: int) -> list[tuple[str, str]]:
    last = max((int(r["step"]) for r in records), default=0)
    rows = [("Steps", f"{last} of {steps}")]
    validated = [r for r in records if r["kind"] == "validation"]
    if validated:
        best = max(validated, key=lambda r: float(r["score"]))
        rows.append(("Best validation score", f"{number(best['score'])} at step {best['step']}"))
        for name, label in (("dice", "Dice there"), ("cldice", "clDice there")):
            if name in best:
                rows.append((label, number(best[name])))
        if "threshold" in best:
            rows.append(("Threshold there", number(best["threshold"])))
        if "perplexity" in validated[-1]:
            final = validated[-1]
            rows.append(("Perplexity at the end", f"{number(final['perplexity'])} codes"))
            rows.append(("Dead codes at the end", f"{percent(final['dead_code_share'])} %"))
    return rows


def _plots(
    title: str, curves: Mapping[str, Curve], *, unit: str = "", within_one: bool = False
) -> list[Plot]:
    if not curves:
        return []
    traces = [
        {
            "type": "scatter",
            "name": in_plot(name),
            "x": steps,
            "y": values,
            "mode": "lines+markers" if len(steps) < _MARKERS_BELOW else "lines",
        }
        for name, (steps, values) in curves.items()
    ]
    y: dict[str, Any] = {"title": {"text": unit}} if unit else {}
    if within_one:
        y["range"] = [0, 1.02]
    layout = {
        "title": {"text": title, "x": 0, "xref": "paper", "font": {"size": 14}},
        "xaxis": {"title": {"text": "step"}, "rangemode": "tozero"},
        "yaxis": y,
        "showlegend": True,
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        "margin": {"l": 48, "r": 12, "t": 40, "b": 74},
    }
    ends = ", ".join(f"{name} ends at {number(c[1][-1])}" for name, c in curves.items())
    return [Plot(traces, layout, f"{title} over training steps: {ends}.")]
