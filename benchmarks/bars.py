"""What is measured and what is asked of it: one line a figure, in the order of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["BARS", "Bar"]


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure and its bar.

    Attributes
    ----------
    what
        What is measured, as the table says it.
    sense, limit
        The figure holds if it is at least (``>=``) or at most (``<=``) the limit.
    unit
        Of value and limit; ``x`` = a ratio of speeds, ``share`` = part of a whole.
    """

    what: str
    sense: Literal[">=", "<="]
    limit: float
    unit: str

    def holds(self, value: float) -> bool:
        """Whether ``value`` reaches the bar; NaN never does."""
        return value >= self.limit if self.sense == ">=" else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.sense == '>=' else '≤'} {self.limit:g}"


_END_TO_END = "end to end (zarr in, mask with pyramid out) against "

BARS: dict[str, Bar] = {
    "end_to_end_over_one_pass_fast": Bar(
        f"{_END_TO_END}one in-memory pass, `fast`", ">=", 0.70, "share"
    ),
    "end_to_end_over_one_pass_fine": Bar(
        f"{_END_TO_END}one in-memory pass, `fine`", ">=", 0.70, "share"
    ),
    "ceiling_share_fast": Bar(
        "student forward, share of the bf16 matrix-product ceiling, `fast`", ">=", 0.65, "share"
    ),
    "ceiling_share_fine": Bar(
        "student forward, share of the bf16 matrix-product ceiling, `fine`", ">=", 0.65, "share"
    ),
    "speed_over_dynunet_fast": Bar(f"{_END_TO_END}nnU-Net's net, `fast`", ">=", 300, "x"),
    "speed_over_dynunet_fine": Bar(f"{_END_TO_END}nnU-Net's net, `fine`", ">=", 150, "x"),
    "speed_over_swinunetr_fast": Bar(f"{_END_TO_END}SwinUNETR, `fast`", ">=", 250, "x"),
    "speed_over_frangi_fast": Bar(
        f"{_END_TO_END}scikit-image Frangi, 3 scales, `fast`", ">=", 30, "x"
    ),
    "int8_over_bf16_fast": Bar("int8 against bf16, end to end, `fast`", ">=", 1.5, "x"),
    "int8_over_bf16_fine": Bar("int8 against bf16, end to end, `fine`", ">=", 1.5, "x"),
    "io_share_fast": Bar("reading and writing, share of the time, `fast`", "<=", 0.10, "share"),
    "io_share_fine": Bar("reading and writing, share of the time, `fine`", "<=", 0.10, "share"),
    "memory_growth": Bar("peak memory, 4 over 0.5 gigavoxels, 2 workers", "<=", 1.10, "x"),
    "memory_peak_gb": Bar("peak memory of all processes, 4 gigavoxels, 2 workers", "<=", 4, "GB"),
    "memory_projection": Bar("projected over measured peak memory", ">=", 1, "x"),
    "two_workers_over_one": Bar("2 workers against 1, wall time", ">=", 1.8, "x"),
    "engine_serial_ms": Bar("engine per block at 10,000 blocks, serial", "<=", 5, "ms"),
    "engine_dask_ms": Bar("engine per block at 10,000 blocks, 2 Dask workers", "<=", 5, "ms"),
    "ledger_million_s": Bar("plan and ledger of 1,000,000 blocks, time", "<=", 60, "s"),
    "ledger_million_memory_gb": Bar(
        "plan and ledger of 1,000,000 blocks, peak memory", "<=", 1, "GB"
    ),
    "ledger_million_disk_gb": Bar("plan and ledger of 1,000,000 blocks, disk", "<=", 1, "GB"),
    "planned_time_error": Bar("planned against measured time, 1 gigavoxel", "<=", 0.20, "share"),
    "graph_mvoxel_per_s": Bar(
        "mask to graph, end to end, 2 gigavoxels, 2 workers", ">=", 10, "Mvoxel/s"
    ),
    "graph_peak_gb": Bar("the same, peak memory of all processes", "<=", 4, "GB"),
    "graph_memory_growth": Bar("the same, peak memory, 2 over 0.5 gigavoxels", "<=", 1.10, "x"),
    "graph_private_gb_per_gigavoxel": Bar(
        "graph from finished blocks, private memory for each gigavoxel more", "<=", 0.05, "GB"
    ),
    "graph_different": Bar(
        "different graphs from 4 block sizes, 1 and 2 workers", "<=", 1, "graphs"
    ),
    "graph_over_skan": Bar("mask to graph against skan, one core", ">=", 2, "x"),
    "gpu_fine_mvoxel_per_s": Bar("GPU, zarr to mask, `fine`", ">=", 50, "Mvoxel/s"),
}
"""Stable name of each figure and its bar."""
