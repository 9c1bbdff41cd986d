"""Runtimes: how a net is evaluated on one block, by which library and in which precision.

::

    choose_runtime ─► RuntimeSpec ─► make_runtime ─► Runtime.logits(block, crop)

A spec is a value that can be sent to a worker. Of the runtimes, :class:`TorchRuntime` always works;
OpenVINO is an extra, and the only one that computes in int8.
"""

from __future__ import annotations

from vpbsd.segment.runtimes.base import NetShape, Predictor, Runtime, RuntimeSpec, sigmoid
from vpbsd.segment.runtimes.choose import Candidate, Choice, choose_runtime
from vpbsd.segment.runtimes.make import make_runtime
from vpbsd.segment.runtimes.openvino_runtime import OpenVinoRuntime
from vpbsd.segment.runtimes.quantise import MAX_INT8_LOSS_POINTS, int8_loss, quantise
from vpbsd.segment.runtimes.torch_runtime import TorchRuntime

__all__ = [
    "MAX_INT8_LOSS_POINTS",
    "Candidate",
    "Choice",
    "NetShape",
    "OpenVinoRuntime",
    "Predictor",
    "Runtime",
    "RuntimeSpec",
    "TorchRuntime",
    "choose_runtime",
    "int8_loss",
    "make_runtime",
    "quantise",
    "sigmoid",
]
