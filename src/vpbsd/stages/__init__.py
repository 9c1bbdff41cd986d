"""The three training stages: pretrain, finetune, distill; one loop for all."""

from vpbsd.stages.interrupt import StopRequested
from vpbsd.stages.loop import StageResult, read_metrics
from vpbsd.stages.run import Run, distill, finetune, pretrain, train

__all__ = [
    "Run",
    "StageResult",
    "StopRequested",
    "distill",
    "finetune",
    "pretrain",
    "read_metrics",
    "train",
]
