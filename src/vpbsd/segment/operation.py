"""What is done to every block: read, scale, net, threshold, write."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vpbsd.blockwise import Block, Writers
from vpbsd.errors import CollapseError
from vpbsd.machine import prepare_process, resident_bytes
from vpbsd.malloc import give_back
from vpbsd.segment.block import read_padded
from vpbsd.segment.runtimes import Runtime, RuntimeSpec, make_runtime, sigmoid
from vpbsd.segment.tissue import empty_voxels
from vpbsd.volumes import IntensityScale, Volume

__all__ = ["SegmentBlock", "Segmented"]

# What goes to a worker; the rest is its own.
_SENT = (
    *("volume", "scale", "net", "spec", "threshold", "skip_empty", "writers"),
    "kept_bytes",
)


@dataclass(frozen=True, slots=True)
class Segmented:
    """One block's result; None stands for zeros everywhere."""

    mask: NDArray[np.uint8] | None
    probability: NDArray[np.uint8] | None = None


@dataclass(slots=True)
class SegmentBlock:
    """The operation of a segmentation; can be sent to workers, which build the runtime themselves.

    Attributes
    ----------
    volume
        What to segment.
    scale
        Its intensity scale.
    net, spec
        The model and how it is evaluated.
    threshold
        Probability from which a voxel is vessel.
    skip_empty
        Do not compute blocks without tissue, and leave their mask 0.
    writers
        ``mask``, and ``probability`` if that is wanted.
    kept_bytes
        Memory that may stay with the process from block to block; above, what is free is given
        back to the system. 0 = without limit.
    """

    volume: Volume
    scale: IntensityScale
    net: nn.Module
    spec: RuntimeSpec
    threshold: float
    skip_empty: bool
    writers: Writers
    kept_bytes: int = 0
    _runtime: Runtime | None = field(default=None, repr=False)
    _bytes_before: int = field(default=0, repr=False)

    @property
    def runtime(self) -> Runtime:
        """The runtime of this process, made when it is first needed."""
        if self._runtime is None:
            if self.spec.threads:
                prepare_process(self.spec.threads)
            self._runtime = make_runtime(self.net, self.spec)
        return self._runtime

    def read(self, block: Block) -> NDArray[Any]:
        """Return the stored intensities (c, z, y, x) of the read box."""
        if not self._bytes_before:
            self._bytes_before = resident_bytes()
        return read_padded(self.volume, block.read)

    def compute(self, block: Block, data: NDArray[Any]) -> Segmented:
        """Return mask and probability of the write box.

        Raises
        ------
        CollapseError
            If the net's output is not a number.
        """
        runtime = self.runtime
        empty = None
        if self.skip_empty:
            empty = empty_voxels(data, self.scale, block, runtime.stride, runtime.halo_voxels)
        if empty is not None and empty.all():
            return Segmented(None)
        logits = runtime.logits(self.scale.apply(data), block.crop)
        _require_numbers(logits, block, self.volume.source)
        vessel = logits >= np.float32(_logit(self.threshold))
        if empty is not None:
            vessel[empty] = False
        probability = None
        if "probability" in self.writers:
            # Rounded after the threshold: the mask never depends on whether this is asked for.
            probability = np.rint(sigmoid(logits) * 255).astype(np.uint8)
            if empty is not None:
                probability[empty] = 0
        return Segmented(vessel.view(np.uint8), probability)

    def write(self, block: Block, result: Segmented) -> int:
        """Write the block; returns the number of foreground voxels."""
        if result.mask is None:
            return 0  # an output is 0 where nothing is written
        if result.probability is not None:
            self.writers["probability"].write(block.write, result.probability)
        count = int(np.count_nonzero(result.mask))
        self.writers["mask"].write(block.write, result.mask)
        if self.kept_bytes and resident_bytes() > self._bytes_before + self.kept_bytes:
            give_back()
        return count

    def __getstate__(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in _SENT)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(_SENT, state, strict=True):
            setattr(self, name, value)
        self._runtime, self._bytes_before = None, 0


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _require_numbers(logits: NDArray[np.float32], block: Block, source: str) -> None:
    # A sum is NaN or infinite if one number is; checking each takes three times as long.
    if math.isfinite(float(logits.sum(dtype=np.float64))):
        return
    raise CollapseError(
        f"the net's output is NaN or infinite at {block.write} of '{source}'; its weights have "
        "diverged or overflow in this precision: try --precision fp32, or another checkpoint"
    )
