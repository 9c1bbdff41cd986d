"""What every runtime offers, and the value that names one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import Box, Triplet, as_triplet
from vpbsd.machine import Device, RuntimePrecision

__all__ = ["NetShape", "Predictor", "Runtime", "RuntimeName", "RuntimeSpec", "sigmoid"]

RuntimeName = Literal["torch", "openvino"]


class Predictor(Protocol):
    """What evaluates a net on one block: a :class:`Runtime`, or the teacher while it labels."""

    @property
    def stride(self) -> Triplet:
        """Edges of a block must be multiples of this (z, y, x)."""
        ...

    @property
    def halo_voxels(self) -> Triplet:
        """Voxels (z, y, x) beyond a voxel that its result depends on."""
        ...

    @property
    def channels(self) -> int:
        """Number of channels of the input."""
        ...

    @property
    def bytes_per_voxel(self) -> float:
        """Memory that a block needs per voxel, input and result included."""
        ...

    def predict(self, block: NDArray[np.float32], crop: Box | None = None) -> NDArray[np.float32]:
        """Return foreground probabilities (z, y, x) in ``crop`` of a block (c, z, y, x)."""
        ...


class Runtime(Predictor, Protocol):
    """A predictor by a library, in a precision, that also gives logits."""

    @property
    def name(self) -> str:
        """The library: ``torch`` or ``openvino``."""
        ...

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16`` or ``int8``."""
        ...

    def logits(self, block: NDArray[np.float32], crop: Box | None = None) -> NDArray[np.float32]:
        """Return logits (z, y, x) of ``crop`` of a block, or of all of it.

        Parameters
        ----------
        block
            Normalised intensities (c, z, y, x), float32; edges are multiples of ``stride``.
            Left as it is.
        crop
            In voxels of the block. The result is the same as that part of the whole.

        Raises
        ------
        DataError
            If the number of channels or an edge does not fit the net, or the crop the block.
        """
        ...


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """How to evaluate a net; can be sent to a worker.

    Attributes
    ----------
    name
        The library.
    precision
        ``int8`` needs ``int8_path``.
    device
        ``cuda`` with torch only.
    threads
        That one block is computed with; 0 = as torch is set.
    int8_path
        What :func:`vpbsd.segment.runtimes.quantise` wrote.
    compiled
        Use ``torch.compile``, on CUDA.

    Raises
    ------
    ConfigError
        If the settings contradict each other.
    """

    name: RuntimeName = "torch"
    precision: RuntimePrecision = "fp32"
    device: Device = "cpu"
    threads: int = 0
    int8_path: Path | None = None
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ConfigError(f"threads must be 0 (as torch is set) or more, got {self.threads}")
        if self.name == "openvino" and self.device != "cpu":
            raise ConfigError(
                f"the runtime openvino computes on the CPU, got device '{self.device}'; use torch "
                "there"
            )
        if (self.precision == "int8") != (self.int8_path is not None):
            raise ConfigError(
                f"int8 needs the file of a quantised net, and nothing else does; got precision "
                f"'{self.precision}' and file {self.int8_path}: quantise the net first"
            )
        if self.precision == "int8" and self.name != "openvino":
            raise ConfigError("int8 is computed by OpenVINO only; use --runtime openvino or auto")
        if self.compiled and self.device != "cuda":
            raise ConfigError("torch.compile pays on CUDA only; leave 'compiled' off elsewhere")


@dataclass(frozen=True, slots=True)
class NetShape:
    """What a net takes, and a check of blocks against it.

    Attributes
    ----------
    stride, halo_voxels, channels
        As of :class:`Runtime`.
    """

    stride: Triplet
    halo_voxels: Triplet
    channels: int

    @classmethod
    def of(cls, net: nn.Module) -> NetShape:
        """Ask a net.

        Raises
        ------
        ConfigError
            If it does not declare its stride and halo, or has no 3D convolution.
        """
        for needed in ("stride", "halo_voxels"):
            if not hasattr(net, needed):
                raise ConfigError(
                    f"{type(net).__name__} does not declare '{needed}' and cannot segment block "
                    "by block; give the net that attribute (voxels along z, y, x)"
                )
        first = next((m for m in net.modules() if isinstance(m, nn.Conv3d)), None)
        if first is None:
            raise ConfigError(
                f"{type(net).__name__} has no 3D convolution to take an image in: it is not a "
                "net that segments volumes"
            )
        declared = cast(Any, net)
        return cls(as_triplet(declared.stride), as_triplet(declared.halo_voxels), first.in_channels)

    def crop_of(self, block: NDArray[np.float32], crop: Box | None) -> Box:
        """Return the crop, the whole block if None.

        Raises
        ------
        DataError
            If the block does not fit the net, or the crop the block.
        """
        if block.ndim != 4 or block.shape[0] != self.channels:
            raise DataError(
                f"the net takes {self.channels} channel(s) as (c, z, y, x), got a block of shape "
                f"{block.shape}"
            )
        if any(n % s for n, s in zip(block.shape[1:], self.stride, strict=True)):
            raise DataError(
                f"block edges {block.shape[1:]} must be multiples of the net's stride {self.stride}"
            )
        whole = Box.whole(block.shape[1:])
        if crop is None:
            return whole
        if crop.is_empty or not whole.contains(crop):
            raise DataError(f"the crop {crop} is empty or sticks out of the block {whole}")
        return crop


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``1 / (1 + exp(-x))``, the same for a value wherever it stands in an array.

    torch's own rounds the last few values of an array differently from the others, which would
    show where a volume was cut.
    """
    result = np.empty(logits.shape, np.float32)
    # Plane by plane, because a plane stays in the cache from one step to the next.
    planes = zip(logits, result, strict=True) if logits.ndim > 1 else [(logits, result)]
    with np.errstate(over="ignore"):  # exp(89) is infinite in float32, and 1 / inf is right
        for values, out in planes:
            np.negative(values, out=out)
            np.exp(out, out=out)
            np.add(out, 1, out=out)
            np.reciprocal(out, out=out)
    return result
