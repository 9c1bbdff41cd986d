"""OpenVINO on the CPU: fp32, bf16, and int8 for a student that was quantised."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vpbsd.errors import ConfigError, MissingExtraError
from vpbsd.geometry import Box
from vpbsd.machine import RuntimePrecision
from vpbsd.models import DeployedStudent, Student
from vpbsd.segment.runtimes.base import NetShape, sigmoid
from vpbsd.segment.runtimes.openvino_graph import StudentGraph, retarget, student_graph

__all__ = ["OpenVinoRuntime", "require_openvino", "student_for_openvino", "weights_digest"]

logger = logging.getLogger(__name__)

_HINTS = {"fp32": ("f32",), "bf16": ("bf16",), "int8": ("bf16", "f32")}
"""Precision of what is not int8; OpenVINO refuses some graphs in the first and takes the second."""

# Each kind of block (inner, or at one border or other) has a graph of its own, which takes a
# fraction of a second to build. A regular plan has 27 at most.
_KEPT_KINDS = 27

# Memory between tensors that nobody can use; measured peaks stay below.
_GAPS = 1.4

_VALUE_BYTES = {"fp32": 4.0, "bf16": 2.0, "int8": 1.5}
"""Of an activation: between two quantised layers a byte, in skips and at both ends two."""

WEIGHTS_KEY = "vpbsd_weights"


@dataclass(frozen=True)
class _Kind:
    """What computes blocks of one shape and crop."""

    graph: StudentGraph
    compiled: Any


class OpenVinoRuntime:
    """Evaluate a student with OpenVINO.

    Holds its own copy of the net as it is now. Results are those of torch up to rounding.

    Parameters
    ----------
    net
        A student.
    precision
        ``int8`` needs ``int8_path``.
    threads
        That compute one block; 0 = as torch is set.
    int8_path
        What :func:`vpbsd.segment.runtimes.quantise` wrote for this net.

    Raises
    ------
    MissingExtraError
        If OpenVINO is not installed.
    ConfigError
        If the net is no student, or was quantised with other weights.
    """

    name = "openvino"

    def __init__(
        self,
        net: nn.Module,
        precision: RuntimePrecision = "fp32",
        *,
        threads: int = 0,
        int8_path: Path | None = None,
    ) -> None:
        ov = require_openvino()
        self._student = student_for_openvino(net)
        self.precision: RuntimePrecision = precision
        self._shape = NetShape.of(net)
        self.stride, self.halo_voxels = self._shape.stride, self._shape.halo_voxels
        self.channels = self._shape.channels
        self._core = ov.Core()
        self._threads = threads or _torch_threads()
        self._quantised: Any = None
        if precision == "int8":
            if int8_path is None:
                raise ConfigError("int8 needs the file of a quantised net: quantise it first")
            self._quantised = _read_quantised(self._core, int8_path, self._student)
        self._kinds: dict[tuple[tuple[int, ...], Box], _Kind] = {}
        self._last: tuple[tuple[int, ...], Box] = ((), Box.whole((0, 0, 0)))
        self._request: Any = None

    @property
    def bytes_per_voxel(self) -> float:
        """Memory that :meth:`logits` needs per voxel of a block, input and result included.

        Counted from the student's layers; beside them the block, what is cut out of it for the
        graph and for full resolution, and a copy of the result, all in float32.
        """
        images = 4.0 * self.channels * (3 if self._student.detail is not None else 2)
        values = self._student.peak_bytes_per_voxel(_VALUE_BYTES[self.precision])
        return _GAPS * (images + values + 4.0)

    def logits(self, block: NDArray[np.float32], crop: Box | None = None) -> NDArray[np.float32]:
        """Return logits of a part of one block; see :meth:`Runtime.logits`.

        Raises
        ------
        DataError
            If the number of channels or an edge does not fit the net, or the crop the block.
        """
        box = self._shape.crop_of(block, crop)
        kind = self._kind(block.shape, box)
        inputs = kind.graph.inputs(np.asarray(block, np.float32))
        self._request.infer(inputs, share_inputs=True, share_outputs=True)
        # A copy, because the next block's result comes to lie in the same memory.
        result = self._request.get_output_tensor(0).data[0][kind.graph.inside.slices].copy()
        return cast(NDArray[np.float32], result)

    def predict(self, block: NDArray[np.float32], crop: Box | None = None) -> NDArray[np.float32]:
        """Return foreground probabilities (z, y, x); see :meth:`logits`.

        Raises
        ------
        DataError
            As :meth:`logits`.
        """
        return sigmoid(self.logits(block, crop))

    def _kind(self, shape: tuple[int, ...], crop: Box) -> _Kind:
        key = (shape, crop)
        if key != self._last and self._last in self._kinds:
            # A request holds on to its input and output, a graph to what lies between.
            self._request = None
            self._kinds[self._last].compiled.release_memory()
        if key not in self._kinds:
            while len(self._kinds) >= _KEPT_KINDS:
                del self._kinds[next(iter(self._kinds))]
            z, y, x = shape[1:]
            graph = student_graph(self._student, (z, y, x), crop)
            model = graph.model
            if self._quantised is not None:
                model = self._quantised.clone()
                retarget(model, graph.model)
            self._kinds[key] = _Kind(graph, self._compile(model))
        if self._request is None:
            self._request = self._kinds[key].compiled.create_infer_request()
        self._last = key
        return self._kinds[key]

    def _compile(self, model: Any) -> Any:
        hints = _HINTS[self.precision] if _has_bf16(self._core) else _HINTS[self.precision][-1:]
        for hint in hints:
            try:
                return self._core.compile_model(
                    model,
                    "CPU",
                    {
                        # Said in words, because OpenVINO takes bf16 by itself where it can.
                        "INFERENCE_PRECISION_HINT": hint,
                        "INFERENCE_NUM_THREADS": self._threads,
                        # It counts cores from 0 in every process: all workers would share one.
                        "ENABLE_CPU_PINNING": False,
                        "PERFORMANCE_HINT": "LATENCY",
                        "NUM_STREAMS": 1,
                    },
                )
            except RuntimeError as error:
                if hint == hints[-1]:
                    raise
                logger.debug("OpenVINO does not mix int8 with %s here: %s", hint, error)
        raise AssertionError("unreachable")


def require_openvino() -> Any:
    """Import and return OpenVINO.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError(
            "the runtime openvino needs OpenVINO, which is not installed: "
            "pip install 'vpbsd[openvino]', or use --runtime torch"
        ) from error
    return openvino


def student_for_openvino(net: nn.Module) -> DeployedStudent:
    """Return the student that the graphs are built from.

    Raises
    ------
    ConfigError
        If the net is another one.
    """
    if not isinstance(net, Student):
        raise ConfigError(
            f"the runtime openvino evaluates students, got a {type(net).__name__}; use "
            "--runtime torch"
        )
    return DeployedStudent(net, onednn=False).float().cpu()


def weights_digest(net: DeployedStudent) -> str:
    """Return the SHA-256 of a net's weights, by which a quantised net knows where it is from."""
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def _read_quantised(core: Any, path: Path, student: DeployedStudent) -> Any:
    if not path.is_file():
        raise ConfigError(f"no quantised net at '{path}': quantise the net first")
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        raise ConfigError(
            f"'{path}' is no quantised net, or a damaged one; quantise the net again"
        ) from error
    kept = model.get_rt_info(WEIGHTS_KEY) if model.has_rt_info(WEIGHTS_KEY) else None
    if kept is None or kept.astype(str) != weights_digest(student):
        raise ConfigError(
            f"'{path}' was quantised from other weights than those of the model in use; quantise "
            "the net again"
        )
    return model


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()
