"""Vessel masks from 3D microscopy: a small net that learns from a teacher and a few labels.

The method (VpbSD, arXiv 2411.09567) in pipeline order; each line names the room that does it::

    config          what a run is: one section per stage            load_config
       │
    volumes         what is on disk, read lazily by box             open_volume
    data            what training sees; simulated vessels           simulate_volume
    models losses   teacher, codebook, student; the formulas        load_model
       │
    stages          1  pretrain   X  → teacher → codebook → X̂       pretrain
       │            2  finetune   X, Y → teacher segments           finetune
       │            3  distill    teacher + codebook → student      distill
       │               all three in turn                            train
       │
    convert         any volume to OME-Zarr with a pyramid           convert_volume
    segment         a volume through the student, block by block    segment_volume
    metrics         a mask against the truth, in physical units     score
    graph           a mask to its vessel graph, block by block      build_graph

    geometry        boxes and voxel sizes (z, y, x), under it all
    errors          every error raised on purpose                   errors
    cli             the same as verbs: vpbsd --help

Arrays are ``(c, z, y, x)``, batches ``(B, C, D, H, W)``, lengths in micrometres where a name ends
in ``_um``. The public names (right column) load their room, and with it torch, when first used,
so that ``import vpbsd`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from vpbsd import errors

if TYPE_CHECKING:
    from vpbsd.config import load_config
    from vpbsd.convert import convert_volume
    from vpbsd.data.simulate import simulate_volume
    from vpbsd.graph import build_graph
    from vpbsd.metrics import score
    from vpbsd.models import load_model
    from vpbsd.segment import segment_volume
    from vpbsd.stages import distill, finetune, pretrain, train
    from vpbsd.volumes import open_volume

__version__ = "0.1.0"

__all__ = [
    "build_graph",
    "convert_volume",
    "distill",
    "errors",
    "finetune",
    "load_config",
    "load_model",
    "open_volume",
    "pretrain",
    "score",
    "segment_volume",
    "simulate_volume",
    "train",
]

# Public name -> the module that defines it. No name may equal that of a room: importing the room
# would put the module in the name's place.
_HOMES = {
    "build_graph": "vpbsd.graph",
    "convert_volume": "vpbsd.convert",
    "distill": "vpbsd.stages",
    "finetune": "vpbsd.stages",
    "load_config": "vpbsd.config",
    "load_model": "vpbsd.models",
    "open_volume": "vpbsd.volumes",
    "pretrain": "vpbsd.stages",
    "score": "vpbsd.metrics",
    "segment_volume": "vpbsd.segment",
    "simulate_volume": "vpbsd.data.simulate",
    "train": "vpbsd.stages",
}


def __getattr__(name: str) -> object:
    """Load a public name from its home when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vpbsd' has no attribute {name!r}; it offers {__all__}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
