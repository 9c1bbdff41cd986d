"""Batches of patches as a pure function of seed and step.

No state is kept between steps, so a run that is resumed at step n sees the patches that an
uninterrupted run sees at step n, and every rank of a distributed run draws its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vpbsd.config import SimulateConfig
from vpbsd.data.augment import augment_intensity, draw_geometry, resample, source_box
from vpbsd.data.collection import TrainingVolume
from vpbsd.data.simulate import SimulatedVolumes
from vpbsd.errors import ConfigError
from vpbsd.geometry import Box, Triplet
from vpbsd.volumes import ArrayVolume, estimate_intensity

__all__ = [
    "UNLABELLED_STREAM",
    "AlignedPatch",
    "LabelledPatch",
    "PatchSampler",
    "UnlabelledPatches",
    "aligned_box",
    "draw_aligned",
    "simulated_volume",
]

UNLABELLED_STREAM = 1
"""Before the seed: unlabelled patches draw from another stream than the labelled ones."""

_TRIES_FOR_VESSELS = 4
_PATCHES_PER_SIMULATED_VOLUME = 8


@dataclass(frozen=True)
class LabelledPatch:
    """Augmented intensities (c, z, y, x) and their label (1, z, y, x), 0 or 1, both float32."""

    image: Tensor
    label: Tensor


@dataclass(frozen=True)
class AlignedPatch:
    """Intensities (c, z, y, x) cut without interpolation, and where they come from."""

    image: Tensor
    volume: int
    box: Box


class PatchSampler:
    """Draws augmented patches from volumes on disk and from simulated ones.

    Parameters
    ----------
    volumes
        Volumes to draw from, each as often as the others.
    simulate
        What simulated volumes look like.
    simulated_share
        Share of the patches that are simulated.
    patch
        Patch shape (z, y, x) in voxels.
    seed
        Patches with another seed are independent.

    Raises
    ------
    ConfigError
        If there is neither a volume nor a simulated share.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        simulate: SimulateConfig,
        *,
        simulated_share: float,
        patch: Triplet,
        seed: int,
    ) -> None:
        if not volumes and simulated_share < 1:
            raise ConfigError(
                "there is no volume to draw patches from: list volumes under data, or set "
                "simulated_share to 1"
            )
        self._volumes, self._share, self._patch, self.seed = volumes, simulated_share, patch, seed
        self._simulated = SimulatedVolumes(simulate, seed=seed)
        self._opened = lru_cache(maxsize=2)(self._open_simulated)

    def patch(self, number: int) -> LabelledPatch:
        """Return patch ``number``; the same number always gives the same patch."""
        rng = np.random.default_rng((self.seed, number))
        if rng.random() < self._share:
            volume = self._opened(number // _PATCHES_PER_SIMULATED_VOLUME)
        else:
            volume = self._volumes[int(rng.integers(len(self._volumes)))]
        patch = self._cut(volume, rng)
        for _ in range(_TRIES_FOR_VESSELS - 1):
            if volume.label is None or patch.label.any():
                break
            patch = self._cut(volume, rng)
        return LabelledPatch(augment_intensity(patch.image, rng), patch.label)

    def batch(self, step: int, size: int, rank: int = 0, ranks: int = 1) -> LabelledPatch:
        """Return ``size`` patches stacked along a first axis, distinct for each rank."""
        first = (step * ranks + rank) * size
        patches = [self.patch(first + i) for i in range(size)]
        return LabelledPatch(
            torch.stack([p.image for p in patches]), torch.stack([p.label for p in patches])
        )

    def _cut(self, volume: TrainingVolume, rng: np.random.Generator) -> LabelledPatch:
        geometry = draw_geometry(rng, volume.shape, self._patch)
        box = source_box(geometry, volume.shape)
        image = resample(volume.intensities(box), box, geometry)
        truth = volume.truth(box)[None].astype(np.float32)
        return LabelledPatch(image, (resample(truth, box, geometry) > 0.5).float())

    def _open_simulated(self, index: int) -> TrainingVolume:
        return _as_training_volume(self._simulated, index, labelled=True)


class UnlabelledPatches:
    """Patches of images without labels, as they are and augmented, by seed and number.

    Parameters
    ----------
    volumes
        Each is drawn as often as the others.
    patch
        Patch shape (z, y, x) in voxels.
    seed
        Patches with another seed are independent.
    """

    def __init__(self, volumes: Sequence[TrainingVolume], patch: Triplet, seed: int) -> None:
        self._volumes, self._patch, self._seed = volumes, patch, seed

    def patch(self, number: int) -> dict[str, Tensor]:
        """Return ``plain`` and ``unlabelled`` (c, z, y, x), two looks at the same voxels."""
        rng = np.random.default_rng((UNLABELLED_STREAM, self._seed, number))
        volume = self._volumes[int(rng.integers(len(self._volumes)))]
        geometry = draw_geometry(rng, volume.shape, self._patch)
        box = source_box(geometry, volume.shape)
        plain = resample(volume.intensities(box), box, geometry)
        return {"plain": plain, "unlabelled": augment_intensity(plain, rng)}

    def batch(self, step: int, size: int, rank: int = 0, ranks: int = 1) -> dict[str, Tensor]:
        """Return ``size`` patches stacked along a first axis, distinct for each rank."""
        first = (step * ranks + rank) * size
        patches = [self.patch(first + i) for i in range(size)]
        return {key: torch.stack([p[key] for p in patches]) for key in ("plain", "unlabelled")}


def simulated_volume(
    config: SimulateConfig, seed: int, index: int, *, labelled: bool = True
) -> TrainingVolume:
    """Return simulated volume ``index`` of ``seed``, with or without its truth."""
    return _as_training_volume(SimulatedVolumes(config, seed=seed), index, labelled=labelled)


def _as_training_volume(volumes: SimulatedVolumes, index: int, *, labelled: bool) -> TrainingVolume:
    made = volumes.volume(index)
    name = f"simulated_{index}"
    image = ArrayVolume(made.image, voxel_size_um=made.voxel_size_um, source=name)
    label = ArrayVolume(made.mask, voxel_size_um=made.voxel_size_um, source=f"{name} label")
    scale = estimate_intensity(image)
    return TrainingVolume(name, image, scale, label if labelled else None)


def aligned_box(rng: np.random.Generator, volume: Triplet, patch: Triplet, stride: Triplet) -> Box:
    """Draw a box that starts at a multiple of ``stride`` and lies in the padded volume.

    The volume is padded at its high end to whole strides, and to at least one patch.
    """
    start = []
    for n, p, s in zip(volume, patch, stride, strict=True):
        last = max(0, -(-n // s) * s - p)
        start.append(int(rng.integers(last // s + 1)) * s)
    return Box.at(start, patch)


def draw_aligned(
    volumes: Sequence[TrainingVolume],
    rng: np.random.Generator,
    patch: Triplet,
    stride: Triplet,
) -> AlignedPatch:
    """Cut a patch on the grid of ``stride`` with varied intensities but untouched geometry.

    What the teacher said about these voxels, computed once for the whole volume, holds for the
    patch voxel by voxel; under a rotation it would not.
    """
    number = int(rng.integers(len(volumes)))
    volume = volumes[number]
    box = aligned_box(rng, volume.shape, patch, stride)
    inside = volume.intensities(box.clip(volume.shape))
    beyond = [b - min(b, n) for b, n in zip(box.stop, volume.shape, strict=True)]
    padded = np.pad(inside, [(0, 0), *((0, n) for n in beyond)], mode="symmetric")
    image = augment_intensity(torch.from_numpy(padded), rng)
    return AlignedPatch(image, number, box)
