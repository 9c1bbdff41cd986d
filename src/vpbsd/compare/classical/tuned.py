"""Classical methods with their settings tuned on labelled volumes, then applied to any other.

::

    threshold         intensity >= t
    otsu_hysteresis   intensity >= low * Otsu, where connected to intensity >= high * Otsu
    frangi            Frangi's vesselness (1998) over several widths >= t
    sato              Sato's tube filter (1998) over several widths >= t

Settings are tried in full and chosen as a net's threshold is: by the mean over the volumes of the
harmonic mean of Dice and clDice. Images must be normalised to be compared from volume to volume,
as :meth:`vpbsd.data.collection.TrainingVolume.intensities` gives them: background about 0, vessels
bright. An oracle is the same method tuned on the very volume it is scored on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from skimage.filters import apply_hysteresis_threshold, threshold_otsu

from vpbsd.compare.classical.filters import (
    finite_volume,
    frangi_response,
    require_contrast,
    sato_response,
)
from vpbsd.errors import DataError
from vpbsd.metrics import ThresholdCurve, best_index, overlap
from vpbsd.metrics.centreline import centreline, share_inside
from vpbsd.metrics.masks import Mask, as_mask
from vpbsd.metrics.matches import harmonic_mean
from vpbsd.metrics.thresholds import criterion_value

__all__ = [
    "CLASSICAL",
    "ClassicalMethod",
    "FilterThreshold",
    "OtsuHysteresis",
    "Tuned",
    "oracle",
]

LabelledImage = tuple[NDArray[Any], NDArray[Any]]
"""A normalised image and its true mask, both (z, y, x)."""

SIGMAS_VOXELS: tuple[tuple[float, ...], ...] = (
    (1.0,),
    (1.0, 2.0),
    (1.0, 2.0, 3.0),
    (1.0, 2.0, 4.0),
    (2.0, 3.0),
)
"""Sets of widths that Frangi and Sato are tried with, in 3D and plane by plane."""

N_THRESHOLDS = 48
LOW_FACTORS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
HIGH_FACTORS = (1.0, 1.1, 1.25, 1.5, 2.0)

# Foreground shares between which thresholds are tried.
_LEAST_SHARE, _MOST_SHARE = 0.002, 0.6


class Tuned(Protocol):
    """A classical method with its settings fixed."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What was chosen, as JSON-able values."""
        ...

    def apply(self, image: NDArray[Any]) -> Mask:
        """Return the mask (z, y, x) of a normalised image (z, y, x)."""
        ...


@dataclass(frozen=True, slots=True)
class FilterThreshold:
    """Voxels where a response reaches a threshold.

    Attributes
    ----------
    filter
        ``none``, ``frangi`` or ``sato``.
    threshold
        Of the response.
    sigmas_voxels
        Widths of the filter; empty without one.
    per_plane
        Filter each (y, x) plane by itself.
    """

    filter: str
    threshold: float
    sigmas_voxels: tuple[float, ...] = ()
    per_plane: bool = False

    @property
    def settings(self) -> Mapping[str, Any]:
        """Widths, planes and threshold."""
        chosen: dict[str, Any] = {"threshold": self.threshold}
        if self.sigmas_voxels:
            chosen |= {"sigmas_voxels": list(self.sigmas_voxels), "per_plane": self.per_plane}
        return chosen

    def apply(self, image: NDArray[Any]) -> Mask:
        """Return the mask (z, y, x) of a normalised image (z, y, x)."""
        response = _response(image, self.filter, self.sigmas_voxels, self.per_plane)
        return np.asarray(response >= np.float32(self.threshold), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class OtsuHysteresis:
    """Voxels above a low threshold that hang together with some above a high one.

    Both are multiples of the Otsu threshold of the image at hand, above the darkest voxel.
    """

    low_factor: float
    high_factor: float

    @property
    def settings(self) -> Mapping[str, Any]:
        """The two factors."""
        return {"low_factor": self.low_factor, "high_factor": self.high_factor}

    def apply(self, image: NDArray[Any]) -> Mask:
        """Return the mask (z, y, x) of a normalised image (z, y, x)."""
        values = finite_volume(image).astype(np.float32)
        require_contrast(values)
        darkest = float(values.min())
        step = float(threshold_otsu(values)) - darkest
        low, high = (darkest + factor * step for factor in (self.low_factor, self.high_factor))
        return np.asarray(apply_hysteresis_threshold(values, low, high), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class ClassicalMethod:
    """A classical method that can be tuned.

    Attributes
    ----------
    name
        In recipes, tables and folders.
    what
        One line: the idea and its source.
    fit
        Chooses the settings that are best for labelled images.
    tried
        How many settings that takes.
    """

    name: str
    what: str
    fit: Callable[[Sequence[LabelledImage]], Tuned]
    tried: int


def oracle(method: ClassicalMethod, image: NDArray[Any], truth: NDArray[Any]) -> Tuned:
    """Tune a method on the volume it will be scored on: the best that any tuning can reach."""
    return method.fit([(image, truth)])


def _fit_threshold(volumes: Sequence[LabelledImage]) -> FilterThreshold:
    return _best_threshold(volumes, [("none", (), False)])


def _fit_frangi(volumes: Sequence[LabelledImage]) -> FilterThreshold:
    return _best_threshold(volumes, [("frangi", *widths) for widths in _widths()])


def _fit_sato(volumes: Sequence[LabelledImage]) -> FilterThreshold:
    return _best_threshold(volumes, [("sato", *widths) for widths in _widths()])


def _widths() -> Iterator[tuple[tuple[float, ...], bool]]:
    yield from product(SIGMAS_VOXELS, (False, True))


def _best_threshold(
    volumes: Sequence[LabelledImage], filters: Sequence[tuple[str, tuple[float, ...], bool]]
) -> FilterThreshold:
    _require_volumes(volumes)
    best: tuple[float, FilterThreshold] | None = None
    shares = np.geomspace(_LEAST_SHARE, _MOST_SHARE, N_THRESHOLDS)
    for name, sigmas, per_plane in filters:
        responses = [_response(image, name, sigmas, per_plane) for image, _ in volumes]
        # Levels suit all volumes together, so that each may lie where one of them needs it.
        every = np.concatenate([response.ravel() for response in responses])
        levels = [float(level) for level in np.unique(np.quantile(every, 1 - shares))]
        curves = [
            ThresholdCurve(response, truth, levels)
            for response, (_, truth) in zip(responses, volumes, strict=True)
        ]
        index = best_index(curves)
        value = float(
            np.mean([criterion_value(c.dice(index), c.cldice(index), "harmonic") for c in curves])
        )
        if best is None or value > best[0]:
            best = value, FilterThreshold(name, levels[index], sigmas, per_plane)
    assert best is not None
    return best[1]


def _fit_otsu_hysteresis(volumes: Sequence[LabelledImage]) -> OtsuHysteresis:
    _require_volumes(volumes)
    truths = [as_mask(truth, "truth") for _, truth in volumes]
    lines = [centreline(truth) for truth in truths]

    def value(candidate: OtsuHysteresis) -> float:
        return float(
            np.mean(
                [
                    _harmonic(candidate.apply(image), truth, line)
                    for (image, _), truth, line in zip(volumes, truths, lines, strict=True)
                ]
            )
        )

    candidates = [OtsuHysteresis(a, b) for a, b in product(LOW_FACTORS, HIGH_FACTORS)]
    return max(candidates, key=value)


def _harmonic(mask: Mask, truth: Mask, line: Mask) -> float:
    precision, sensitivity = share_inside(centreline(mask), truth), share_inside(line, mask)
    return harmonic_mean(overlap(mask, truth).dice, harmonic_mean(precision, sensitivity))


def _response(
    image: NDArray[Any], name: str, sigmas: tuple[float, ...], per_plane: bool
) -> NDArray[np.float32]:
    values = finite_volume(image).astype(np.float32)
    require_contrast(values)
    if name == "frangi":
        return frangi_response(values, per_plane=per_plane, sigmas_voxels=sigmas)
    if name == "sato":
        return sato_response(values, per_plane=per_plane, sigmas_voxels=sigmas)
    return values


def _require_volumes(volumes: Sequence[LabelledImage]) -> None:
    if not volumes:
        raise DataError(
            "a classical method is tuned on labelled volumes, and there is none: list some under "
            "data.labelled"
        )
    for image, truth in volumes:
        if image.shape != truth.shape:
            raise DataError(
                f"an image to tune on and its label have different shapes, {image.shape} and "
                f"{truth.shape} (z, y, x): they are probably not of the same volume"
            )


_FILTER_SETTINGS = 2 * len(SIGMAS_VOXELS) * N_THRESHOLDS

_METHODS = (
    ClassicalMethod("threshold", "one threshold on the intensity", _fit_threshold, N_THRESHOLDS),
    ClassicalMethod(
        "otsu_hysteresis",
        "hysteresis about Otsu's threshold (1979)",
        _fit_otsu_hysteresis,
        len(LOW_FACTORS) * len(HIGH_FACTORS),
    ),
    ClassicalMethod(
        "frangi", "multi-scale vesselness (Frangi et al. 1998)", _fit_frangi, _FILTER_SETTINGS
    ),
    ClassicalMethod("sato", "multi-scale tubes (Sato et al. 1998)", _fit_sato, _FILTER_SETTINGS),
)

CLASSICAL: dict[str, ClassicalMethod] = {method.name: method for method in _METHODS}
