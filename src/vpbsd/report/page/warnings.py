"""What looks wrong in a run, a mask or a graph: each rule a pure function of numbers.

The limits are rules of thumb, written out once, here: they ask for a look, they do not judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpbsd.report.page.numbers import number, percent
from vpbsd.report.page.page import Finding

__all__ = [
    "GraphNumbers",
    "MaskNumbers",
    "blocks_warnings",
    "graph_warnings",
    "mask_warnings",
    "ordered",
    "stage_warnings",
]

NEARLY_FULL_SHARE = 0.5
VERY_FULL_SHARE = 0.25
"""Cortex is 1 to 3 % vessel; cleared organs with dilated vessels stay well below 25 %."""

LOW_PERPLEXITY_SHARE = 0.1
DEAD_CODE_SHARE = 0.5
STILL_FALLING_SHARE = 0.05
"""Fall of the mean loss from the third to the last quarter of a stage, relative to the third."""

FEWEST_RECORDS = 8
FREE_END_SHARE = 0.35
SPUR_SHARE = 0.15
LARGEST_COMPONENT_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class MaskNumbers:
    """A mask in numbers: its name and the share of its voxels that are vessel."""

    name: str
    foreground_share: float


@dataclass(frozen=True, slots=True)
class GraphNumbers:
    """A graph in numbers, as the rules ask for them.

    Attributes
    ----------
    name
        Of its folder.
    nodes, edges
        How many.
    branch_points
        Nodes of degree 3 or more.
    free_ends, border_ends
        Nodes of degree 1 inside the volume, and at its faces, where it cuts vessels.
    spurs
        Edges with one free end that are shorter than twice their largest radius.
    components
        Connected pieces.
    largest_component_share
        Of the length, that of the largest piece; None where there is no edge.
    length_um
        Of all edges.
    radius_mean_um, radius_max_um
        Weighted by length, and the largest; None where there is no edge.
    largest_radius_um
        What the halo of a block was planned for; None where the graph does not say.
    """

    name: str
    nodes: int
    edges: int
    branch_points: int
    free_ends: int
    border_ends: int
    spurs: int
    components: int
    largest_component_share: float | None
    length_um: float
    radius_mean_um: float | None
    radius_max_um: float | None
    largest_radius_um: float | None = None


def ordered(found: Iterable[Finding]) -> list[Finding]:
    """Return what was found, the serious first, otherwise in its order."""
    return sorted(found, key=lambda finding: finding.level != "serious")


def mask_warnings(mask: MaskNumbers) -> list[Finding]:
    """Look at how much of a volume a mask marks."""
    share = mask.foreground_share
    told = f"{percent(share)} % of the volume is vessel"
    if share == 0:
        return [
            Finding(
                "serious", "the mask is empty: 0 % of the volume is vessel",
                "Check that it is the right channel, that vessels are brighter than the tissue "
                "(else --invert), and that the voxel size is near that of the model's training "
                "data; a lower --threshold shows whether the model sees anything.",
                f"mask {mask.name}",
            )
        ]  # fmt: skip
    if share >= NEARLY_FULL_SHARE:
        return [
            Finding(
                "serious", f"the mask is nearly full: {told}, above {percent(NEARLY_FULL_SHARE)} %",
                "Background was taken for vessel, or the mask is inverted: check --invert and the "
                "threshold. In a mask from elsewhere, check that vessel and not background is "
                "above 0.",
                f"mask {mask.name}",
            )
        ]  # fmt: skip
    if share >= VERY_FULL_SHARE:
        return [
            Finding(
                "notice", f"{told}, above {percent(VERY_FULL_SHARE)} %, which few tissues reach",
                "Look at the slices: if vessels are too thick, raise the threshold; if tissue is "
                "marked, add labelled patches of that kind.",
                f"mask {mask.name}",
            )
        ]  # fmt: skip
    return []


def blocks_warnings(name: str, done: int, failed: int, *, finished: bool) -> list[Finding]:
    """Look at the blocks of an output.

    Parameters
    ----------
    name
        Of the output.
    done, failed
        Blocks that were finished, and that failed and were not finished later.
    finished
        Whether the output was completed.
    """
    if finished and not failed:
        return []
    return [
        Finding(
            "serious", f"not complete: {done} blocks are done and {failed} failed",
            "Run the same command again: it does only what is missing. The log beside the output "
            "names the block and the cause of each failure.",
            name,
        )
    ]  # fmt: skip


def stage_warnings(
    stage: str, records: Sequence[Mapping[str, Any]], steps: int, where: str = ""
) -> list[Finding]:
    """Look at the log of a stage.

    Parameters
    ----------
    stage
        Its name.
    records
        Of its ``metrics.jsonl``, in order.
    steps
        That it was to do.
    where
        Which run.
    """
    place = f"{where} {stage}".strip()
    trained = [r for r in records if r["kind"] == "train"]
    validated = [r for r in records if r["kind"] == "validation"]
    found: list[Finding] = []
    last = max((int(r["step"]) for r in records), default=0)
    if last < steps:
        found.append(
            Finding("notice", f"stopped at step {last} of {steps}",
                    "Run the same training command again: it goes on from its last checkpoint.",
                    place)
        )  # fmt: skip
    if not validated:
        found.append(
            Finding("serious", "no validation was recorded: 0 scores in the log",
                    "Without one the best step and the threshold are guesses: list volumes under "
                    f"data.validation and keep {stage}.validate_every below {stage}.steps.", place)
        )  # fmt: skip
    found += _falling(stage, trained, place)
    if validated:
        found += _codebook(validated[-1], place)
    return found


def _falling(stage: str, trained: Sequence[Mapping[str, Any]], place: str) -> list[Finding]:
    losses = [float(r["loss"]) for r in trained if "loss" in r]
    if len(losses) < FEWEST_RECORDS:
        return []
    quarter = len(losses) // 4
    before, after = np.mean(losses[-2 * quarter : -quarter]), np.mean(losses[-quarter:])
    fall = float((before - after) / abs(before)) if before else 0.0
    if fall <= STILL_FALLING_SHARE:
        return []
    return [
        Finding(
            "notice",
            f"the loss was still falling at the end: by {percent(fall)} % over the last quarter "
            f"(limit {percent(STILL_FALLING_SHARE)} %)",
            f"Train longer: raise {stage}.steps, in a new folder.", place,
        )
    ]  # fmt: skip


def _codebook(validation: Mapping[str, Any], place: str) -> list[Finding]:
    found: list[Finding] = []
    share = validation.get("perplexity_share")
    if share is not None and share < LOW_PERPLEXITY_SHARE:
        found.append(
            Finding(
                "serious",
                f"the codebook is used as if {percent(share)} % of its codes were there "
                f"(perplexity {number(validation.get('perplexity'))}, limit "
                f"{percent(LOW_PERPLEXITY_SHARE)} %)",
                "Use codebook.quantiser ema with revive_below of 1 or more, a smaller "
                "codebook.size, or a lower learning rate.", place,
            )
        )  # fmt: skip
    dead = validation.get("dead_code_share")
    if dead is not None and dead > DEAD_CODE_SHARE:
        found.append(
            Finding(
                "notice",
                f"{percent(dead)} % of the codes are dead, above {percent(DEAD_CODE_SHARE)} %",
                "A smaller codebook.size does the same work; or raise codebook.revive_below, or "
                "give more unlabelled volumes.", place,
            )
        )  # fmt: skip
    return found


def graph_warnings(graph: GraphNumbers) -> list[Finding]:
    """Look at ends, spurs, pieces and radii of a graph."""
    if graph.edges == 0:
        return [
            Finding("serious", "the graph holds no vessel: 0 edges",
                    "Look at the mask it was made of: empty, or cleaned away as a whole.",
                    graph.name)
        ]  # fmt: skip
    found: list[Finding] = []
    ends = graph.free_ends / max(1, graph.nodes)
    if ends > FREE_END_SHARE:
        found.append(
            Finding(
                "notice",
                f"{percent(ends)} % of the nodes are free ends inside the volume, above "
                f"{percent(FREE_END_SHARE)} %",
                "The network is broken up: look for gaps in the mask at dim capillaries, lower the "
                "threshold, or let small gaps be closed when the graph is made.", graph.name,
            )
        )  # fmt: skip
    spurs = graph.spurs / graph.edges
    if spurs > SPUR_SHARE:
        found.append(
            Finding(
                "notice",
                f"{percent(spurs)} % of the segments are spurs (a free end, shorter than twice the "
                f"radius), above {percent(SPUR_SHARE)} %",
                "The mask has a rough surface: prune spurs when the graph is made, or smooth the "
                "mask.", graph.name,
            )
        )  # fmt: skip
    largest = graph.largest_component_share
    if largest is not None and largest < LARGEST_COMPONENT_SHARE:
        found.append(
            Finding(
                "notice",
                f"the largest of {graph.components} connected pieces holds {percent(largest)} % of "
                f"the length, below {percent(LARGEST_COMPONENT_SHARE)} %",
                "Vessels of one tissue are connected: look for gaps in the mask, and for specks "
                "that a removal of small pieces would clear.", graph.name,
            )
        )  # fmt: skip
    limit, radius = graph.largest_radius_um, graph.radius_max_um
    if limit is not None and radius is not None and radius >= limit:
        found.append(
            Finding(
                "notice",
                f"the largest radius, {number(radius)} µm, reaches the {number(limit)} µm that the "
                "halo of a block was planned for",
                "Blocks with wider vessels are read again with more context, so that no radius is "
                "cut short; a larger limit saves that time. If no vessel is that wide, look for "
                "filled tissue in the mask.", graph.name,
            )
        )  # fmt: skip
    return found
