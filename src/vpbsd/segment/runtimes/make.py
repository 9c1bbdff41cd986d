"""A runtime from its spec."""

from __future__ import annotations

import torch
from torch import nn

from vpbsd.segment.runtimes.base import Runtime, RuntimeSpec
from vpbsd.segment.runtimes.torch_runtime import TorchRuntime

__all__ = ["make_runtime"]


def make_runtime(net: nn.Module, spec: RuntimeSpec) -> Runtime:
    """Return the runtime that a spec names, with its own copy of the net.

    Parameters
    ----------
    net
        Maps (B, C, D, H, W) to logits (B, 1, D, H, W); has ``stride`` and ``halo_voxels``.
    spec
        With torch, its number of threads is set for the whole process.

    Raises
    ------
    ConfigError
        If the net cannot be evaluated in that way.
    MissingExtraError
        If OpenVINO is asked for and not installed.
    """
    if spec.name == "openvino":
        from vpbsd.segment.runtimes.openvino_runtime import OpenVinoRuntime

        return OpenVinoRuntime(net, spec.precision, threads=spec.threads, int8_path=spec.int8_path)
    if spec.threads and torch.get_num_threads() != spec.threads:
        torch.set_num_threads(spec.threads)
    return TorchRuntime(net, spec.precision, spec.device, compiled=spec.compiled)
