from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr

from vpbsd.geometry import Box
from vpbsd.segment.channels import SelectedChannels
from vpbsd.volumes import open_volume


def test_chunks_levels_and_identity_are_those_of_the_volume(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    datasets = []
    for level, size in ((0, 8), (1, 4)):
        values = np.array([10, 20, 30], np.uint8)[:, None, None, None] + np.uint8(level)
        array = group.create_array(
            str(level), shape=(3, size, size, size), chunks=(1, 4, 2, 4), dtype="uint8"
        )
        array[:] = np.broadcast_to(values, array.shape)
        scale = [{"type": "scale", "scale": [1, 8 // size, 8 // size, 8 // size]}]
        datasets.append({"path": str(level), "coordinateTransformations": scale})
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}

    volume = open_volume(tmp_path / "a.zarr")
    chosen = SelectedChannels(volume, [2, 0])
    assert chosen.chunk_voxels == (4, 2, 4)
    found = chosen.coarser(64)
    assert found is not None and found[1] == (2, 2, 2)
    assert found[0].read(Box.whole((1, 1, 1))).ravel().tolist() == [31, 11]
    assert chosen.coarser(63) is None
    assert SelectedChannels(volume, [0]).fingerprint() != chosen.fingerprint()
    assert list(chosen._state()) == list(volume._state())
