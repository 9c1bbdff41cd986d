"""One asymmetric volume, written in every format by the library that owns the format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr_models.v04 import Image as ImageV04
from ome_zarr_models.v04.axes import Axis as AxisV04
from ome_zarr_models.v05 import Image as ImageV05
from ome_zarr_models.v05.axes import Axis as AxisV05
from pydantic_zarr.v2 import ArraySpec as ArraySpecV2
from pydantic_zarr.v3 import ArraySpec as ArraySpecV3

IMAGEJ = {"spacing": 5.0, "unit": "um"}
RESOLUTION = (1 / 1.25, 1 / 2.5)  # pixels per µm along x, y
OME = {
    "PhysicalSizeZ": 5000.0,
    "PhysicalSizeZUnit": "nm",
    "PhysicalSizeY": 2.5,
    "PhysicalSizeYUnit": "µm",
    "PhysicalSizeX": 0.00125,
    "PhysicalSizeXUnit": "mm",
}


@pytest.fixture(scope="session")
def array() -> np.ndarray:
    """(c, z, y, x) = (2, 5, 6, 7), every voxel another number, so that no two axes look alike."""
    return np.arange(2 * 5 * 6 * 7, dtype=np.uint16).reshape(2, 5, 6, 7) * 100


def _write_tiffs(folder: Path, array: np.ndarray) -> None:
    zcyx = array.transpose(1, 0, 2, 3)
    tifffile.imwrite(folder / "ome.ome.tif", array, metadata={"axes": "CZYX", **OME})
    tifffile.imwrite(
        folder / "ome_zlib.ome.tif", zcyx, compression="zlib", metadata={"axes": "ZCYX", **OME}
    )
    tiled = {"tile": (16, 16), "compression": "zlib", "metadata": {"axes": "TZCYX", **OME}}
    tifffile.imwrite(folder / "ome_tiled_t1.ome.tif", zcyx[np.newaxis], **tiled)
    imagej: dict[str, Any] = {"imagej": True, "resolution": RESOLUTION}
    tifffile.imwrite(folder / "imagej.tif", zcyx, **imagej, metadata={"axes": "ZCYX", **IMAGEJ})
    with tifffile.TiffWriter(folder / "imagej_zlib.tif", imagej=True) as tif:
        tif.write(
            array[0],
            compression="zlib",
            resolution=RESOLUTION,
            metadata={"axes": "ZYX", **IMAGEJ},
        )
    tifffile.imwrite(folder / "plain.tif", array[0], metadata=None, photometric="minisblack")
    tifffile.imwrite(folder / "plain_big_endian.tif", array[0], metadata=None, byteorder=">")
    tifffile.imwrite(folder / "bigtiff.tif", array[0], bigtiff=True, compression="zlib")
    rgb = np.stack([array[0], array[1], array[0]], axis=-1)
    tifffile.imwrite(folder / "rgb.tif", rgb, photometric="rgb", metadata=None)
    _write_planes(folder, array)


def _write_planes(folder: Path, array: np.ndarray) -> None:
    (folder / "planes").mkdir()
    for z, plane in enumerate(array[0]):
        # 8, 9, 10, 11, 12: in alphabetical order 10 would come before 8.
        tifffile.imwrite(folder / "planes" / f"img{z + 8}.tif", plane, compression="zlib")
    (folder / "planes" / "notes.txt").write_text("not a plane")


def _write_hdf5(folder: Path, array: np.ndarray) -> None:
    with h5py.File(folder / "array.h5", "w") as file:
        data = file.create_dataset("group/raw", data=array, chunks=(1, 2, 3, 4), compression="gzip")
        data.attrs["element_size_um"] = [5.0, 2.5, 1.25]
        file["table"] = np.zeros((3, 2))
    with h5py.File(folder / "ilastik.h5", "w") as file:
        data = file.create_dataset("exported_data", data=array.transpose(1, 2, 3, 0))
        data.attrs["axistags"] = (
            '{"axes": [{"key": "z"}, {"key": "y"}, {"key": "x"}, {"key": "c"}]}'
        )
    with h5py.File(folder / "imaris.ims", "w") as file:
        _fill_imaris(file, array)


def _fill_imaris(file: h5py.File, array: np.ndarray) -> None:
    def letters(text: str) -> np.ndarray:
        return np.array(list(text), dtype="S1")

    image = file.create_group("DataSetInfo/Image")
    # x: (18.75 - 10) / 7 = 1.25, y: 15 / 6 = 2.5, z: 25 / 5 = 5
    values = {"X": "7", "Y": "6", "Z": "5", "Unit": "um"}
    values |= {"ExtMin0": "10", "ExtMin1": "0", "ExtMin2": "-5"}
    values |= {"ExtMax0": "18.75", "ExtMax1": "15", "ExtMax2": "20"}
    for name, text in values.items():
        image.attrs[name] = letters(text)
    for c, channel in enumerate(array):
        group = file.create_group(f"DataSet/ResolutionLevel 0/TimePoint 0/Channel {c}")
        padded = np.full((8, 8, 8), 65535, np.uint16)
        padded[:5, :6, :7] = channel
        group.create_dataset("Data", data=padded, chunks=(4, 4, 4), compression="gzip")
        group.attrs["ImageSizeX"], group.attrs["ImageSizeY"] = letters("7"), letters("6")
        group.attrs["ImageSizeZ"] = letters("5")


def _write_zarrs(folder: Path, array: np.ndarray) -> None:
    axes = [("c", "channel", None)] + [(a, "space", "nanometer") for a in "zyx"]
    coarse = np.ascontiguousarray(array[:, :, ::2, ::2])
    levels = {"scales": [[1, 5000, 2500, 1250], [1, 5000, 5000, 2500]]}
    levels |= {"translations": [None, None], "paths": ["s0", "s1"]}  # type: ignore[dict-item]
    old = ImageV04.new(
        array_specs=[ArraySpecV2.from_array(a) for a in (array, coarse)],
        axes=[AxisV04(name=n, type=t, unit=u) for n, t, u in axes],
        **levels,
    )
    new = ImageV05.new(
        array_specs=[
            ArraySpecV3.from_array(a, dimension_names=["c", "z", "y", "x"]) for a in (array, coarse)
        ],
        axes=[AxisV05(name=n, type=t, unit=u) for n, t, u in axes],
        **levels,
    )
    for name, image in (("ome_04.zarr", old), ("ome_05.zarr", new)):
        group = image.to_zarr(zarr.storage.LocalStore(folder / name), path="")
        group["s0"][:], group["s1"][:] = array, coarse
    for version in (2, 3):
        zarr.save_array(folder / f"array_v{version}.zarr", array, zarr_format=version)
    named = zarr.create_array(
        folder / "named.zarr",
        shape=(6, 7, 5),
        dtype="uint16",
        chunks=(4, 4, 4),
        dimension_names=["y", "x", "z"],
    )
    named[:] = array[0].transpose(1, 2, 0)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> Path:
    """Folder with the volume in every format."""
    folder = tmp_path_factory.mktemp("formats")
    _write_tiffs(folder, array)
    for name in ("nifti.nii", "nifti.nii.gz"):
        image = nib.Nifti1Image(array[0].transpose(2, 1, 0), np.diag([1.25, 2.5, 5.0, 1.0]))
        image.header.set_xyzt_units("micron")
        nib.save(image, folder / name)
    image = nib.Nifti2Image(array.transpose(3, 2, 1, 0), np.diag([0.00125, 0.0025, 0.005, 1.0]))
    image.header.set_xyzt_units("mm")
    nib.save(image, folder / "nifti_2_channels.nii")
    _write_hdf5(folder, array)
    _write_zarrs(folder, array)
    np.save(folder / "array.npy", array)
    np.save(folder / "fortran.npy", np.asfortranarray(array[0]))
    return folder
