"""Work on volumes block by block: which blocks there are, and how they are run.

::

    plan_blocks ──► Plan ──► run_blocks(operation) ──► serial, or Dask (local, scheduler, SLURM)
                                  │
                                  └──► Ledger: what is finished, on disk

A block is a value, an operation declares its halo, and the engine crops. ``output`` runs an
operation that fills OME-Zarr volumes, pyramids included, and can be taken up again after any kill.
Nothing here imports torch, so that the vessel graph runs on the same engine as the nets.
"""

from __future__ import annotations

from vpbsd.blockwise.execute import OnDone, Run, failures_in_kind, run_blocks
from vpbsd.blockwise.interrupt import Stopped
from vpbsd.blockwise.ledger import MISSING, Ledger
from vpbsd.blockwise.output import Output, OutputJob, Writers, fill_outputs
from vpbsd.blockwise.plan import Block, Plan, choose_block, plan_blocks, projected_peak_bytes
from vpbsd.blockwise.task import BlockDone, Function, Operation
from vpbsd.blockwise.work import WorkFolder, work_path
from vpbsd.blockwise.workers import Part, Workers

__all__ = [
    "MISSING",
    "Block",
    "BlockDone",
    "Function",
    "Ledger",
    "OnDone",
    "Operation",
    "Output",
    "OutputJob",
    "Part",
    "Plan",
    "Run",
    "Stopped",
    "WorkFolder",
    "Workers",
    "Writers",
    "choose_block",
    "failures_in_kind",
    "fill_outputs",
    "plan_blocks",
    "projected_peak_bytes",
    "run_blocks",
    "work_path",
]
