"""Put simulated volumes with their truth on disk."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import asdict
from pathlib import Path

from vpbsd.config import SimulateConfig
from vpbsd.data.simulate.sampler import SimulatedVolume, SimulatedVolumes
from vpbsd.errors import OutputError
from vpbsd.volumes import write_ome_tiff

__all__ = ["write_simulated"]


def write_simulated(
    out_dir: Path | str,
    config: SimulateConfig,
    seed: int,
    count: int,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write volumes 0 to ``count`` - 1 of a seed, all or none.

    Volume ``i`` becomes ``volume_00i_image.ome.tif`` and ``_label.ome.tif`` ((z, y, x), with voxel
    size), ``volume_00i_network.npz`` (not for real geometry) and ``volume_00i.json`` with voxel
    size, seed, settings and microscope. Files are written beside ``out_dir`` and moved at the end.

    Returns
    -------
    The image files, in order.

    Raises
    ------
    OutputError
        If ``out_dir`` is not an empty or a new folder and ``overwrite`` is off, holds anything
        but simulated volumes, or cannot be written.
    """
    target = Path(out_dir)
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file; name a folder for the simulated volumes")
    present = sorted(target.iterdir()) if target.is_dir() else []
    if present and not overwrite:
        raise OutputError(f"{target} already holds files; choose another folder, or --overwrite")
    others = [path.name for path in present if not path.name.startswith("volume_")]
    if others:
        raise OutputError(
            f"{target} holds more than simulated volumes (first: {others[0]}), so it is not "
            "overwritten; name another folder"
        )
    volumes = SimulatedVolumes(config, seed)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = _beside(target)
        work.mkdir()
    except OSError as error:
        raise OutputError(f"cannot write beside {target}: {error.strerror}") from error
    try:
        for index in range(count):
            _write_one(work, volumes, index)
        _move(work, target)
    except OSError as error:
        raise OutputError(
            f"cannot write simulated volumes to {target}: {error.strerror}; nothing was kept"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return [target / f"{_stem(index)}_image.ome.tif" for index in range(count)]


def _stem(index: int) -> str:
    return f"volume_{index:03d}"


def _write_one(folder: Path, volumes: SimulatedVolumes, index: int) -> None:
    volume, stem = volumes.volume(index), _stem(index)
    write_ome_tiff(folder / f"{stem}_image.ome.tif", volume.image, volume.voxel_size_um)
    write_ome_tiff(folder / f"{stem}_label.ome.tif", volume.mask, volume.voxel_size_um)
    if volume.network is not None:
        volume.network.save(folder / f"{stem}_network.npz")
    record = json.dumps(_record(volume, volumes, index), indent=2)
    (folder / f"{stem}.json").write_text(record + "\n", encoding="utf-8")


def _record(volume: SimulatedVolume, volumes: SimulatedVolumes, index: int) -> dict[str, object]:
    network = volume.network
    truth: dict[str, object] = {"vessel_share": float(volume.mask.mean())}
    if network is not None:
        truth |= {
            "nodes": len(network.nodes_um),
            "edges": len(network.edges),
            "loops": network.loops,
            "components": network.components,
            "length_um": network.length_um,
        }
    return {
        "index": index,
        "seed": volumes.seed,
        "shape_voxels": list(volume.image.shape),
        "voxel_size_um": list(volume.voxel_size_um.zyx_um),
        "truth": truth,
        "microscope": asdict(volume.microscope),
        "config": volumes.config.model_dump(mode="json"),
    }


def _beside(target: Path) -> Path:
    """Return a new hidden name next to ``target``, so that a rename moves no data."""
    return target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}"


def _move(work: Path, target: Path) -> None:
    if not target.exists():
        work.rename(target)
        return
    previous = _beside(target)
    target.rename(previous)
    try:
        work.rename(target)
    except OSError:
        previous.rename(target)
        raise
    shutil.rmtree(previous, ignore_errors=True)
