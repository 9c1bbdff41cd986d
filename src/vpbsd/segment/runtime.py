"""Runtimes: how a net is evaluated on one block.

A runtime takes normalised intensities of one block and returns foreground probabilities; what it
reads beyond a voxel (``halo_voxels``) and under which shifts it repeats itself (``stride``) it
takes from the net. :class:`TorchRuntime` is the one that always works.
"""

from __future__ import annotations

import copy
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import Triplet, as_triplet
from vpbsd.machine import Device, Precision
from vpbsd.segment.one_algorithm import one_algorithm

__all__ = ["Runtime", "TorchRuntime", "sigmoid"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

# One layer's input and output are alive together, and beside them the skip connections and what
# the convolution library lays out anew; measured peaks stay below twice the largest layer.
_LIVE_LAYERS = 2.0


class Runtime(Protocol):
    """What the segmentation of a block needs to know about a net, and to ask of it."""

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
        """Memory that :meth:`predict` needs per voxel of a block, its input included."""
        ...

    def predict(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities (z, y, x) of normalised intensities (c, z, y, x)."""
        ...


class TorchRuntime:
    """Evaluate a net with torch.

    Holds its own copy of the net as it is now: in evaluation mode, batch normalisation folded
    into the convolutions where the net knows how to (``fold()``), channels last. Training the
    original on changes nothing here.

    Parameters
    ----------
    net
        Maps (B, C, D, H, W) to logits (B, 1, D, H, W); has ``stride`` and ``halo_voxels``.
    precision
        ``bf16`` converts weights and activations; probabilities are float32 in either case.
    device
        Where to compute.

    Raises
    ------
    ConfigError
        If the net does not declare its stride and halo, or the precision is unknown.
    """

    def __init__(
        self, net: nn.Module, precision: Precision = "fp32", device: Device = "cpu"
    ) -> None:
        if precision not in _DTYPES:
            raise ConfigError(f"precision must be one of {sorted(_DTYPES)}, got {precision!r}")
        for needed in ("stride", "halo_voxels"):
            if not hasattr(net, needed):
                raise ConfigError(
                    f"{type(net).__name__} does not declare '{needed}' and cannot segment block "
                    "by block; give the net that attribute (voxels along z, y, x)"
                )
        self.precision: Precision = precision
        self.device: Device = device
        self.stride: Triplet = as_triplet(cast(Any, net).stride)
        self.halo_voxels: Triplet = as_triplet(cast(Any, net).halo_voxels)
        self.channels: int = _input_channels(net)
        own = copy.deepcopy(net).eval()
        folded = cast(Any, own).fold() if hasattr(own, "fold") else own
        self._dtype = _DTYPES[precision]
        folded = folded.eval().requires_grad_(False)
        if precision == "fp32" and device == "cpu" and torch._C._has_mkldnn:
            folded = one_algorithm(folded)
        # torch's own annotations leave out `memory_format`.
        self._net: nn.Module = cast(Any, folded).to(
            device=device, dtype=self._dtype, memory_format=torch.channels_last_3d
        )
        self._bytes_per_voxel: float | None = None

    @property
    def bytes_per_voxel(self) -> float:
        """Memory that :meth:`predict` needs per voxel of a block.

        ``2 * (input + output bytes of the largest layer) / voxels + 4 * (channels + 1)``, the
        first term taken from one pass over a small block.
        """
        if self._bytes_per_voxel is None:
            self._bytes_per_voxel = self._measure_bytes_per_voxel()
        return self._bytes_per_voxel

    def predict(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return foreground probabilities of one block.

        Parameters
        ----------
        block
            Normalised intensities (c, z, y, x), float32; edges are multiples of ``stride``.

        Returns
        -------
        ndarray
            Probabilities (z, y, x), float32.

        Raises
        ------
        DataError
            If the number of channels or an edge does not fit the net.
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
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(block)).unsqueeze(0)
            batch = batch.to(
                device=self.device, dtype=self._dtype, memory_format=torch.channels_last_3d
            )
            logits: torch.Tensor = self._net(batch)
            # float32, because the sigmoid of a bf16 logit would round twice.
            inside = logits[0, 0].to(device="cpu", dtype=torch.float32)
        return sigmoid(inside.contiguous().numpy())

    def _measure_bytes_per_voxel(self) -> float:
        edges = [s * max(1, -(-32 // s)) for s in self.stride]
        block = np.zeros((self.channels, *edges), np.float32)
        largest = 0

        def note(_module: nn.Module, inputs: Any, output: Any) -> None:
            nonlocal largest
            tensors = [*inputs, output]
            held = sum(t.nbytes for t in tensors if isinstance(t, torch.Tensor))
            largest = max(largest, held)

        leaves = [m for m in self._net.modules() if not list(m.children())]
        hooks = [leaf.register_forward_hook(note) for leaf in leaves]
        try:
            self.predict(block)
        finally:
            for hook in hooks:
                hook.remove()
        voxels = float(np.prod(edges))
        return _LIVE_LAYERS * largest / voxels + 4.0 * (self.channels + 1)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``1 / (1 + exp(-x))``, the same for a value wherever it stands in an array.

    torch's own rounds the last few values of an array differently from the others, which would
    show where a volume was cut.
    """
    result = np.negative(logits)
    with np.errstate(over="ignore"):  # exp(89) is infinite in float32, and 1 / inf is right
        np.exp(result, out=result)
    result += 1
    return np.reciprocal(result, out=result)


def _input_channels(net: nn.Module) -> int:
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            return module.in_channels
    raise ConfigError(f"{type(net).__name__} has no 3D convolution to take an image in")
