"""The runtime that always works: torch, on CPU or CUDA, in fp32 or bf16."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vpbsd.errors import ConfigError
from vpbsd.geometry import Box
from vpbsd.machine import Device, RuntimePrecision
from vpbsd.models import DeployedStudent, Student
from vpbsd.segment.one_algorithm import one_algorithm
from vpbsd.segment.runtimes.base import NetShape, sigmoid

__all__ = ["TorchRuntime"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

# Other nets: one layer's input and output are alive together, and beside them the skip connections
# and what the convolution library lays out anew; measured peaks stay below twice the largest layer.
_LIVE_LAYERS = 2.0
# Blocks of several shapes leave gaps in the heap that tensors of other shapes do not fit into, and
# malloc is told to keep them (:func:`vpbsd.machine.prepare_process`); up to 1.9 was measured.
_GAPS = 2.0

# A compiled graph holds for one shape and crop: of a regular plan the inner blocks have one, and
# those at the border, which are left to eager torch, up to 26 others.
_COMPILED_KINDS = 1


class TorchRuntime:
    """Evaluate a net with torch.

    Holds its own copy of the net as it is now: in evaluation mode, batch normalisation folded
    into the convolutions where the net knows how to (``fold()``), channels last; a student as
    :class:`vpbsd.models.DeployedStudent`. Training the original on changes nothing here.

    Parameters
    ----------
    net
        Maps (B, C, D, H, W) to logits (B, 1, D, H, W); has ``stride`` and ``halo_voxels``.
    precision
        ``bf16`` converts weights and activations; logits are float32 in either case.
    device
        Where to compute.
    compiled
        Use ``torch.compile`` for the first shape of block, on CUDA.

    Raises
    ------
    ConfigError
        If the net does not declare its stride and halo, or torch does not offer the precision.
    """

    name = "torch"

    def __init__(
        self,
        net: nn.Module,
        precision: RuntimePrecision = "fp32",
        device: Device = "cpu",
        *,
        compiled: bool = False,
    ) -> None:
        if precision not in _DTYPES:
            raise ConfigError(
                f"precision must be one of {sorted(_DTYPES)} with torch, got {precision!r}"
            )
        self.precision: RuntimePrecision = precision
        self.device: Device = device
        self._shape = NetShape.of(net)
        self.stride, self.halo_voxels = self._shape.stride, self._shape.halo_voxels
        self.channels = self._shape.channels
        self._dtype = _DTYPES[precision]
        # torch's own annotations leave out `memory_format`.
        self._net: nn.Module = cast(Any, _for_inference(net, precision, device)).to(
            device=device, dtype=self._dtype, memory_format=torch.channels_last_3d
        )
        self._compiled = compiled
        self._kinds: dict[tuple[torch.Size, Box], Callable[[Tensor], Tensor]] = {}
        self._bytes_per_voxel: float | None = None

    @property
    def bytes_per_voxel(self) -> float:
        """Memory that :meth:`logits` needs per voxel of a block, input and result included.

        For a student counted from its layers; for other nets ``2 * (input + output bytes of the
        largest layer) / voxels``, measured on a small block; and float32 input and result.
        """
        if self._bytes_per_voxel is None:
            copied = self._dtype != torch.float32 or self.channels > 1
            image = (4.0 + copied * self._dtype.itemsize) * self.channels
            if isinstance(self._net, DeployedStudent):
                peak = self._net.peak_bytes_per_voxel(self._dtype.itemsize)
                self._bytes_per_voxel = _GAPS * (image + peak)
            else:
                peak = _LIVE_LAYERS * self._largest_layer_bytes_per_voxel() + 4.0
                self._bytes_per_voxel = image + peak
        return self._bytes_per_voxel

    def logits(self, block: NDArray[np.float32], crop: Box | None = None) -> NDArray[np.float32]:
        """Return logits of a part of one block; see :meth:`Runtime.logits`.

        Raises
        ------
        DataError
            If the number of channels or an edge does not fit the net, or the crop the block.
        """
        box = self._shape.crop_of(block, crop)
        # torch takes no negative strides, and warns about memory that it may not write to.
        image = np.require(block, np.float32, ["C", "W"])
        with torch.inference_mode():
            batch = torch.from_numpy(image).unsqueeze(0)
            # One channel is last as well as first: asking for it would copy.
            last = torch.channels_last_3d if self.channels > 1 else torch.preserve_format
            batch = batch.to(device=self.device, dtype=self._dtype, memory_format=last)
            result = self._forward(batch, box)[0, 0]
            # float32, because whoever takes the sigmoid of a bf16 logit would round twice.
            inside = result.to(device="cpu", dtype=torch.float32).contiguous()
        return cast(NDArray[np.float32], inside.numpy())

    def predict(self, block: NDArray[np.float32], crop: Box | None = None) -> NDArray[np.float32]:
        """Return foreground probabilities (z, y, x); see :meth:`logits`.

        Raises
        ------
        DataError
            As :meth:`logits`.
        """
        return sigmoid(self.logits(block, crop))

    def _forward(self, batch: Tensor, crop: Box) -> Tensor:
        key = (batch.shape, crop)
        if self._compiled and key not in self._kinds and len(self._kinds) < _COMPILED_KINDS:
            self._kinds[key] = torch.compile(
                functools.partial(self._eager, crop=crop), dynamic=False
            )
        if key in self._kinds:
            return self._kinds[key](batch)
        return self._eager(batch, crop)

    def _eager(self, batch: Tensor, crop: Box) -> Tensor:
        inside = getattr(self._net, "forward_inside", None)
        if inside is not None:
            return cast(Tensor, inside(batch, crop))
        whole: Tensor = self._net(batch)
        return whole[(..., *crop.slices)]

    def _largest_layer_bytes_per_voxel(self) -> float:
        edges = [s * max(1, -(-32 // s)) for s in self.stride]
        largest = 0

        def note(_module: nn.Module, inputs: Any, output: Any) -> None:
            nonlocal largest
            tensors = [*inputs, output]
            held = sum(t.nbytes for t in tensors if isinstance(t, Tensor))
            largest = max(largest, held)

        leaves = [m for m in self._net.modules() if not list(m.children())]
        hooks = [leaf.register_forward_hook(note) for leaf in leaves]
        try:
            self.logits(np.zeros((self.channels, *edges), np.float32))
        finally:
            for hook in hooks:
                hook.remove()
        return largest / float(np.prod(edges))


def _for_inference(net: nn.Module, precision: RuntimePrecision, device: Device) -> nn.Module:
    """Return a copy in evaluation mode, rearranged for the device."""
    onednn = device == "cpu" and torch._C._has_mkldnn
    if isinstance(net, Student):
        if device == "cpu":
            return DeployedStudent(net, onednn=onednn).eval()
        return net.fold().eval().requires_grad_(False)
    own = copy.deepcopy(net).eval()
    folded = cast(Any, own).fold() if hasattr(own, "fold") else own
    folded = folded.eval().requires_grad_(False)
    # bf16 goes to oneDNN by itself.
    return one_algorithm(folded) if onednn and precision == "fp32" else cast(nn.Module, folded)
