"""What was run: commands, versions, machine, inputs, and the effective configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vpbsd.report.page.page import Column, Facts, Folded, Heading, Item, Section, Table
from vpbsd.report.page.sources import STAGES, Sources
from vpbsd.volumes import read_attributes

__all__ = ["provenance_section"]

_MISSING = "–"


def provenance_section(sources: Sources, names: Mapping[Path, str]) -> Section | None:
    """Return the section, or None where nothing says how it came about.

    Parameters
    ----------
    sources
        What is reported.
    names
        What each run, mask and graph is called on the page.
    """
    records = _records(sources, names)
    items: list[Item] = []
    if records:
        items += [_steps(records), *_machines(records), *_folded(records)]
    for run in sources.runs:
        text = (run / "config.yaml").read_text(encoding="utf-8")
        items.append(Folded(f"Effective configuration of {names[run]}", text.strip()))
    return Section("provenance", "What was run", items) if items else None


def _records(sources: Sources, names: Mapping[Path, str]) -> dict[str, dict[str, Any]]:
    """Return what each step noted of itself, by its name."""
    found: dict[str, dict[str, Any]] = {}
    for run in sources.runs:
        for stage in STAGES:
            file = run / stage / "provenance.json"
            if file.is_file():
                found[f"run {names[run]}: {stage}"] = json.loads(file.read_text(encoding="utf-8"))
    for mask in sources.masks:
        if (mask.path / "zarr.json").is_file():
            about = read_attributes(mask.path)
            if "provenance" in about:
                note = {k: v for k, v in about.items() if k not in ("provenance", "job")}
                found[f"mask {names[mask.path]}"] = {**about["provenance"], "settings": note}
    for graph in sources.graphs:
        file = graph / "summary.json"
        if file.is_file():
            summary = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(summary.get("provenance"), dict):
                settings = summary.get("options") or {}
                found[f"graph {names[graph]}"] = {**summary["provenance"], "settings": settings}
    return found


def _steps(records: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = [
        Column(label, numeric=False) for label in ("Step", "When (UTC)", "vpbsd", "Seed", "Command")
    ]
    rows = [
        [
            name,
            str(record.get("time_utc", _MISSING)).removesuffix("+00:00").replace("T", " "),
            str(record.get("vpbsd", _MISSING)),
            _MISSING if record.get("seed") is None else str(record["seed"]),
            str(record.get("command", _MISSING)),
        ]
        for name, record in records.items()
    ]
    return Table(columns, rows, "Steps, in the order of the pipeline")


def _machines(records: Mapping[str, Mapping[str, Any]]) -> list[Item]:
    """Return each machine once, with the steps it did."""
    steps: dict[str, list[str]] = {}
    for name, record in records.items():
        if record.get("machine"):
            steps.setdefault(json.dumps(_machine(record)), []).append(name)
    items: list[Item] = []
    for text, names in steps.items():
        title = "Machine" if len(steps) == 1 else "Machine of " + ", ".join(names)
        items += [Heading(title), Facts([(k, v) for k, v in json.loads(text)])]
    return items


def _machine(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine: Mapping[str, Any] = record["machine"]
    rows = [("System", str(machine.get("system", _MISSING)))]
    if machine.get("cpu"):
        rows.append(("Processor", str(machine["cpu"])))
    if machine.get("cores"):
        rows.append(("Cores", str(machine["cores"])))
    if machine.get("memory_bytes"):
        rows.append(("Memory", f"{machine['memory_bytes'] / 2**30:.1f} GiB"))
    gpus = machine.get("gpus") or []
    rows.append(("GPUs", ", ".join(str(gpu) for gpu in gpus) or "none"))
    rows.append(("Python", str(record.get("python", _MISSING))))
    return rows


def _folded(records: Mapping[str, Mapping[str, Any]]) -> list[Item]:
    items: list[Item] = []
    for title, key in (
        ("Versions of libraries", "libraries"),
        ("Fingerprints of the input", "inputs"),
        ("Settings", "settings"),
    ):
        texts: dict[str, list[str]] = {}
        for name, record in records.items():
            if record.get(key):
                text = json.dumps(record[key], indent=2, ensure_ascii=False)
                texts.setdefault(text, []).append(name)
        if texts:
            parts = [f"# {', '.join(names)}\n{text}" for text, names in texts.items()]
            items.append(Folded(title, "\n\n".join(parts)))
    return items
