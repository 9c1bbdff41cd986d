from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from vpbsd.geometry import Box, VoxelSize
from vpbsd.volumes import open_volume, write_ome_tiff


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.uint32, np.float32])
def test_comes_back_as_it_was(dtype: type[np.generic], tmp_path: Path) -> None:
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    write_ome_tiff(tmp_path / "a.ome.tif", array, VoxelSize(5, 0.5, 0.25))
    with open_volume(tmp_path / "a.ome.tif") as volume:
        assert volume.dtype == dtype
        assert volume.voxel_size_um == VoxelSize(5, 0.5, 0.25)
        np.testing.assert_array_equal(volume.read(Box.whole((3, 4, 5)))[0], array)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.series[0].axes == "ZYX"


def test_an_unknown_size_is_not_made_up(tmp_path: Path) -> None:
    write_ome_tiff(tmp_path / "a.ome.tif", np.ones((3, 4, 5), np.uint8), None)
    with open_volume(tmp_path / "a.ome.tif") as volume:
        assert volume.voxel_size_um is None


def test_an_earlier_file_stays_where_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    write_ome_tiff(path, np.ones((3, 4, 5), np.uint8), None)
    before = path.read_bytes()
    with pytest.raises(tifffile.OmeXmlError, match="not supported"):
        write_ome_tiff(path, np.ones((3, 4, 5), np.int64), None)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.ome.tif"]
