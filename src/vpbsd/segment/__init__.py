"""A volume through the net, block by block, with the result of one pass over the whole.

::

    Volume ─► read_padded ─► IntensityScale ─► Runtime.predict ─► crop ─► threshold ─► OME-Zarr
"""

from __future__ import annotations

from vpbsd.segment.block import probability, read_padded
from vpbsd.segment.channels import SelectedChannels
from vpbsd.segment.options import SegmentModel, SegmentOptions, SegmentReport
from vpbsd.segment.predict import plan_volume, predict_volume, projected_bytes
from vpbsd.segment.runtime import Runtime, TorchRuntime
from vpbsd.segment.volume import probability_path, segment_volume

__all__ = [
    "Runtime",
    "SegmentModel",
    "SegmentOptions",
    "SegmentReport",
    "SelectedChannels",
    "TorchRuntime",
    "plan_volume",
    "predict_volume",
    "probability",
    "probability_path",
    "projected_bytes",
    "read_padded",
    "segment_volume",
]
