"""One simulated specimen that fills all of space, mirrored at its faces.

Along each axis voxel ``i`` of space shows voxel ``m(i)`` of a specimen of ``n`` voxels,

    m(i) = i mod 2n                where that is below n
    m(i) = 2n - 1 - (i mod 2n)     elsewhere

so that every vessel that reaches a face goes on behind it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpbsd.data.simulate.grow import GrowSettings, grow_network, sample_growth
from vpbsd.data.simulate.imaging import light
from vpbsd.data.simulate.microscope import Microscope, sample_microscope
from vpbsd.data.simulate.raster import rasterise
from vpbsd.data.simulate.warp import STRETCH_VOXELS
from vpbsd.errors import DataError, OutputError
from vpbsd.geometry import VoxelSize

__all__ = ["Specimen", "SpecimenKey", "load_specimen"]

Codes = NDArray[np.uint16]
Places = NDArray[np.int64]

_VESSEL_SHARE_OF_CAPILLARIES = 0.028
_DEEP_RADII_UM = (12.0, 10.0, 9.0, 8.0)
# A file of another law of codes must not be read: raise this with every change of the contents.
_FORMAT = 1


@dataclass(frozen=True)
class SpecimenKey:
    """What a specimen depends on.

    Attributes
    ----------
    seed
        Which piece of tissue.
    specimen_seed
        Which kind of tissue and which instrument, as in ``SimulateConfig.specimen_seed``.
    edge_voxels
        Edge of the cube that is simulated.
    voxel_size_um
        (z, y, x).
    """

    seed: int
    specimen_seed: int
    edge_voxels: int
    voxel_size_um: tuple[float, float, float]

    @property
    def microscope(self) -> Microscope:
        """The instrument; what changes over a whole brain, or smooths noise, is left out."""
        drawn = sample_microscope(
            np.random.default_rng([self.specimen_seed, 0]), VoxelSize.of(self.voxel_size_um)
        )
        return replace(
            drawn,
            edge=1.0,
            illumination=0.0,
            tile_step=0.0,
            stripes=0.0,
            depth_loss=0.0,
            streaks=0.0,
            denoise=0.0,
            black=0.0,
            gamma=1.0,
            bits=16,
        )

    @property
    def growth(self) -> GrowSettings:
        """The vessels: those of ``specimen_seed``, with capillaries as sparse as in a brain."""
        extent_um = [self.edge_voxels * v for v in self.voxel_size_um]
        drawn = sample_growth(np.random.default_rng([self.specimen_seed, 1]), extent_um)
        # One vessel of radius r crosses an area of spacing²: the share is about pi r² / spacing².
        spacing = drawn.capillary_radius_um * math.sqrt(math.pi / _VESSEL_SHARE_OF_CAPILLARIES)
        return replace(
            drawn,
            spacing_um=spacing,
            deep_radii_um=_DEEP_RADII_UM,
            flat_radii_um=(),
            greatest_radius_um=25.0,
        )

    @property
    def digest(self) -> str:
        """A short name that differs where the specimen does."""
        text = json.dumps([_FORMAT, asdict(self), asdict(self.microscope), asdict(self.growth)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Specimen:
    """Light and truth of the specimen, on all voxels of space.

    Attributes
    ----------
    codes
        (n, n, 2n + STRETCH_VOXELS) uint16, already mirrored along x. The lowest bit is the truth;
        the whole number, times ``light_step``, is the light. That the truth adds half a step to
        the light is far below the noise.
    key
        What it was made from.
    """

    codes: Codes
    key: SpecimenKey

    @cached_property
    def light_step(self) -> float:
        """Light of one code, in units of the empty tissue's brightness."""
        return _light_step(self.key.microscope)

    @cached_property
    def _runs(self) -> Codes:
        """All runs of STRETCH_VOXELS along x, (n, n, 2n + 1, STRETCH_VOXELS); a view."""
        return np.lib.stride_tricks.sliding_window_view(self.codes, STRETCH_VOXELS, axis=2)

    def runs(self, z: Places, y: Places, x: Places) -> Codes:
        """Return (..., STRETCH_VOXELS) codes along x from each place (...) of space on."""
        edge = self.key.edge_voxels
        return self._runs[_mirror(z, edge), _mirror(y, edge), x % (2 * edge)]


def _mirror(place: Places, edge: int) -> Places:
    turned = place % (2 * edge)
    return np.minimum(turned, 2 * edge - 1 - turned)


def _light_step(microscope: Microscope) -> float:
    # Twice the brightest vessel leaves room for the glow; what is above saturates anyway.
    return (4.0 + 2.0 * microscope.brightest) / np.iinfo(np.uint16).max


_latest: dict[SpecimenKey, Specimen] = {}
_one_at_a_time = threading.Lock()


def load_specimen(key: SpecimenKey, cache_dir: Path | None) -> Specimen:
    """Return the specimen: the one in memory, the file in ``cache_dir``, or a new one.

    Making one takes some 1 µs a voxel. Processes that share ``cache_dir`` share its memory too:
    the file is mapped, not read.

    Raises
    ------
    DataError
        If the file in ``cache_dir`` is damaged.
    OutputError
        If ``cache_dir`` cannot be written.
    """
    with _one_at_a_time:
        if key not in _latest:
            codes = _make(key) if cache_dir is None else _from_disk(key, cache_dir)
            _latest.clear()  # one is 100 MB and more
            _latest[key] = Specimen(codes, key)
        return _latest[key]


def _make(key: SpecimenKey) -> Codes:
    voxel_size = VoxelSize.of(key.voxel_size_um)
    shape = (key.edge_voxels,) * 3
    rng = np.random.default_rng([key.seed, 0])
    network = grow_network([n * v for n, v in zip(shape, key.voxel_size_um, strict=True)],
                           rng, key.growth)  # fmt: skip
    raster = rasterise(network, shape, voxel_size, [v / 2 for v in key.voxel_size_um])
    bright = light(raster, key.microscope, voxel_size, rng)
    bright *= np.float32(0.5 / _light_step(key.microscope))
    np.clip(np.rint(bright, out=bright), 0, np.iinfo(np.uint16).max // 2, out=bright)
    codes = bright.astype(np.uint16)
    codes <<= 1
    codes |= raster.mask
    along = np.arange(2 * key.edge_voxels + STRETCH_VOXELS)
    return np.take(codes, _mirror(along, key.edge_voxels), axis=2)


def _from_disk(key: SpecimenKey, cache_dir: Path) -> Codes:
    path = cache_dir / f"specimen_{key.digest}.npy"
    edge = key.edge_voxels
    if not path.exists():
        _save(path, _make(key))
    try:
        codes: Codes = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise _broken(path, str(error)) from error
    if codes.shape != (edge, edge, 2 * edge + STRETCH_VOXELS) or codes.dtype != np.uint16:
        raise _broken(path, f"it holds {codes.dtype} of shape {codes.shape}")
    return codes


def _broken(path: Path, why: str) -> DataError:
    return DataError(
        f"the simulated specimen '{path}' cannot be used ({why}); it is probably damaged: delete "
        "it, and it will be made again"
    )


def _save(path: Path, codes: Codes) -> None:
    # Under a name of this process until it is whole: several workers may make it at once.
    partial = path.with_name(f".{path.stem}.{os.getpid()}.npy")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            np.save(partial, codes)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot keep the simulated specimen in {path.parent}: {error.strerror}; free "
            f"{codes.nbytes / 1e6:.0f} MB there, or name another folder"
        ) from error
