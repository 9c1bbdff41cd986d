"""Work on volumes block by block: which blocks there are, and how they are run.

A block is a value, an operation declares its halo, and the engine crops. Nothing here imports
torch, so that the vessel graph runs on the same engine as the nets.
"""

from __future__ import annotations

from vpbsd.blockwise.execute import Executor, Run, run_serial
from vpbsd.blockwise.plan import Block, Plan, choose_block, plan_blocks, projected_peak_bytes

__all__ = [
    "Block",
    "Executor",
    "Plan",
    "Run",
    "choose_block",
    "plan_blocks",
    "projected_peak_bytes",
    "run_serial",
]
