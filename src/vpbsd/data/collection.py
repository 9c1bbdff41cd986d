"""The volumes of a run, opened, checked and ready to be cut into patches."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vpbsd.config import DataConfig, VolumeConfig
from vpbsd.errors import DataError
from vpbsd.geometry import Box, VoxelSize
from vpbsd.volumes import ArrayVolume, IntensityScale, Volume, estimate_intensity, open_volume

__all__ = [
    "Collection",
    "TrainingVolume",
    "open_collection",
    "open_test_volumes",
    "open_training_volume",
]

logger = logging.getLogger(__name__)

# A volume up to this size is held in memory: reading patches from files would cost more time
# than the training step.
_KEEP_BELOW_BYTES = 512 * 2**20


@dataclass(frozen=True)
class TrainingVolume:
    """An image, the scale of its intensities, and its label if it has one.

    Attributes
    ----------
    name
        Names the volume in logs and results.
    image
        (c, z, y, x).
    scale
        Volume-global normalisation, estimated once.
    label
        (1, z, y, x) of the same (z, y, x) shape; above 0 is vessel.
    """

    name: str
    image: Volume
    scale: IntensityScale
    label: Volume | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) in voxels."""
        return self.image.shape_zyx

    def intensities(self, box: Box) -> NDArray[np.float32]:
        """Normalised intensities (c, z, y, x) inside ``box``."""
        return self.scale.apply(self.image.read(box))

    def truth(self, box: Box) -> NDArray[np.bool_]:
        """Label (z, y, x) inside ``box``; all background without a label."""
        if self.label is None:
            return np.zeros(box.shape, dtype=bool)
        return np.asarray(self.label.read(box)[0] > 0)


@dataclass(frozen=True)
class Collection:
    """Volumes by the part they play in training."""

    labelled: tuple[TrainingVolume, ...]
    unlabelled: tuple[TrainingVolume, ...]
    validation: tuple[TrainingVolume, ...]

    @property
    def images(self) -> tuple[TrainingVolume, ...]:
        """All volumes whose images may be learnt from: labelled and unlabelled."""
        return self.labelled + self.unlabelled

    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of every image and label, by role and file."""
        found: dict[str, str] = {}
        for role in ("labelled", "unlabelled", "validation"):
            for volume in getattr(self, role):
                key = f"{role}/{volume.name}"
                # Files of one name in different folders are told apart by their order.
                if key in found:
                    key = f"{key}#{sum(k.split('#')[0] == key for k in found) + 1}"
                found[key] = volume.image.fingerprint()
                if volume.label is not None:
                    found[f"{key}/label"] = volume.label.fingerprint()
        return found


def open_collection(config: DataConfig, channels: int = 1) -> Collection:
    """Open every volume of a run and refuse what cannot be trained on.

    Raises
    ------
    DataError
        If a file is unreadable, a label does not match its image, the number of channels differs
        from the nets', or a validation volume is a copy of a training volume.
    """

    def opened(volumes: tuple[VolumeConfig, ...]) -> tuple[TrainingVolume, ...]:
        return tuple(open_training_volume(v, config.root, channels) for v in volumes)

    collection = Collection(
        opened(config.labelled), opened(config.unlabelled), opened(config.validation)
    )
    _refuse_copies(collection.images, collection.validation, ("training", "validation"))
    return collection


def open_test_volumes(
    config: DataConfig, collection: Collection, channels: int = 1
) -> tuple[TrainingVolume, ...]:
    """Open the test volumes of a run, which training has no business with.

    Raises
    ------
    DataError
        If a file is unreadable, a label does not match its image, the number of channels differs
        from the nets', or a test volume is a copy of a training or validation volume.
    """
    volumes = tuple(open_training_volume(v, config.root, channels) for v in config.test)
    _refuse_copies(collection.images, volumes, ("training", "test"))
    _refuse_copies(collection.validation, volumes, ("validation", "test"))
    return volumes


def open_training_volume(config: VolumeConfig, root: Path, channels: int = 1) -> TrainingVolume:
    """Open one image with its label and estimate its intensity scale.

    Raises
    ------
    DataError
        If a file is unreadable, the label does not match, or channels differ from the nets'.
    """
    size = None if config.voxel_size_um is None else VoxelSize.of(config.voxel_size_um)
    image = open_volume(root / config.image, voxel_size_um=size)
    if image.channels != channels:
        raise DataError(
            f"{config.image} has {image.channels} channels, the nets take {channels}: set "
            "teacher.channels and student.channels, or choose volumes of one kind"
        )
    label = None
    if config.label is not None:
        label = open_volume(root / config.label, voxel_size_um=size)
        _check_label(image, label)
        label = _kept(label)
    scale = estimate_intensity(image, invert=config.invert)
    return TrainingVolume(config.name, _kept(image), scale, label)


def _check_label(image: Volume, label: Volume) -> None:
    if label.channels != 1:
        raise DataError(f"label {label.source} has {label.channels} channels; a label has one")
    if label.shape_zyx != image.shape_zyx:
        raise DataError(
            f"label {label.source} has shape {label.shape_zyx} (z, y, x), its image "
            f"{image.source} has {image.shape_zyx}: check that they belong together and that "
            "their axes have the same order"
        )


def _kept(volume: Volume) -> Volume:
    c, z, y, x = volume.shape
    if c * z * y * x * volume.dtype.itemsize > _KEEP_BELOW_BYTES:
        return volume
    array = volume.read(Box.whole((z, y, x)))
    kept = ArrayVolume(array, voxel_size_um=volume.voxel_size_um, source=volume.source)
    volume.close()
    return kept


def _refuse_copies(
    first: tuple[TrainingVolume, ...], second: tuple[TrainingVolume, ...], roles: tuple[str, str]
) -> None:
    if not second:
        return
    role, other = roles
    digests = {v.image.content_digest(): v.name for v in first}
    for volume in second:
        twin = digests.get(volume.image.content_digest())
        if twin is not None:
            raise DataError(
                f"{other} volume {volume.name} has the same content as {role} volume {twin}; "
                f"scores on it would mean nothing: use another volume for {other}"
            )
