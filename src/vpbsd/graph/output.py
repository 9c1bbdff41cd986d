"""The folder of a finished graph: tables, measures and figures' numbers, all there or nothing.

::

    OUT/nodes.parquet, edges.parquet    the graph           regions.csv, regions.parquet  the tables
    OUT/graph.vtp                       for ParaView        histograms.json
    OUT/graph.swc, graph.graphml        on request          summary.json                  comes last
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vpbsd.blockwise.progress import voxel_progress
from vpbsd.errors import OutputError
from vpbsd.graph.files import write_graph, write_graphml, write_swc, write_vtp
from vpbsd.graph.job import SUMMARY, GraphJob
from vpbsd.graph.measures.edges import EdgeMeasures, measure_edges
from vpbsd.graph.measures.summary import summarise
from vpbsd.graph.regions.run import write_region_tables
from vpbsd.graph.vessel_graph import VesselGraph
from vpbsd.malloc import give_back
from vpbsd.provenance import write_json_atomic
from vpbsd.volumes.durable import swap, sync

__all__ = ["log_name", "write_output"]

_UM3_PER_MM3 = 1e9
_HISTOGRAMS = "histograms.json"


def write_output(job: GraphJob, graph: VesselGraph, about: Mapping[str, Any]) -> Mapping[str, Any]:
    """Measure a graph, write all files beside the fragments, and move the folder to its name.

    Counts of regions that an interrupted run has left in the unfinished folder are used again.

    Parameters
    ----------
    job
        What was asked for.
    graph
        Cleaned.
    about
        What else the summary is to tell.

    Returns
    -------
    Mapping
        Measures of the whole volume, as in the summary.

    Raises
    ------
    OutputError
        If the disk is full or a folder cannot be written.
    DataError
        If regions cannot be used as such.
    """
    partial = job.work.partial("graph")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        measures = measure_edges(graph)
        write_graph(graph, partial, measures)
        write_vtp(graph, partial / "graph.vtp", measures)
        if job.options.swc:
            write_swc(graph, partial / "graph.swc")
        if job.options.graphml:
            write_graphml(graph, partial / "graph.graphml")
        numbers = _numbers(job, graph, measures, partial)
        write_json_atomic(partial / SUMMARY, {"measures": numbers, **about})
        sync(partial.iterdir(), partial)
        # A part that starts now finds either everything here or everything there.
        with job.work.setup():
            _put(partial, job.out)
            job.work.close(log_name(job.out))
    except OSError as error:
        raise OutputError(
            f"cannot write '{job.out}': {error.strerror or error}; make room or check the "
            "permissions, then run the same command again"
        ) from error
    return numbers


def log_name(out: Path) -> Path:
    """Return where the log of the blocks stays, beside the folder."""
    return out.with_name(f"{out.name}.log.jsonl")


def _numbers(
    job: GraphJob, graph: VesselGraph, measures: EdgeMeasures, folder: Path
) -> dict[str, Any]:
    """Write histograms and region tables; return the numbers of the whole volume."""
    regions = job.options.regions
    volume_um3 = float(np.prod(job.plan.shape, dtype=float) * np.prod(job.voxel_size.zyx_um))
    radius_um = job.options.capillary_radius_um
    whole: dict[str, Any] = {}
    summary = summarise(graph, measures, volume_um3=volume_um3, capillary_radius_um=radius_um)
    histograms = {name: one.as_json() for name, one in summary.histograms.items()}
    write_json_atomic(folder / _HISTOGRAMS, histograms)
    if regions is not None:
        total = int(np.prod(job.plan.shape, dtype=np.int64))
        give_back()  # what stitching and cleaning took: the workers need it
        with voxel_progress("regions", total, show=job.options.progress) as advance:
            tables = write_region_tables(
                folder,
                job.volume,
                replace(regions, capillary_radius_um=radius_um),
                lambda block, _: advance(block.write.size_voxels),
            )
        whole = {k: v for k, v in tables.rows[0].items() if k not in ("region", "name", "is_sum")}
        # Where tissue was named, densities are those of the tissue.
        volume_um3 = float(whole["volume_mm3"]) * _UM3_PER_MM3 or volume_um3
        summary = summarise(graph, measures, volume_um3=volume_um3, capillary_radius_um=radius_um)
    return {**whole, **summary.as_measures()}


def _put(partial: Path, out: Path) -> None:
    """Move a folder to its name, in one step; also from another disk."""
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()  # a folder can only be renamed to a free name
    try:
        swap(partial, out)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        near = out.with_name(f".{out.name}.partial")
        shutil.rmtree(near, ignore_errors=True)
        shutil.copytree(partial, near)
        sync(near.iterdir(), near)
        swap(near, out)
