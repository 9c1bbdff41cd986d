"""What a segmentation is told, and what it reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import nn

from vpbsd.blockwise import Part, Workers
from vpbsd.errors import ConfigError
from vpbsd.geometry import Triplet
from vpbsd.segment.planning import MEMORY_BYTES
from vpbsd.volumes import Location

__all__ = ["PrecisionSetting", "RuntimeSetting", "SegmentModel", "SegmentOptions", "SegmentReport"]

PrecisionSetting = Literal["auto", "fp32", "bf16", "int8"]
RuntimeSetting = Literal["auto", "torch", "openvino"]


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
    skip_empty
        Leave out what holds no tissue; see :mod:`vpbsd.segment.tissue`.
    block_voxels
        Edges (z, y, x) of the blocks; None = as large as ``memory_bytes`` allows.
    memory_bytes
        Memory for the blocks of all workers together, beside the programs themselves.
    precision, runtime, device
        ``auto`` = measured on a block of this volume, and the fastest taken; for small volumes,
        what is known to be fast on such a processor.
    workers
        Where the work is done.
    part
        Which share of the blocks to do; None = all.
    work
        Folder for what a run needs to go on; None = beside the output.
    ngff
        Version of OME-Zarr to write; 0.4 is for older tools, and has no shards.
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
    skip_empty: bool = True
    block_voxels: Triplet | None = None
    memory_bytes: int = MEMORY_BYTES
    precision: PrecisionSetting = "auto"
    runtime: RuntimeSetting = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Workers = field(default_factory=Workers)
    part: Part | None = None
    work: Path | None = None
    ngff: Literal["0.4", "0.5"] = "0.5"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentReport:
    """What a segmentation did.

    Attributes
    ----------
    mask, probability
        Where the outputs are, or will be once no block is missing.
    shape_zyx
        In voxels.
    blocks, resumed_blocks, missing_blocks
        Blocks computed now, finished by earlier runs, and left to other parts.
    overhead
        Voxels read over voxels of the volume.
    foreground_share
        Share of voxels that are vessel, of the blocks finished so far; None where another part
        has completed the outputs meanwhile.
    threshold, precision, runtime
        As used.
    seconds, voxels_per_second
        Of the blocks computed now, without the intensity estimate and the pyramid.
    io_share
        Share of reading and writing in the workers' time.
    warning
        Set where the mask is all background or all vessel.
    """

    mask: Location
    probability: Location | None
    shape_zyx: Triplet
    blocks: int
    resumed_blocks: int
    missing_blocks: int
    overhead: float
    foreground_share: float | None
    threshold: float
    precision: str
    runtime: str
    seconds: float
    voxels_per_second: float
    io_share: float
    warning: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        values = asdict(self)
        values["mask"] = str(self.mask)
        values["probability"] = None if self.probability is None else str(self.probability)
        values["shape_zyx"] = list(self.shape_zyx)
        return values
