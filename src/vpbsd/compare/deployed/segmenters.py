"""What segments a volume for a comparison: a trained net, or a classical method.

All nets go through the same tiler (:func:`vpbsd.segment.predict_volume`), which evaluates the
volume block by block; halo and block are what differs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vpbsd.compare.classical.tuned import ClassicalMethod, Tuned, oracle
from vpbsd.compare.deployed.net import Deployed, load_deployed
from vpbsd.compare.external import External, Predicted
from vpbsd.compare.methods import Method
from vpbsd.data.collection import TrainingVolume
from vpbsd.errors import DataError
from vpbsd.geometry import Box, Triplet, VoxelSize, as_triplet
from vpbsd.metrics import best_threshold, probability_mask
from vpbsd.metrics.masks import Mask
from vpbsd.models import Student, Teacher, cost
from vpbsd.segment import SegmentOptions, predict_volume, segment_volume
from vpbsd.stages.run import Run
from vpbsd.stages.validation import THRESHOLDS
from vpbsd.volumes import OmeZarrWriter, OutputLayout

__all__ = ["Segmenter", "make_segmenter"]

_SHARD_VOXELS = 64
_EDGE_VOXELS = 64


class Segmenter(Protocol):
    """What an evaluation needs of a method, trained or tuned."""

    def segment(self, volume: TrainingVolume) -> Mask:
        """Return the mask (z, y, x) of a volume."""
        ...

    def write(self, volume: TrainingVolume, path: Path) -> None:
        """Write the mask of a volume as OME-Zarr; an earlier one is replaced."""
        ...

    def facts(self, volume: TrainingVolume) -> Mapping[str, Any]:
        """Return what a result line says of the method on a volume, where it has such a number."""
        ...


def make_segmenter(method: Method, run: Run) -> Segmenter:
    """Return what segments for a method: its net, loaded, or its settings, tuned.

    Raises
    ------
    CheckpointError
        If its net is missing or damaged.
    DataError
        If there is no labelled volume to tune on, or volumes have several channels.
    """
    if method.how == "external":
        return _External(method.load(), run)
    if method.how in ("classical", "oracle"):
        return _Classical(method.load(), run, of_volume=method.how == "oracle")
    return _Net(load_deployed(run, method), run)


@dataclass(frozen=True)
class _Net:
    """A trained net."""

    deployed: Deployed
    run: Run

    def segment(self, volume: TrainingVolume) -> Mask:
        probability = predict_volume(
            volume.image,
            self.deployed.predictor,
            scale=volume.scale,
            block_voxels=self.deployed.block_voxels,
        )
        return probability_mask(probability, self.deployed.threshold)

    def write(self, volume: TrainingVolume, path: Path) -> None:
        """Write the mask: that of a student as any user would."""
        if self.deployed.student is None:
            _write(self.segment(volume), volume.image.require_voxel_size(), path)
            return
        options = SegmentOptions(
            invert=volume.scale.invert,
            # The other methods compute everywhere, too.
            skip_empty=False,
            precision=self.run.precision,
            runtime="torch",
            device=self.run.device,
            overwrite=True,
            progress=False,
            command="vpbsd compare",
        )
        segment_volume(volume.image, self.deployed.student, path, options)

    def facts(self, volume: TrainingVolume) -> Mapping[str, Any]:
        counted = cost(self.deployed.net, self._counted_shape())
        return {
            "deployed": self.deployed.name,
            "threshold": self.deployed.threshold,
            "parameters": counted.parameters,
            "mac_per_voxel": counted.mac_per_voxel,
        }

    def _counted_shape(self) -> tuple[int, ...] | None:
        """Return the (c, z, y, x) that a block is read as; our own nets have a usual one."""
        if isinstance(self.deployed.net, Student | Teacher):
            return None
        predictor, block = self.deployed.predictor, self.deployed.block_voxels
        edges: Triplet = as_triplet([max(s, _EDGE_VOXELS // s * s) for s in predictor.stride])
        if block is not None:
            halo = predictor.halo_voxels
            edges = as_triplet([b + 2 * h for b, h in zip(block, halo, strict=True)])
        return (predictor.channels, *edges)


@dataclass
class _Classical:
    """A classical method, tuned on the labelled volumes or on the very volume it segments."""

    method: ClassicalMethod
    run: Run
    of_volume: bool
    _tuned: dict[str, Tuned] = field(default_factory=dict)

    def segment(self, volume: TrainingVolume) -> Mask:
        return self._tuned_for(volume).apply(_intensities(volume))

    def write(self, volume: TrainingVolume, path: Path) -> None:
        _write(self.segment(volume), volume.image.require_voxel_size(), path)

    def facts(self, volume: TrainingVolume) -> Mapping[str, Any]:
        return {"threshold": self._tuned_for(volume).settings.get("threshold")}

    def _tuned_for(self, volume: TrainingVolume) -> Tuned:
        key = volume.name if self.of_volume else ""
        if key not in self._tuned:
            self._tuned[key] = self._tune(volume)
        return self._tuned[key]

    def _tune(self, volume: TrainingVolume) -> Tuned:
        if self.of_volume:
            return oracle(self.method, _intensities(volume), _truth(volume))
        labelled = self.run.collection.labelled
        return self.method.fit([(_intensities(v), _truth(v)) for v in labelled])


@dataclass
class _External:
    """A method that predicts by a program of its own; it is cut at a threshold as all are."""

    method: External
    run: Run
    _predicted: dict[str, Predicted] = field(default_factory=dict)

    def segment(self, volume: TrainingVolume) -> Mask:
        return probability_mask(self._of(volume).probability[volume.name], self._threshold)

    def write(self, volume: TrainingVolume, path: Path) -> None:
        _write(self.segment(volume), volume.image.require_voxel_size(), path)

    def facts(self, volume: TrainingVolume) -> Mapping[str, Any]:
        predicted = self._of(volume)
        speed = math.prod(volume.shape) / predicted.seconds[volume.name]
        return {**predicted.facts, "threshold": self._threshold, "voxels_per_second": speed}

    def _of(self, volume: TrainingVolume) -> Predicted:
        key = volume.image.fingerprint()
        if key not in self._predicted:
            self._predicted[key] = self.method.predict(self.run, [volume])
        return self._predicted[key]

    @cached_property
    def _threshold(self) -> float:
        pairs = [(self._of(v).probability[v.name], _truth(v)) for v in self.run.validation]
        return best_threshold(pairs, THRESHOLDS)


def _intensities(volume: TrainingVolume) -> NDArray[np.float32]:
    values = volume.intensities(Box.whole(volume.shape))
    if len(values) > 1:
        raise DataError(
            f"volume {volume.name} has {len(values)} channels; classical methods take one: leave "
            "them out of this comparison, or compare on one channel"
        )
    one: NDArray[np.float32] = values[0]
    return one


def _truth(volume: TrainingVolume) -> Mask:
    return volume.truth(Box.whole(volume.shape))


def _write(mask: Mask, size: VoxelSize, path: Path) -> None:
    shard = as_triplet([min(n, _SHARD_VOXELS) for n in mask.shape])
    layout = OutputLayout(
        shape=as_triplet(mask.shape),
        dtype=np.uint8,
        voxel_size_um=size,
        kind="mask",
        shard=shard,
        chunk=shard,
    )
    with OmeZarrWriter.create(path, layout, attributes={"kind": "mask"}, overwrite=True) as writer:
        writer.write(Box.whole(mask.shape), mask.view(np.uint8))
