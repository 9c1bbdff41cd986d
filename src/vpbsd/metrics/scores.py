"""All scores of a mask at once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from vpbsd.geometry import VoxelSize
from vpbsd.metrics.calibre import CAPILLARY_RADIUS_UM, CalibreScores, require_radius
from vpbsd.metrics.centreline import CentrelineDice
from vpbsd.metrics.distances import DistanceCounts
from vpbsd.metrics.masks import mask_pair
from vpbsd.metrics.tally import Rules, Tally, tally
from vpbsd.metrics.topology import BettiErrors, betti_errors
from vpbsd.metrics.view import View

__all__ = ["Scores", "score", "scores_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of one prediction: shares from 0 to 1, distances in µm, errors as counts."""

    dice: float
    precision: float
    recall: float
    cldice: float
    topology_precision: float
    topology_sensitivity: float
    centreline_precision_2_voxels: float
    """Share of the predicted centreline within 2 voxels of the true one."""

    centreline_recall_2_voxels: float
    """Share of the true centreline within 2 voxels of the predicted one."""

    capillary_precision: float | None
    capillary_recall: float | None
    large_vessel_precision: float | None
    large_vessel_recall: float | None
    """The two halves of clDice by calibre; None where a mask holds no such vessel."""

    surface_dice_1_voxel: float
    surface_dice_2_voxels: float
    hd95_um: float | None
    """95th percentile of the surface distances; None when it is infinite or not known."""

    assd_um: float | None
    """Average symmetric surface distance; None when it is infinite or not known."""

    betti_0_error: int | None
    betti_1_error: int | None
    betti_2_error: int | None
    """Pieces, loops and cavities too many or too few in all; None when not counted."""

    euler_error: int
    """Absolute difference of the Euler characteristics of the whole volume."""

    betti_0_error_per_block: float
    betti_1_error_per_block: float
    betti_2_error_per_block: float
    euler_error_per_block: float
    """Means of the errors over sub-blocks with edges of 64 voxels."""

    foreground_prediction: float
    """Share of the volume that the prediction marks."""

    foreground_truth: float
    """Share of the volume that the truth marks."""

    note: str | None = None
    """Which mask is empty, if one is, how the scores are then defined, and why others are None."""

    def to_dict(self) -> dict[str, float | str | None]:
        """Return the scores by name, fit for JSON."""
        return dataclasses.asdict(self)


def score(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    voxel_size_um: VoxelSize,
    *,
    capillary_radius_um: float = CAPILLARY_RADIUS_UM,
) -> Scores:
    """Score a predicted mask against the true one.

    Parameters
    ----------
    prediction, truth
        Masks (z, y, x) of one shape.
    voxel_size_um
        Used for ``hd95_um`` and ``assd_um`` and to tell capillaries from larger vessels; what
        names voxels is measured on the grid of indices.
    capillary_radius_um
        Vessels of a smaller radius are capillaries.

    Raises
    ------
    DataError
        If the arrays are not masks of one shape.
    ConfigError
        If the radius is not a positive length.
    """
    predicted, true = mask_pair(prediction, truth)
    rules = Rules(
        voxel_size_um=voxel_size_um, capillary_radius_um=require_radius(capillary_radius_um)
    )
    counts = tally(View.whole(predicted, true), rules)
    return scores_of(counts, betti_errors(predicted, true))


def scores_of(counts: Tally, betti: BettiErrors | None = None, note: str | None = None) -> Scores:
    """Return the scores of a volume from its counts.

    Parameters
    ----------
    counts
        Of all its blocks.
    betti
        Of the whole volume, if it was counted.
    note
        What else there is to say about the scores.
    """
    lines = CentrelineDice(counts.lines.precision, counts.lines.recall)
    calibre = CalibreScores.of(counts.lines, counts.capillaries)
    voxels = max(1, counts.voxels)
    predicted = counts.overlap.true_positive + counts.overlap.false_positive
    true = counts.overlap.true_positive + counts.overlap.false_negative
    notes = [text for text in (_note_on_empty(predicted, true), note) if text]
    return Scores(
        dice=counts.overlap.dice,
        precision=counts.overlap.precision,
        recall=counts.overlap.recall,
        cldice=lines.cldice,
        topology_precision=lines.topology_precision,
        topology_sensitivity=lines.topology_sensitivity,
        centreline_precision_2_voxels=counts.lines_near.precision,
        centreline_recall_2_voxels=counts.lines_near.recall,
        **dataclasses.asdict(calibre),
        surface_dice_1_voxel=counts.surfaces_1_voxel.dice,
        surface_dice_2_voxels=counts.surfaces_2_voxels.dice,
        hd95_um=_hausdorff(counts),
        assd_um=_mean_distance(counts),
        betti_0_error=None if betti is None else betti.betti_0,
        betti_1_error=None if betti is None else betti.betti_1,
        betti_2_error=None if betti is None else betti.betti_2,
        euler_error=abs(counts.euler_prediction - counts.euler_truth),
        betti_0_error_per_block=counts.betti.betti_0,
        betti_1_error_per_block=counts.betti.betti_1,
        betti_2_error_per_block=counts.betti.betti_2,
        euler_error_per_block=counts.betti.euler,
        foreground_prediction=predicted / voxels,
        foreground_truth=true / voxels,
        note="; ".join(notes) or None,
    )


def _hausdorff(counts: Tally) -> float | None:
    """Return the larger 95th percentile; 0 if both surfaces are empty, None if one is."""
    forth, back = counts.prediction_to_truth_um, counts.truth_to_prediction_um
    if not forth.total and not back.total:
        return 0.0
    there, back_again = forth.percentile(95), back.percentile(95)
    return None if there is None or back_again is None else max(there, back_again)


def _mean_distance(counts: Tally) -> float | None:
    """Return the mean over both surfaces; 0 if both are empty, None if one is."""
    both: DistanceCounts = counts.prediction_to_truth_um + counts.truth_to_prediction_um
    if not both.total:
        return 0.0
    return None if both.beyond else both.sum_within / both.total


def _note_on_empty(predicted: int, true: int) -> str | None:
    """Say how scores are defined where a mask has no voxel."""
    if not predicted and not true:
        return "prediction and truth are both empty: they agree, so scores are 1, distances 0"
    if predicted and true:
        return None
    empty = "truth" if predicted else "prediction"
    return f"the {empty} is empty: scores are 0 and distances infinite, given as null"
