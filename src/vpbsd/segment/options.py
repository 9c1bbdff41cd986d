"""What a segmentation is told, and what it reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import nn

from vpbsd.errors import ConfigError
from vpbsd.geometry import Triplet
from vpbsd.segment.predict import MEMORY_BYTES

__all__ = ["SegmentModel", "SegmentOptions", "SegmentReport"]


class SegmentModel(Protocol):
    """What segmentation needs of a loaded model."""

    @property
    def net(self) -> nn.Module:
        """Maps (B, C, D, H, W) to logits (B, 1, D, H, W); has ``stride`` and ``halo_voxels``."""
        ...

    @property
    def kind(self) -> str:
        """``student`` or ``teacher``."""
        ...

    @property
    def threshold(self) -> float:
        """Probability from which a voxel is vessel, fixed on validation volumes."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identity of the weights."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOptions:
    """Choices of one segmentation; the defaults are right for most volumes.

    Attributes
    ----------
    threshold
        Probability from which a voxel is vessel; None = the model's own.
    probability
        Write the probabilities beside the mask.
    invert
        Vessels are darker than the tissue.
    channels
        Which channels to use, counted from 0; None = all.
    block_voxels
        Edges (z, y, x) of the blocks; None = as large as ``memory_bytes`` allows.
    memory_bytes
        Memory for one block, beside the program itself.
    precision, device
        ``auto`` = the fastest that the machine has.
    overwrite
        Replace outputs that exist, once the new ones are complete.
    progress
        Show a progress bar, if stderr is a terminal.
    command
        The command line to note as provenance.
    """

    threshold: float | None = None
    probability: bool = False
    invert: bool = False
    channels: tuple[int, ...] | None = None
    block_voxels: Triplet | None = None
    memory_bytes: int = MEMORY_BYTES
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    overwrite: bool = False
    progress: bool = True
    command: str = "vpbsd.segment.segment_volume"

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ConfigError(
                f"the threshold is a probability between 0 and 1, got {self.threshold}"
            )
        if self.memory_bytes < 1:
            raise ConfigError(f"memory_bytes must be positive, got {self.memory_bytes}")


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """What a segmentation did.

    Attributes
    ----------
    mask, probability
        Where the outputs are.
    shape_zyx
        In voxels.
    blocks, overhead
        Number of blocks, and voxels read over voxels of the volume.
    foreground_share
        Share of voxels that are vessel.
    threshold, precision
        As used.
    seconds, voxels_per_second
        Of the blocks, without the intensity estimate and the pyramid.
    warning
        Set where the mask is all background or all vessel.
    """

    mask: Path
    probability: Path | None
    shape_zyx: Triplet
    blocks: int
    overhead: float
    foreground_share: float
    threshold: float
    precision: str
    seconds: float
    voxels_per_second: float
    warning: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        values = asdict(self)
        values["mask"] = str(self.mask)
        values["probability"] = None if self.probability is None else str(self.probability)
        values["shape_zyx"] = list(self.shape_zyx)
        return values
