"""Open any volume: the reader is chosen by the file's name, or else its first bytes.

A URL is always a zarr hierarchy: the other formats cannot be read in pieces from far away.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import VoxelSize
from vpbsd.volumes.store import Location, is_url
from vpbsd.volumes.volume import READ_ERRORS, Volume, damaged

__all__ = ["READABLE", "open_volume"]

Opener = Callable[[Path, str | None], Volume]

READABLE = (
    "TIFF (.tif .tiff, or a folder of planes), NIfTI (.nii .nii.gz), OME-Zarr and zarr (.zarr), "
    "HDF5 (.h5 .hdf5), Imaris (.ims), NumPy (.npy)"
)

# The readers are imported on use: the command line must start without h5py, nibabel and zarr.


def _tiff(path: Path, key: str | None) -> Volume:
    from vpbsd.volumes.tiff import open_tiff

    return open_tiff(path, key)


def _planes(path: Path, key: str | None) -> Volume:
    from vpbsd.volumes.planes import open_planes

    _refuse_key(path, key, "a folder of planes")
    return open_planes(path)


def _nifti(path: Path, key: str | None) -> Volume:
    from vpbsd.volumes.nifti import open_nifti

    _refuse_key(path, key, "NIfTI")
    return open_nifti(path)


def _zarr(path: Location, key: str | None) -> Volume:
    from vpbsd.volumes.ome_zarr import open_zarr

    return open_zarr(path, key)


def _hdf5(path: Path, key: str | None) -> Volume:
    from vpbsd.volumes.hdf5 import open_hdf5

    return open_hdf5(path, key)


def _imaris(path: Path, key: str | None) -> Volume:
    from vpbsd.volumes.imaris import open_imaris

    _refuse_key(path, key, "Imaris")
    return open_imaris(path)


def _npy(path: Path, key: str | None) -> Volume:
    from vpbsd.volumes.npy import open_npy

    _refuse_key(path, key, "NumPy")
    return open_npy(path)


def _refuse_key(path: Path, key: str | None, name: str) -> None:
    if key is not None:
        raise VolumeFormatError(
            f"'{path}' is {name} and holds one volume, so there is no '{key}' to choose; "
            "leave the key out"
        )


_BY_SUFFIX: dict[str, Opener] = {
    ".tif": _tiff,
    ".tiff": _tiff,
    ".btf": _tiff,
    ".tf8": _tiff,
    ".nii": _nifti,
    ".nii.gz": _nifti,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".hdf": _hdf5,
    ".ims": _imaris,
    ".npy": _npy,
}

_BY_FIRST_BYTES: dict[bytes, Opener] = {
    b"II*\x00": _tiff,
    b"MM\x00*": _tiff,
    b"II+\x00": _tiff,
    b"MM\x00+": _tiff,
    b"\x89HDF\r\n\x1a\n": _hdf5,
    b"\x93NUMPY": _npy,
}

_ZARR_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def open_volume(
    path: str | Path, *, voxel_size_um: VoxelSize | None = None, key: str | None = None
) -> Volume:
    """Open a volume without reading its voxels.

    Parameters
    ----------
    path : str or Path
        A file, a zarr hierarchy or a folder of TIFF planes; or the URL of a zarr hierarchy, of
        any kind that fsspec knows (``s3://bucket/brain.ome.zarr``).
    voxel_size_um : VoxelSize, optional
        Overrides what the file states, in micrometres along (z, y, x).
    key : str, optional
        Which array, where a file holds several: a dataset in HDF5, a path inside a zarr
        hierarchy, the number of a series in a TIFF.

    Returns
    -------
    Volume
        Read by ``volume.read(box)`` as (c, z, y, x).

    Raises
    ------
    VolumeFormatError
        If the path is missing, of an unknown format, damaged, or not one 3D volume.
    DataError
        If a URL cannot be reached.
    MissingExtraError
        If the library for this kind of URL is not installed.
    """
    volume = _open_url(str(path), key) if is_url(path) else _open_path(Path(path), key)
    return volume if voxel_size_um is None else volume.with_voxel_size(voxel_size_um)


def _open_path(location: Path, key: str | None) -> Volume:
    if not location.exists():
        raise VolumeFormatError(
            f"'{location}' does not exist; check the path (it is taken from '{Path.cwd()}')"
        )
    try:
        return _opener(location)(location, key)
    except READ_ERRORS as error:
        raise damaged(str(location), error) from error


def _open_url(url: str, key: str | None) -> Volume:
    name = url.split("?")[0].rstrip("/").lower()
    if name.endswith(tuple(_BY_SUFFIX)):
        raise VolumeFormatError(
            f"'{url}' is not a zarr hierarchy, and nothing else can be read in pieces from a URL; "
            "copy the file to a disk here, or turn it into OME-Zarr with `vpbsd convert` on a "
            "machine that has it"
        )
    try:
        return _zarr(url, key)
    except READ_ERRORS as error:
        raise damaged(url, error) from error


def _opener(path: Path) -> Opener:
    if path.is_dir():
        if any((path / name).exists() for name in _ZARR_FILES):
            return _zarr
        if path.suffix.lower() == ".zarr":
            raise VolumeFormatError(
                f"'{path}' is named .zarr but holds none of {', '.join(_ZARR_FILES)}; "
                "the copy is probably incomplete (hidden files left out)"
            )
        return _planes
    name = path.name.lower()
    for suffix, opener in _BY_SUFFIX.items():
        if name.endswith(suffix):
            return opener
    with path.open("rb") as file:
        first = file.read(8)
    for magic, opener in _BY_FIRST_BYTES.items():
        if first.startswith(magic):
            return opener
    raise VolumeFormatError(
        f"'{path}' is in no format that can be read ('{path.suffix or 'no suffix'}'); "
        f"readable: {READABLE}"
    )
