"""What scores are made of: counts that add up over the blocks of a volume."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpbsd.geometry import VoxelSize
from vpbsd.metrics.calibre import CAPILLARY_RADIUS_UM, radius_um
from vpbsd.metrics.centreline import centreline, lines_inside
from vpbsd.metrics.distances import DistanceCounts
from vpbsd.metrics.euler import euler_cells
from vpbsd.metrics.masks import Mask
from vpbsd.metrics.matches import Matches
from vpbsd.metrics.overlap import Overlap, overlap
from vpbsd.metrics.surface import SurfaceDistances, core_distances
from vpbsd.metrics.tolerance import within
from vpbsd.metrics.topology import (
    BETTI_BLOCK_VOXELS,
    BettiErrors,
    BlockBettiErrors,
    betti_errors_per_block,
)
from vpbsd.metrics.view import View, framed_core

__all__ = ["LINE_TOLERANCE_VOXELS", "Rules", "Tally", "tally"]

LINE_TOLERANCE_VOXELS = 2
"""How far a centreline may run from the other and still be found."""

_IN_VOXELS = VoxelSize(1, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is counted and how.

    Attributes
    ----------
    voxel_size_um
        Of both masks.
    capillary_radius_um
        Vessels of a smaller radius are capillaries.
    cutoff_um
        Surface distances beyond this are only counted as such.
    """

    voxel_size_um: VoxelSize
    capillary_radius_um: float = CAPILLARY_RADIUS_UM
    cutoff_um: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tally:
    """Counts in one block; the sum over all blocks is that of the volume."""

    voxels: int
    overlap: Overlap
    lines: Matches
    """Centrelines; a match lies inside the other mask."""

    capillaries: Matches
    """The part of ``lines`` that belongs to capillaries."""

    lines_near: Matches
    """Centrelines; a match lies within `LINE_TOLERANCE_VOXELS` of the other centreline."""

    surfaces_1_voxel: Matches
    surfaces_2_voxels: Matches
    """Surfaces; a match lies within so many voxels of the other surface."""

    prediction_to_truth_um: DistanceCounts
    truth_to_prediction_um: DistanceCounts
    euler_prediction: int
    euler_truth: int
    betti: BlockBettiErrors
    """Of sub-blocks with edges of `BETTI_BLOCK_VOXELS`."""

    widest_radius_um: float
    """Largest radius of either mask in this block; of the sum, in any block."""

    def __add__(self, other: Tally) -> Tally:
        """Pool the counts of two disjoint blocks."""
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in dataclasses.fields(self)
        }
        widest = max(self.widest_radius_um, other.widest_radius_um)
        return Tally(**{**sums, "widest_radius_um": widest})

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, fit for JSON."""
        noted = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        betti = [*dataclasses.astuple(self.betti.summed), self.betti.blocks]
        return {**{name: _noted(value) for name, value in noted.items()}, "betti": betti}

    @classmethod
    def from_dict(cls, noted: Mapping[str, Any]) -> Tally:
        """Return what `to_dict` noted."""
        matches = ("lines", "capillaries", "lines_near", "surfaces_1_voxel", "surfaces_2_voxels")
        *betti, blocks = noted["betti"]
        distances = ("prediction_to_truth_um", "truth_to_prediction_um")
        return cls(
            **{
                **noted,
                "overlap": Overlap(*noted["overlap"]),
                "betti": BlockBettiErrors(BettiErrors(*betti), blocks),
                **{name: Matches(*noted[name]) for name in matches},
                **{name: DistanceCounts.from_dict(noted[name]) for name in distances},
            }
        )


def _noted(value: Any) -> Any:
    if isinstance(value, DistanceCounts):
        return value.to_dict()
    return list(dataclasses.astuple(value)) if isinstance(value, Overlap | Matches) else value


def tally(view: View, rules: Rules) -> Tally:
    """Count what the core of a view adds to the scores of its volume."""
    predicted, true = view.core_of(view.predicted), view.core_of(view.true)
    # Sub-blocks are counted before the void is cut off: their grid is that of the volume.
    betti = betti_errors_per_block(predicted, true, BETTI_BLOCK_VOXELS)
    tight = view.tight()
    lines = _count_lines(tight, rules)
    in_voxels = core_distances(tight, _IN_VOXELS)
    in_um = _distances_um(tight, in_voxels, rules.voxel_size_um)
    return Tally(
        voxels=view.core.size_voxels,
        overlap=overlap(predicted, true),
        lines=lines.inside,
        capillaries=lines.capillaries,
        lines_near=lines.near,
        surfaces_1_voxel=in_voxels.matches(1),
        surfaces_2_voxels=in_voxels.matches(2),
        prediction_to_truth_um=DistanceCounts.of(in_um.prediction_to_truth, rules.cutoff_um),
        truth_to_prediction_um=DistanceCounts.of(in_um.truth_to_prediction, rules.cutoff_um),
        euler_prediction=euler_cells(framed_core(tight.predicted, tight.core, tight.ends)),
        euler_truth=euler_cells(framed_core(tight.true, tight.core, tight.ends)),
        betti=betti,
        widest_radius_um=lines.widest_radius_um,
    )


@dataclass(frozen=True, slots=True)
class _Lines:
    inside: Matches
    capillaries: Matches
    near: Matches
    widest_radius_um: float


def _count_lines(view: View, rules: Rules) -> _Lines:
    line_p, line_t = centreline(view.predicted), centreline(view.true)
    p, t = view.core_of(view.predicted), view.core_of(view.true)
    core_p, core_t = view.core_of(line_p), view.core_of(line_t)
    thin_p, widest_p = _thin(view, view.predicted, core_p, rules)
    thin_t, widest_t = _thin(view, view.true, core_t, rules)
    inside = lines_inside(core_p, core_t, p, t)
    near = Matches(
        predicted=inside.predicted,
        predicted_matched=within(line_p, line_t, view.core, LINE_TOLERANCE_VOXELS),
        true=inside.true,
        true_matched=within(line_t, line_p, view.core, LINE_TOLERANCE_VOXELS),
    )
    return _Lines(inside, lines_inside(thin_p, thin_t, p, t), near, max(widest_p, widest_t))


def _thin(view: View, mask: Mask, line: Mask, rules: Rules) -> tuple[Mask, float]:
    """Return the capillaries' part of a line in the core, and the mask's largest radius there."""
    radius = view.core_of(radius_um(mask, rules.voxel_size_um))
    # A mask that fills the view has no background to measure to.
    longest = max(n * um for n, um in zip(mask.shape, rules.voxel_size_um.zyx_um, strict=True))
    widest = min(float(radius.max(initial=0.0)), longest)
    return line & (radius < rules.capillary_radius_um), widest


def _distances_um(
    view: View, in_voxels: SurfaceDistances, voxel_size_um: VoxelSize
) -> SurfaceDistances:
    if voxel_size_um.anisotropy > 1:
        return core_distances(view, voxel_size_um)
    return SurfaceDistances(
        in_voxels.prediction_to_truth * np.float32(voxel_size_um.x_um),
        in_voxels.truth_to_prediction * np.float32(voxel_size_um.x_um),
    )
