"""A volume through the net, block by block, with the result of one pass over the whole.

::

    Volume ─► read_padded ─► IntensityScale ─► Runtime.predict ─► crop ─► threshold ─► OME-Zarr
"""

from __future__ import annotations

from vpbsd.segment.block import probability, read_padded
from vpbsd.segment.predict import plan_volume, predict_volume
from vpbsd.segment.runtime import Runtime, TorchRuntime

__all__ = [
    "Runtime",
    "TorchRuntime",
    "plan_volume",
    "predict_volume",
    "probability",
    "read_padded",
]
