"""A student in int8: quantised after training, on blocks of the volume it is for.

Weights and activations become 8-bit integers times a scale; the scales come from the ranges that
the activations take on a few of the user's own blocks. What that costs is measured on blocks too,
as the centreline Dice of the int8 mask against the fp32 mask.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vpbsd.errors import ConfigError, MissingExtraError, OutputError
from vpbsd.geometry import Box, Triplet, as_triplet, tile
from vpbsd.segment.runtimes.base import Runtime
from vpbsd.segment.runtimes.openvino_graph import student_graph
from vpbsd.segment.runtimes.openvino_runtime import (
    WEIGHTS_KEY,
    require_openvino,
    student_for_openvino,
    weights_digest,
)
from vpbsd.segment.runtimes.torch_runtime import TorchRuntime

__all__ = ["MAX_INT8_LOSS_POINTS", "int8_loss", "quantise"]

MAX_INT8_LOSS_POINTS = 0.5
"""Above this loss of centreline Dice, in points of 100, int8 is not used."""

_PIECE_VOXELS = 96
_MAX_PIECES = 8


def quantise(net: nn.Module, blocks: Sequence[NDArray[np.float32]], out: Path) -> Path:
    """Quantise a student to int8 and write it as OpenVINO IR.

    Parameters
    ----------
    net
        A student.
    blocks
        Normalised intensities (c, z, y, x), at least one; their most varied pieces of up to 96
        voxels along an edge are used, 8 at most.
    out
        Name of the ``.xml`` file; the weights go beside it as ``.bin``.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    MissingExtraError
        If OpenVINO or NNCF is not installed.
    ConfigError
        If the net is no student, or there are no blocks.
    OutputError
        If the file cannot be written.
    """
    ov, nncf = require_openvino(), _require_nncf()
    student = student_for_openvino(net)
    if not blocks:
        raise ConfigError("quantisation needs at least one block to measure ranges on, got none")
    if out.suffix != ".xml":
        raise ConfigError(f"a quantised net is written to an .xml file, got '{out}'")
    pieces = _varied_pieces(blocks, student.stride)
    shape = as_triplet(pieces[0].shape[1:])
    graph = student_graph(student, shape, Box.whole(shape))
    names = [port.get_any_name() for port in graph.model.inputs]
    samples = [dict(zip(names, graph.inputs(piece), strict=True)) for piece in pieces]
    # NNCF shows progress bars on stdout, where the results of a command go.
    with contextlib.redirect_stdout(io.StringIO()):
        model = nncf.quantize(
            graph.model,
            nncf.Dataset(samples),
            subset_size=len(samples),
            # Layer after layer, on what the layers before make of the data in int8: some seconds
            # more, and half of the loss.
            fast_bias_correction=False,
        )
    model.set_rt_info(weights_digest(student), WEIGHTS_KEY)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        ov.save_model(model, out, compress_to_fp16=False)
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"cannot write the quantised net to '{out}' ({error}); free some space or choose "
            "another folder"
        ) from error
    return out


def int8_loss(
    net: nn.Module, runtime: Runtime, blocks: Sequence[NDArray[np.float32]], threshold: float
) -> float:
    """Return how much of the fp32 mask's centreline Dice int8 loses, in points of 100.

    ``100 (1 - clDice)`` of the int8 mask against the fp32 mask, with centrelines and masks of all
    blocks counted together; 0 where both are empty everywhere.

    Parameters
    ----------
    net
        The net, evaluated in fp32 by torch.
    runtime
        The same in int8.
    blocks
        Normalised intensities (c, z, y, x); others than those it was quantised on tell more.
    threshold
        Probability from which a voxel is vessel.
    """
    from skimage.morphology import skeletonize

    exact = TorchRuntime(net, "fp32")
    limit = np.float32(np.log(threshold) - np.log1p(-threshold))
    lengths, inside = np.zeros(2, int), np.zeros(2, int)
    for block in blocks:
        masks = [r.logits(block) >= limit for r in (runtime, exact)]
        for i, (mask, other) in enumerate((masks, masks[::-1])):
            line = skeletonize(mask, method="lee") != 0
            lengths[i] += np.count_nonzero(line)
            inside[i] += np.count_nonzero(line & other)
    if not lengths.any():
        return 0.0
    precision, sensitivity = inside / np.maximum(lengths, 1)
    both = precision + sensitivity
    return float(100 * (1 - (2 * precision * sensitivity / both if both else 0.0)))


def _varied_pieces(
    blocks: Sequence[NDArray[np.float32]], stride: Triplet
) -> list[NDArray[np.float32]]:
    """Return pieces of one shape, those with the largest spread of intensities first."""
    edges = [
        min(max(_PIECE_VOXELS // s * s, s), *(b.shape[axis] for b in blocks))
        for axis, s in enumerate(stride, start=1)
    ]
    pieces = [
        block[(slice(None), *box.slices)]
        for block in blocks
        for box in tile(block.shape[1:], edges)
        if list(box.shape) == edges
    ]
    return sorted(pieces, key=lambda piece: -float(piece.std()))[:_MAX_PIECES]


def _require_nncf() -> Any:
    # It reports how it is used to its makers unless it believes to be under test.
    os.environ.setdefault("NNCF_CI", "1")
    try:
        import nncf
    except ImportError as error:
        raise MissingExtraError(
            "int8 needs NNCF to quantise the net, which is not installed: "
            "pip install 'vpbsd[openvino]', or use --precision bf16"
        ) from error
    # Its own way, nncf.set_log_level, silences handlers that it shares with others too.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf
