"""Centreline precision and recall of capillaries and of larger vessels.

A voxel of a centreline is a capillary's where the mask's radius there is below a limit; the radius
is the distance to the nearest voxel of background, in µm, each axis with its own voxel size::

    recall,    capillaries    = |{q ∈ S(T) : r_T(q) < R, q ∈ P}| / |{q ∈ S(T) : r_T(q) < R}|
    precision, capillaries    = |{p ∈ S(P) : r_P(p) < R, p ∈ T}| / |{p ∈ S(P) : r_P(p) < R}|

and for larger vessels with ``>= R``: the truth says what is a capillary where it is to be found,
the prediction where something is made up. Both are the topology sensitivity and precision of clDice
(Shit et al. 2021), each told apart by calibre. Distances are from centre to centre of voxels, so
that a radius comes out about half a voxel too large, and a vessel one voxel wide has the radius of
one voxel; beyond the border of the volume nothing is known, and it does not limit a radius.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError
from vpbsd.geometry import VoxelSize
from vpbsd.metrics.centreline import centreline, lines_inside
from vpbsd.metrics.masks import Mask, mask_pair
from vpbsd.metrics.matches import Matches

__all__ = [
    "CAPILLARY_RADIUS_UM",
    "CalibreScores",
    "calibre_scores",
    "radius_um",
    "require_radius",
]

CAPILLARY_RADIUS_UM = 5.0
"""Vessels of a smaller radius are capillaries, unless something else is said."""


@dataclass(frozen=True, slots=True)
class CalibreScores:
    """Shares from 0 to 1; None where a mask that is not empty has no vessel of that calibre."""

    capillary_precision: float | None
    capillary_recall: float | None
    large_vessel_precision: float | None
    large_vessel_recall: float | None

    @classmethod
    def of(cls, lines: Matches, capillaries: Matches) -> CalibreScores:
        """Return the scores from the counts of all centrelines and of those of capillaries."""
        # With one mask empty, or both, the scores are what they are for all vessels together.
        empty = None if lines.predicted and lines.true else lines.precision

        def share(part: int, whole: int) -> float | None:
            return part / whole if whole else empty

        large = lines - capillaries
        return cls(
            share(capillaries.predicted_matched, capillaries.predicted),
            share(capillaries.true_matched, capillaries.true),
            share(large.predicted_matched, large.predicted),
            share(large.true_matched, large.true),
        )


def calibre_scores(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    voxel_size_um: VoxelSize,
    capillary_radius_um: float = CAPILLARY_RADIUS_UM,
) -> CalibreScores:
    """Score capillaries and larger vessels apart.

    Parameters
    ----------
    prediction, truth
        Masks (z, y, x) of one shape.
    voxel_size_um
        Of both.
    capillary_radius_um
        Vessels of a smaller radius are capillaries.

    Raises
    ------
    DataError
        If the arrays are not masks of one shape.
    ConfigError
        If the radius is not a positive length.
    """
    limit = require_radius(capillary_radius_um)
    predicted, true = mask_pair(prediction, truth)
    line_predicted, line_true = centreline(predicted), centreline(true)
    thin_predicted = line_predicted & (radius_um(predicted, voxel_size_um) < limit)
    thin_true = line_true & (radius_um(true, voxel_size_um) < limit)
    return CalibreScores.of(
        lines_inside(line_predicted, line_true, predicted, true),
        lines_inside(thin_predicted, thin_true, predicted, true),
    )


def radius_um(mask: Mask, voxel_size_um: VoxelSize) -> NDArray[np.float32]:
    """Return the distance in µm of each voxel to the nearest background; infinite without any."""
    field = edt.edt(mask, anisotropy=voxel_size_um.zyx_um, black_border=False)
    return np.asarray(field, dtype=np.float32)


def require_radius(radius: float) -> float:
    """Return the radius below which a vessel is a capillary, if it is one.

    Raises
    ------
    ConfigError
        If it is not a positive length.
    """
    if not (math.isfinite(radius) and radius > 0):
        raise ConfigError(
            f"the radius of capillaries must be a positive number of µm, got {radius}; the default "
            f"is {CAPILLARY_RADIUS_UM:g}"
        )
    return radius
