"""A simulated brain of any size, computed where it is read.

    light = illumination · (specimen + region)      in the tissue
    light = VOID                                    outside it and in the ventricles

with a soft outline between them, and the light of the great vessels on top. The specimen is one
simulated volume, mirrored on and on; ``outline``, ``trunks`` and ``grain`` (the noise) are laws of
the absolute position. All of it is computed in cells counted from voxel 0, by operations on single
voxels, so that a voxel has the same value in whatever box it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.data.simulate.grain import RUN_VOXELS, Grain
from vpbsd.data.simulate.microscope import Microscope
from vpbsd.data.simulate.outline import SOFT_VOXELS, Outline, relative
from vpbsd.data.simulate.specimen import Specimen, SpecimenKey, load_specimen
from vpbsd.data.simulate.trunks import Trunks, grow_trunks
from vpbsd.data.simulate.warp import STRETCH_VOXELS, Warp
from vpbsd.errors import ConfigError
from vpbsd.geometry import Box, Triplet, VoxelSize, as_triplet, tile
from vpbsd.volumes.volume import Volume

__all__ = ["BrainShares", "BrainTruth", "BrainVolume"]

Floats = NDArray[np.float32]

# Working arrays of a cell stay in the processor's cache.
_CELL = (16, 64, RUN_VOXELS)

_VOID = 0.3  # the camera's offset, in units of the tissue's brightness
_DEPTH_LOSS = 0.35  # logarithm of what is lost from the first plane to the last
_MIDDLE_LOSS = 0.12  # of what is lost from either side, where the sheets enter, to the middle
_REGION = 0.07
_REGION_WAVES = ((1.1, 1.7, 1.3), (2.3, 0.9, 2.1), (1.6, 2.9, 3.1))  # along z, y and each side
_STRIPE = 0.03
_STRIPE_VOXELS = (6, 3)  # along z and y
_SHADOWS, _SHADOW = 0.012, 0.1  # share of the stripes that lie behind something, and what it takes


@dataclass(frozen=True)
class BrainShares:
    """What a brain is made of.

    Attributes
    ----------
    void
        Share of the volume that is not tissue.
    vessel
        Share of the tissue that is vessel.
    """

    void: float
    vessel: float


class BrainVolume(Volume):
    """The image of a simulated brain, uint16, one channel.

    Reading costs what the box holds, at some 10 to 30 ns a voxel; the first read makes the
    specimen (some 1 µs for each of its voxels), or maps it from ``cache_dir``.

    Parameters
    ----------
    shape
        (z, y, x) in voxels, each at least 32: dorsal to ventral, rostral to caudal, side to side.
    seed
        Any non-negative integer; another seed is another brain.
    voxel_size_um
        (z, y, x) in micrometres.
    specimen_seed
        Kind of tissue and instrument, as ``simulate.specimen_seed`` of a recipe: a model trained
        on that recipe's volumes knows this brain's look.
    specimen_voxels
        Edge of the specimen; repeats lie twice as far apart.
    cache_dir
        Folder that keeps the specimen, for other processes and later runs.

    Raises
    ------
    ConfigError
        If the shape or the specimen is too small, or a seed is negative.
    DataError
        On the first read, if the kept specimen is damaged.
    OutputError
        On the first read, if the specimen cannot be kept.
    """

    _reads_new = True

    def __init__(
        self,
        shape: Sequence[int],
        seed: int = 0,
        *,
        voxel_size_um: Sequence[float] = (2.0, 2.0, 2.0),
        specimen_seed: int = 2,
        specimen_voxels: int = 320,
        cache_dir: Path | str | None = None,
    ) -> None:
        size, voxels = VoxelSize.of(voxel_size_um), as_triplet(shape)
        if min(voxels) < 32 or specimen_voxels < 32:
            raise ConfigError(
                f"a simulated brain of {voxels} voxels with a specimen of {specimen_voxels} is too "
                "small to hold vessels; every edge must be at least 32 voxels"
            )
        if min(seed, specimen_seed) < 0:
            raise ConfigError(f"seeds must be 0 or above, got {seed} and {specimen_seed}")
        name = "x".join(str(n) for n in voxels)
        super().__init__(f"simulated brain {name}, seed {seed}", (1, *voxels), np.uint16, size)
        key = SpecimenKey(seed, specimen_seed, specimen_voxels, size.zyx_um)
        self._scene = _Scene(key, voxels, None if cache_dir is None else Path(cache_dir))

    @property
    def truth(self) -> BrainTruth:
        """The vessels, as a volume of the same shape."""
        return BrainTruth(self.source, self._scene)

    @property
    def microscope(self) -> Microscope:
        """The instrument."""
        return self._scene.key.microscope

    def shares(self, cells: int = 48) -> BrainShares:
        """Estimate the shares of void and vessels from a sample of boxes.

        Parameters
        ----------
        cells
            How many boxes of at most 32 voxels an edge to look at for vessels.
        """
        return self._scene.shares(cells)

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[np.uint16]:
        out = np.empty((len(channels), *box.shape), np.uint16)
        for cell, part in _cells(box, self.shape_zyx):
            out[(slice(None), *part.relative_to(box).slices)] = self._scene.image(cell, part)
        return out


class BrainTruth(Volume):
    """The vessels of a :class:`BrainVolume`, uint8: 1 where a voxel's centre lies in one.

    Made by :attr:`BrainVolume.truth`.
    """

    _reads_new = True

    def __init__(self, source: str, scene: _Scene) -> None:
        super().__init__(f"truth of {source}", (1, *scene.shape), np.uint8, scene.voxel_size)
        self._scene = scene

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray[np.uint8]:
        out = np.empty((len(channels), *box.shape), np.uint8)
        for cell, part in _cells(box, self.shape_zyx):
            out[(slice(None), *part.relative_to(box).slices)] = self._scene.mask(cell, part)
        return out


def _cells(box: Box, shape: Triplet) -> Iterator[tuple[Box, Box]]:
    """Yield each cell that a box touches, clipped to the volume, and the box's part of it."""
    start = as_triplet([a - a % n for a, n in zip(box.start, _CELL, strict=True)])
    for corner in tile([b - a for a, b in zip(start, box.stop, strict=True)], _CELL):
        cell = Box.at(corner.shift(start).start, _CELL).clip(shape)
        yield cell, cell.intersect(box)


@dataclass(frozen=True, eq=False)
class _Camera:
    """Counts from light: a photon's noise grows with the light, the reading's does not.

    As the detector of ``imaging``, but with a gain that does not depend on what is in view.
    """

    photons: float
    shot: float
    read: float
    gain: float

    @classmethod
    def of(cls, microscope: Microscope, specimen: Specimen) -> _Camera:
        """Return the camera whose range the specimen fills as a simulated volume would."""
        photons = (microscope.snr / microscope.contrast) ** 2
        shot = 0.5 * np.sqrt(max(1 - microscope.read_noise**2, 0.05))
        read = microscope.read_noise * np.sqrt(photons)
        bare = cls(photons, float(shot), float(read), 1.0)
        edge = specimen.key.edge_voxels
        light = specimen.codes[::2, ::3, :edge:3] * np.float32(specimen.light_step)
        rng = np.random.default_rng([specimen.key.seed, 3])
        noise = rng.standard_normal((2, *light.shape), dtype=np.float32)
        top = float(np.quantile(bare.expose(light, noise[0], noise[1]), 0.997))
        return cls(photons, float(shot), float(read), microscope.white * 65535 / top)

    def expose(self, light: Floats, shot: Floats, read: Floats) -> Floats:
        """Return counts; ``light`` is overwritten, the deviates are not."""
        light *= np.float32(self.photons)
        np.sqrt(light, out=light)
        light += shot * np.float32(self.shot)
        np.maximum(light, 0.0, out=light)
        light *= light
        light += read * np.float32(self.read)
        light *= np.float32(self.gain)
        return light


class _Scene:
    """All that image and truth share; what is large is made on first use and never pickled."""

    def __init__(self, key: SpecimenKey, shape: Triplet, cache_dir: Path | None) -> None:
        self.key = key
        self.shape = shape
        self.voxel_size = VoxelSize.of(key.voxel_size_um)
        self._cache_dir = cache_dir

    def __getstate__(self) -> dict[str, Any]:
        return {"key": self.key, "shape": self.shape, "cache_dir": self._cache_dir}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def specimen(self) -> Specimen:
        return load_specimen(self.key, self._cache_dir)

    @cached_property
    def outline(self) -> Outline:
        return Outline(self.shape)

    @cached_property
    def warp(self) -> Warp:
        return Warp(self.shape, self.key.edge_voxels, self.key.seed)

    @cached_property
    def grain(self) -> Grain:
        return Grain(self.key.seed)

    @cached_property
    def camera(self) -> _Camera:
        return _Camera.of(self.key.microscope, self.specimen)

    @cached_property
    def trunks(self) -> Trunks:
        blur_um = 1.5 * self.key.microscope.psf_yx_um
        reach_um = max(blur_um, 0.75 * max(self.key.voxel_size_um))
        return grow_trunks(self.shape, self.voxel_size, self.key.seed, reach_um)

    @cached_property
    def _along_axes(self) -> tuple[Floats, Floats]:
        """Brightness of the illumination along z and along x."""
        z, x = relative(self.shape[0]), relative(self.shape[2])
        return (
            np.exp(-0.5 * _DEPTH_LOSS * z).astype(np.float32),
            (1 - _MIDDLE_LOSS * (1 - x**2)).astype(np.float32),
        )

    @cached_property
    def _waves(self) -> list[tuple[Floats, Floats, Floats]]:
        rng = np.random.default_rng([self.key.seed, 4])
        waves = []
        for numbers in _REGION_WAVES:
            z, y, x = (
                np.cos(np.pi * k * relative(n, sides=axis == 2) + rng.uniform(0, 2 * np.pi))
                for axis, (k, n) in enumerate(zip(numbers, self.shape, strict=True))
            )
            waves.append(
                (z.astype(np.float32), y.astype(np.float32), (2 * _REGION * x).astype(np.float32))
            )
        return waves

    def image(self, cell: Box, part: Box) -> Floats:
        """Return the counts of a part of a cell, whole numbers."""
        light = self._light(part)
        trunks = self._trunk_light(cell)
        if trunks is not None:
            light += trunks[part.relative_to(cell).slices]
        counts = self.camera.expose(light, *self.grain.pair(part))
        np.rint(counts, out=counts)
        return np.clip(counts, 0, 65535, out=counts)

    def mask(self, cell: Box, part: Box) -> NDArray[np.uint8]:
        """Return the truth of a part of a cell."""
        low, high = self.outline.bounds_voxels(part)
        if high <= 0:
            mask = np.zeros(part.shape, np.uint8)
        else:
            mask = (self._codes(part) & 1).astype(np.uint8)
            if low <= 0:
                mask *= self.outline.depth_voxels(part) > 0
        distance = self.trunks.distance_um(cell)
        if distance is not None:
            mask |= distance[part.relative_to(cell).slices] < 0
        return mask

    def shares(self, cells: int) -> BrainShares:
        rng = np.random.default_rng([self.key.seed, 5])
        edges = as_triplet([min(n, 32) for n in self.shape])
        tissue = vessel = 0
        for _ in range(cells):
            box = Box.at([int(rng.integers(n - e + 1)) for n, e in zip(self.shape, edges,
                         strict=True)], edges)  # fmt: skip
            inside = self.outline.depth_voxels(box) > 0
            for cell, part in _cells(box, self.shape):
                at = part.relative_to(box).slices
                vessel += int(self.mask(cell, part)[inside[at]].sum())
            tissue += int(inside.sum())
        return BrainShares(self.outline.void_share(), vessel / max(tissue, 1))

    def _codes(self, box: Box) -> NDArray[np.uint16]:
        (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
        first, last = x0 // STRETCH_VOXELS, -(-x1 // STRETCH_VOXELS)
        runs = Box((z0, y0, first * STRETCH_VOXELS), (z1, y1, last * STRETCH_VOXELS))
        codes = self.specimen.runs(*self.warp.places(runs)).reshape(runs.shape)
        return codes[..., x0 - runs.start[2] : x1 - runs.start[2]]

    def _light(self, box: Box) -> Floats:
        low, high = self.outline.bounds_voxels(box)
        if high <= -SOFT_VOXELS / 2:
            return np.full(box.shape, _VOID, np.float32)
        light: Floats = self._codes(box).astype(np.float32)
        light *= np.float32(self.specimen.light_step)
        z, y, x = box.slices
        for wave_z, wave_y, wave_x in self._waves:
            light += (wave_z[z, None] * wave_y[y])[:, :, None] * wave_x[x]
        light *= self._lines(box)[:, :, None]
        light *= self._along_axes[1][x]
        if low < SOFT_VOXELS / 2:
            share = self.outline.depth_voxels(box)
            share *= np.float32(1 / SOFT_VOXELS)
            share += np.float32(0.5)
            np.clip(share, 0.0, 1.0, out=share)
            # Exact where the share is 0 or 1, for such voxels also lie in boxes that skip this.
            light *= share
            share -= np.float32(1.0)
            share *= np.float32(-_VOID)
            light += share
        return light

    def _lines(self, box: Box) -> Floats:
        """Return the brightness of each line (z, y) along which the light sheet runs."""
        (z0, y0, _), (z1, y1, _) = box.start, box.stop
        dz, dy = _STRIPE_VOXELS
        stripes = Box((z0 // dz, y0 // dy, 0), (-(-z1 // dz), -(-y1 // dy), 1))
        number = self.grain.plane(stripes)
        factor = 1 + _STRIPE * (2 * number - 1)
        factor[number > 1 - _SHADOWS] -= _SHADOW
        z, y = np.arange(z0, z1) // dz - z0 // dz, np.arange(y0, y1) // dy - y0 // dy
        lines: Floats = factor[z[:, None], y].astype(np.float32)
        lines *= self._along_axes[0][z0:z1, None]
        return lines

    def _trunk_light(self, cell: Box) -> Floats | None:
        distance = self.trunks.distance_um(cell)
        if distance is None:
            return None
        scope = self.key.microscope
        level = min(1.6 * scope.contrast, scope.brightest)
        distance *= np.float32(-0.5 / self.trunks.reach_um)
        distance += np.float32(0.5)
        np.clip(distance, 0.0, 1.0, out=distance)
        distance *= np.float32(level)
        return distance
