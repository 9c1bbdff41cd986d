"""Former home of :mod:`vpbsd.segment.runtimes`."""

from vpbsd.segment.runtimes import Runtime, TorchRuntime, sigmoid

__all__ = ["Runtime", "TorchRuntime", "sigmoid"]
