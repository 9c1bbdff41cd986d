"""A volume through the net, block by block, with the result of one pass over the whole.

::

    prepare_segmentation ─► estimate_segmentation (what it will take)
                         └► run_segmentation, for every block:
                            read_padded ─► IntensityScale ─► Runtime.logits ─► threshold ─► write
"""

from __future__ import annotations

from vpbsd.segment.block import probability, read_padded
from vpbsd.segment.channels import SelectedChannels
from vpbsd.segment.estimate import Estimate, estimate_segmentation, require_memory
from vpbsd.segment.options import SegmentModel, SegmentOptions, SegmentReport
from vpbsd.segment.planning import plan_volume, projected_bytes
from vpbsd.segment.predict import predict_volume
from vpbsd.segment.prepare import Segmentation, prepare_segmentation, probability_path
from vpbsd.segment.runtimes import Predictor, Runtime, RuntimeSpec, TorchRuntime
from vpbsd.segment.volume import run_segmentation, segment_volume

__all__ = [
    "Estimate",
    "Predictor",
    "Runtime",
    "RuntimeSpec",
    "SegmentModel",
    "SegmentOptions",
    "SegmentReport",
    "Segmentation",
    "SelectedChannels",
    "TorchRuntime",
    "estimate_segmentation",
    "plan_volume",
    "predict_volume",
    "prepare_segmentation",
    "probability",
    "probability_path",
    "projected_bytes",
    "read_padded",
    "require_memory",
    "run_segmentation",
    "segment_volume",
]
