"""An endless list of simulated volumes: volume ``i`` depends on config, seed and ``i`` alone."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpbsd.config import SimulateConfig
from vpbsd.data.simulate.crop import crop_network
from vpbsd.data.simulate.geometry import LabelGeometry, read_label
from vpbsd.data.simulate.grow import grow_network, sample_growth
from vpbsd.data.simulate.imaging import image
from vpbsd.data.simulate.microscope import Microscope, sample_microscope
from vpbsd.data.simulate.network import VesselNetwork
from vpbsd.data.simulate.raster import Raster, rasterise
from vpbsd.geometry import VoxelSize

__all__ = ["SimulatedVolume", "SimulatedVolumes", "simulate_volume"]

_ANATOMIES_KEPT = 4
_MARGIN = 1.2  # anatomy over image, so that images of one anatomy differ in place


@dataclass(frozen=True, eq=False)
class SimulatedVolume:
    """An image with its exact truth; arrays are (z, y, x).

    Attributes
    ----------
    image
        uint8 or uint16 counts.
    mask
        uint8; 1 where the voxel's centre lies in a vessel.
    occupancy
        float32 in 0..1; share of each voxel inside a vessel.
    network
        The vessels in micrometres from the centre of voxel (0, 0, 0), cut at the faces of the
        field; None where real geometry was imaged.
    voxel_size_um
        Voxel size, after zoom.
    microscope
        The instrument.
    """

    image: NDArray[np.uint8] | NDArray[np.uint16]
    mask: NDArray[np.uint8]
    occupancy: NDArray[np.float32]
    network: VesselNetwork | None
    voxel_size_um: VoxelSize
    microscope: Microscope


class SimulatedVolumes:
    """Simulated volumes by index; the same for the same config and seed, in any order of access.

    Parameters
    ----------
    config
        Shape, voxel size, zoom and real geometry.
    seed
        Any non-negative integer.
    """

    def __init__(self, config: SimulateConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self._anatomies: OrderedDict[int, VesselNetwork] = OrderedDict()
        self._labels: dict[int, LabelGeometry] = {}

    def __getstate__(self) -> dict[str, object]:
        """Leave the caches out, so that a copy sent to a worker is small."""
        return {"config": self.config, "seed": self.seed}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Start with empty caches."""
        self.__init__(**state)  # type: ignore[misc]

    def volume(self, index: int) -> SimulatedVolume:
        """Return volume ``index`` (0, 1, 2, ...)."""
        rng = np.random.default_rng([self.seed, index, 1])
        low, high = self._zooms(index // self.config.images_per_anatomy)
        zoom = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        voxel_size = VoxelSize.of([v * zoom for v in self.config.voxel_size_um])
        network = None
        if self.config.geometry and rng.random() < self.config.geometry_share:
            which = int(rng.integers(len(self.config.geometry)))
            scale = float(np.exp(rng.uniform(np.log(0.7), np.log(1.4))))
            raster = self._label(which).crop(self.config.shape_voxels, voxel_size, rng, scale)
        else:
            network, raster = self._view(index, voxel_size, rng)
        microscope = sample_microscope(
            self._specimen(rng, index // self.config.images_per_anatomy, 0), voxel_size
        )
        counts = image(raster, microscope, voxel_size, rng)
        return SimulatedVolume(
            counts, raster.mask, raster.occupancy, network, voxel_size, microscope
        )

    def _specimen(self, rng: np.random.Generator, anatomy: int, part: int) -> np.random.Generator:
        """Return what tissue and microscope are drawn from; for one specimen always the same."""
        seed = self.config.specimen_seed
        if seed is None:
            return rng
        if isinstance(seed, tuple):
            seed = seed[anatomy % len(seed)]
        return np.random.default_rng([seed, part])

    def _zooms(self, anatomy: int) -> tuple[float, float]:
        """Range of zooms for the images of one anatomy, which is grown for the coarsest."""
        low, high = self.config.zoom
        middle = np.exp(
            np.random.default_rng([self.seed, anatomy, 2]).uniform(np.log(low), np.log(high))
        )
        return max(low, float(middle) / 1.15), min(high, float(middle) * 1.15)

    def _extent_um(self, anatomy: int) -> tuple[float, float, float]:
        coarsest = self._zooms(anatomy)[1] * _MARGIN
        z, y, x = (
            n * v * coarsest
            for n, v in zip(self.config.shape_voxels, self.config.voxel_size_um, strict=True)
        )
        return (z, max(y, x), max(y, x))  # square, so that y and x can be swapped

    def _anatomy(self, anatomy: int) -> VesselNetwork:
        if anatomy in self._anatomies:
            self._anatomies.move_to_end(anatomy)
            return self._anatomies[anatomy]
        rng = np.random.default_rng([self.seed, anatomy, 0])
        extent = self._extent_um(anatomy)
        network = grow_network(extent, rng, sample_growth(self._specimen(rng, anatomy, 1), extent))
        self._anatomies[anatomy] = network
        if len(self._anatomies) > _ANATOMIES_KEPT:
            self._anatomies.popitem(last=False)
        return network

    def _view(
        self, index: int, voxel_size: VoxelSize, rng: np.random.Generator
    ) -> tuple[VesselNetwork, Raster]:
        """Place the camera at random in the anatomy, flipped and turned."""
        anatomy = index // self.config.images_per_anatomy
        extent = np.array(self._extent_um(anatomy))
        shape, size = np.array(self.config.shape_voxels), np.array(voxel_size.zyx_um)
        flip = rng.random(3) < 0.5
        corner = rng.uniform(0, 1, 3) * (extent - shape * size) + size / 2
        shift = np.where(flip, extent, 0.0) - corner
        moved = self._anatomy(anatomy).mapped(
            np.where(flip, -1.0, 1.0), shift, swap_yx=bool(rng.random() < 0.5)
        )
        raster = rasterise(moved, self.config.shape_voxels, voxel_size)
        return crop_network(moved, -size / 2, (shape - 0.5) * size), raster

    def _label(self, which: int) -> LabelGeometry:
        if which not in self._labels:
            sizes = self.config.geometry_voxel_size_um
            self._labels[which] = read_label(
                self.config.geometry[which],
                VoxelSize.of(sizes[which]) if sizes else None,
                VoxelSize.of(self.config.voxel_size_um),
            )
        return self._labels[which]


def simulate_volume(config: SimulateConfig, seed: int, index: int = 0) -> SimulatedVolume:
    """Return one simulated volume; see :class:`SimulatedVolumes`."""
    return SimulatedVolumes(config, seed).volume(index)
