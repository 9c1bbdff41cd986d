"""One intensity scale for a whole volume, so that a block never depends on how it is cut.

The scale is estimated once from a bounded sample, stored with the run, and applied voxel by
voxel::

    apply(x) = asinh((x - centre) / spread)          per channel
    apply(x) = asinh((centre - x) / spread)          where vessels are dark (invert)

Vessel stains span a 10- to 100-fold range: a trunk can be a hundred times brighter than a
capillary next to it. asinh is linear within a few spreads of the background, where the
capillaries are, and logarithmic far above, so that both stay visible to a net; it was proposed
for stars and galaxies for the same reason (Lupton, Gunn & Szalay 1999, AJ 118:1406).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError, DataError, IntensityError
from vpbsd.geometry import Box, Triplet
from vpbsd.volumes.void import find_tissue
from vpbsd.volumes.volume import Volume

__all__ = ["IntensityScale", "estimate_intensity"]

logger = logging.getLogger(__name__)

_BOX_EDGE_VOXELS = 32
_LEAST_SHARE_WITHOUT_PADDING = 0.01
# The spread is at least this share of the bright range: background that a camera's offset or a
# denoiser has flattened would otherwise blow the vessels up to infinity.
_LEAST_SPREAD_OF_RANGE = 0.02


# Integer types with so few values that each is scaled once, and the unsigned type of their bits.
_CODES: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.uint8): np.dtype(np.uint8),
    np.dtype(np.int8): np.dtype(np.uint8),
    np.dtype(np.uint16): np.dtype(np.uint16),
    np.dtype(np.int16): np.dtype(np.uint16),
}


@dataclass(frozen=True, slots=True)
class IntensityScale:
    """Background level and spread of each channel of a volume.

    Attributes
    ----------
    centre : tuple of float
        The background, in the volume's own intensities, one number a channel.
    spread : tuple of float
        The width of the background, above 0, in the same unit.
    invert : bool
        Whether vessels are darker than their surroundings.

    Raises
    ------
    ConfigError
        If the numbers do not pair up, are not finite, or a spread is not above 0.
    """

    centre: tuple[float, ...]
    spread: tuple[float, ...]
    invert: bool = False

    def __post_init__(self) -> None:
        if not self.centre or len(self.centre) != len(self.spread):
            raise ConfigError(
                "an intensity scale needs one centre and one spread a channel, got "
                f"{len(self.centre)} and {len(self.spread)}"
            )
        numbers_fit = all(math.isfinite(v) for v in (*self.centre, *self.spread))
        if not numbers_fit or min(self.spread) <= 0:
            raise ConfigError(
                "an intensity scale needs finite centres and spreads above 0, got "
                f"centre {self.centre}, spread {self.spread}"
            )

    def apply(self, block: NDArray[Any]) -> NDArray[np.float32]:
        """Scale a block; NaN stays NaN.

        Parameters
        ----------
        block : ndarray, (c, z, y, x)
            In the volume's own intensities; left unchanged.

        Returns
        -------
        ndarray of float32, (c, z, y, x)
            ``asinh((x - centre) / spread)``, its sign flipped where vessels are dark.

        Raises
        ------
        DataError
            If the block has another number of channels.
        """
        if block.ndim != 4 or block.shape[0] != len(self.centre):
            raise DataError(
                f"the intensity scale is for {len(self.centre)} channel(s), but the block "
                f"(c, z, y, x) has shape {block.shape}; estimate the scale on the same channels"
            )
        scaled = np.empty(block.shape, np.float32)
        for channel, (values, out) in enumerate(zip(block, scaled, strict=True)):
            if block.dtype in _CODES and block.dtype.isnative:
                table = _table(self, channel, block.dtype)
                codes = values.view(_CODES[block.dtype])
                # Plane by plane, because `take` makes large indices of the codes.
                for plane, to in zip(codes, out, strict=True):
                    np.take(table, plane, out=to, mode="wrap")
            else:
                _scale(self, channel, values, out)
        return scaled

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return {
            "centre": list(self.centre),
            "spread": list(self.spread),
            "invert": self.invert,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> IntensityScale:
        """Read back what :meth:`to_dict` returned.

        Raises
        ------
        ConfigError
            If a key is missing, unknown, or of another type.
        """
        if set(values) != {"centre", "spread", "invert"}:
            raise ConfigError(
                "a stored intensity scale has the keys centre, spread and invert, got "
                f"{sorted(values)}; it was written by another version: estimate it again"
            )
        try:
            centre = tuple(float(v) for v in values["centre"])
            spread = tuple(float(v) for v in values["spread"])
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"a stored intensity scale is not made of numbers: {error}"
            ) from error
        return cls(centre, spread, bool(values["invert"]))


def _scale(
    scale: IntensityScale, channel: int, values: NDArray[Any], out: NDArray[np.float32]
) -> None:
    """Write the scaled values of one channel to ``out``."""
    sign = -1.0 if scale.invert else 1.0
    np.subtract(values, np.float32(scale.centre[channel]), out=out, casting="same_kind")
    np.multiply(out, np.float32(sign / scale.spread[channel]), out=out)
    np.arcsinh(out, out=out)


@lru_cache(maxsize=16)
def _table(scale: IntensityScale, channel: int, dtype: np.dtype[Any]) -> NDArray[np.float32]:
    """Return the scaled value of each code of an integer type, in the order of its bits."""
    bits = _CODES[dtype]
    codes = np.arange(256**bits.itemsize, dtype=bits).view(dtype)
    table = np.empty(codes.shape, np.float32)
    _scale(scale, channel, codes, table)
    return table


def estimate_intensity(
    volume: Volume, *, max_voxels: int = 4_000_000, seed: int = 0, invert: bool = False
) -> IntensityScale:
    """Estimate the scale from a bounded sample of boxes spread over the volume.

    With percentiles ``p`` of the sample: ``centre = p50`` and
    ``spread = max(p50 - p10, 0.02 (p99.5 - p50))``; where vessels are dark, the same of the
    negated sample. Voxels that are exactly 0 count as padding and are left out, unless less
    than 1 % of the sample would remain. Where the boxes lie depends on the volume's shape and
    ``seed`` only, never on how the file is chunked.

    Where the sample falls into tissue and clearly darker void around it, as in a whole cleared
    brain, only what lies in the tissue counts, so that the scale is that of a crop of tissue; the
    log (INFO) tells the share of void. The rule stands in :mod:`vpbsd.volumes.void`; where it
    finds no void, nothing is left out.

    Parameters
    ----------
    volume : Volume
        All its channels are used, each by itself.
    max_voxels : int
        Upper bound of the sample, a channel. A volume that is no larger is read whole.
    seed : int
        Places the boxes within the cells of a regular grid.
    invert : bool
        Whether vessels are darker than their surroundings.

    Returns
    -------
    IntensityScale

    Raises
    ------
    IntensityError
        If the sample holds NaN or infinite values, or one value only.
    ConfigError
        If ``max_voxels`` is not positive.
    """
    if max_voxels < 1:
        raise ConfigError(f"max_voxels must be at least 1, got {max_voxels}")
    boxes = _sample_boxes(volume.shape_zyx, max_voxels, seed)
    scales = [
        _scale_of(
            [volume.read(box, (channel,))[0] for box in boxes],
            invert=invert,
            name=f"channel {channel} of '{volume.source}'",
        )
        for channel in range(volume.channels)
    ]
    return IntensityScale(
        centre=tuple(centre for centre, _ in scales),
        spread=tuple(spread for _, spread in scales),
        invert=invert,
    )


def _sample_boxes(shape: Triplet, max_voxels: int, seed: int) -> list[Box]:
    """Return the whole volume, or one box in each cell of a grid, apart from each other."""
    if math.prod(shape) <= max_voxels:
        return [Box.whole(shape)]
    limit = max(1, min(_BOX_EDGE_VOXELS, math.floor(max_voxels ** (1 / 3))))
    edge = [min(limit, n) for n in shape]
    cells = [n // e for n, e in zip(shape, edge, strict=True)]
    budget = max(1, max_voxels // math.prod(edge))
    while math.prod(cells) > budget:
        cells[cells.index(max(cells))] -= 1
    random = np.random.default_rng(seed)
    boxes = []
    for cell in product(*(range(n) for n in cells)):
        start = []
        for i, n, size, e in zip(cell, cells, shape, edge, strict=True):
            first, stop = i * size // n, (i + 1) * size // n
            start.append(int(random.integers(first, stop - e, endpoint=True)))
        boxes.append(Box.at(start, edge))
    return boxes


def _scale_of(boxes: Sequence[NDArray[Any]], *, invert: bool, name: str) -> tuple[float, float]:
    """Return centre and spread of one channel's sample, boxes (z, y, x)."""
    sample = np.concatenate([box.ravel() for box in boxes])
    if sample.dtype.kind == "f":
        bad = 1.0 - float(np.isfinite(sample).mean())
        if bad > 0:
            raise IntensityError(
                f"{bad:.2%} of the sampled voxels of {name} are NaN or infinite; "
                "replace them first, with 0 where there is no tissue"
            )
    tissue = sample[sample != 0]
    mostly_zero = tissue.size < _LEAST_SHARE_WITHOUT_PADDING * sample.size
    if mostly_zero:
        tissue = sample
    if _is_constant(tissue):
        raise IntensityError(_constant_message(sample, tissue, name))
    found = None if mostly_zero else find_tissue(boxes, invert=invert)
    if found is not None and not _is_constant(found.values):
        tissue = found.values
        logger.info(
            "%.0f %% of %s seems to be void; its intensities are scaled by those of the tissue",
            100 * found.void_share,
            name,
        )
    values = tissue.astype(np.float64)
    if invert:
        np.negative(values, out=values)
    low, middle, high = _percentiles(values, (10.0, 50.0, 99.5))
    bright_range = (high - middle) or float(values.max()) - middle
    spread = max(middle - low, _LEAST_SPREAD_OF_RANGE * bright_range)
    if spread <= 0:
        # Nine tenths are saturated at the largest value: all that varies lies below.
        spread = middle - float(values.min())
    return (-middle if invert else middle), spread


def _percentiles(values: NDArray[np.float64], percents: Sequence[float]) -> list[float]:
    return [float(v) for v in np.percentile(values, percents)]


def _is_constant(sample: NDArray[Any]) -> bool:
    return bool(sample.min() == sample.max())


def _constant_message(sample: NDArray[Any], tissue: NDArray[Any], name: str) -> str:
    value = tissue.flat[0]
    if tissue.size == sample.size:
        return (
            f"every sampled voxel of {name} is {value}: there is nothing to segment; "
            "check that the right file and channel were given"
        )
    return (
        f"every sampled voxel of {name} is either 0 or {value}: it looks like a mask, "
        "not an image; check that image and label were not swapped"
    )
