"""What viewers are told of an OME-Zarr, written by our writer or by others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from vpbsd.errors import DataError, VolumeFormatError, VoxelSizeUnknownError
from vpbsd.geometry import VoxelSize
from vpbsd.views.layer import open_layer, pyramid


@pytest.mark.parametrize(
    ("name", "kind", "is_labels", "zarr_format"),
    [
        ("image", "image", False, 3),
        ("mask", "mask", True, 3),
        ("mask_probability", "probability", False, 3),
        ("old", "mask", True, 2),
    ],
)
def test_our_outputs(brain: Path, name: str, kind: str, is_labels: bool, zarr_format: int) -> None:
    layer = open_layer(brain / f"{name}.ome.zarr")
    assert (layer.name, layer.kind, layer.is_labels) == (name, kind, is_labels)
    assert (layer.zarr_format, layer.ours) == (zarr_format, True)
    assert layer.voxel_size.zyx_um == (4.0, 2.0, 2.0)
    assert layer.translation_um == (0.0, 0.0, 0.0)
    assert [v.shape_zyx for v in pyramid(layer.volume)] == [(40, 48, 64)]


def test_pyramid_of_a_longer_volume(long_image: Path) -> None:
    # 300 voxels along x are more than the 256 of a last level; z is thick and waits.
    levels = pyramid(open_layer(long_image).volume)
    assert [v.shape_zyx for v in levels] == [(16, 32, 300), (8, 16, 150)]
    assert levels[1].voxel_size_um == VoxelSize(8.0, 4.0, 4.0)


def foreign(path: Path, **multiscale: object) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", shape=(4, 6, 8), chunks=(4, 6, 8), dtype="u2")[:] = np.uint16(7)
    axes = [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, **multiscale}]
    return path


def test_place_by_both_transformations(tmp_path: Path) -> None:
    path = foreign(
        tmp_path / "other.zarr",
        datasets=[
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [500, 250, 250]},
                    {"type": "translation", "translation": [1000, 2000, 3000]},
                ],
            }
        ],
        coordinateTransformations=[
            {"type": "scale", "scale": [2, 1, 1]},
            {"type": "translation", "translation": [0, 100, 0]},
        ],
    )
    layer = open_layer(path)
    assert (layer.kind, layer.ours, layer.name) == ("image", False, "other")
    assert layer.voxel_size.zyx_um == (1.0, 0.25, 0.25)
    assert layer.translation_um == pytest.approx((2.0, 2.1, 3.0))


def test_no_voxel_size_is_told(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "plain.zarr", shape=(4, 4, 4), dtype="u1")
    with pytest.raises(VoxelSizeUnknownError, match=r"plain\.zarr' does not state .*vpbsd convert"):
        open_layer(tmp_path / "plain.zarr")


def test_what_is_no_ome_zarr_is_told(tmp_path: Path) -> None:
    (tmp_path / "image.tif").write_bytes(b"II*\x00")
    for name in ("image.tif", "nowhere.ome.zarr", "."):
        with pytest.raises(VolumeFormatError, match=r"not the folder of an OME-Zarr.*vpbsd"):
            open_layer(tmp_path / name)
    with pytest.raises(DataError, match="is a URL"):
        open_layer("s3://bucket/brain.ome.zarr")


def test_damaged_metadata_are_told(tmp_path: Path) -> None:
    path = foreign(
        tmp_path / "other.zarr",
        datasets=[
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [500, 250, 250]},
                    {"type": "translation", "translation": [1]},
                ],
            }
        ],
    )
    with pytest.raises(VolumeFormatError, match=r"other\.zarr' cannot be read"):
        open_layer(path)
