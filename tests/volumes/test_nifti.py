from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box
from vpbsd.volumes import open_volume


def _save(path: Path, xyz: np.ndarray, unit: str, time_unit: str = "unknown") -> None:
    image = nib.Nifti1Image(xyz, np.diag([1.25, 2.5, 5.0, 1.0]))
    image.header.set_xyzt_units(unit, time_unit)
    nib.save(image, path)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("mm", (5000.0, 2500.0, 1250.0)),
        ("micron", (5.0, 2.5, 1.25)),
        ("meter", (5e6, 2.5e6, 1.25e6)),
        ("unknown", None),
    ],
)
def test_voxel_size_needs_a_unit(
    unit: str, expected: tuple[float, float, float] | None, tmp_path: Path
) -> None:
    _save(tmp_path / "a.nii", np.zeros((7, 6, 5), np.int16), unit)
    volume = open_volume(tmp_path / "a.nii")
    if expected is None:
        assert volume.voxel_size_um is None
    else:
        assert volume.require_voxel_size().zyx_um == pytest.approx(expected)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_slope_and_intercept_are_applied(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(4, 3, 2), np.eye(4))
    image.header.set_slope_inter(0.5, 10.0)
    nib.save(image, path)
    raw = nib.load(path).dataobj
    assert (float(raw.slope), float(raw.inter)) == (0.5, 10.0)
    stored = raw.get_unscaled()[3, 2, 1]
    volume = open_volume(path)
    assert volume.dtype == np.float32
    assert volume.read(Box((1, 2, 3), (2, 3, 4))).item() == stored * 0.5 + 10.0


def test_time_series_and_2d_images_are_refused(tmp_path: Path) -> None:
    _save(tmp_path / "t.nii", np.zeros((7, 6, 5, 3), np.int16), "mm", "sec")
    with pytest.raises(VolumeFormatError, match="3 time points"):
        open_volume(tmp_path / "t.nii")
    nib.save(nib.Nifti1Image(np.zeros((7, 6), np.int16), np.eye(4)), tmp_path / "2d.nii")
    with pytest.raises(VolumeFormatError, match="2D image"):
        open_volume(tmp_path / "2d.nii")


def test_colour_and_complex_values_are_refused(tmp_path: Path) -> None:
    rgb = np.zeros((7, 6, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for name, values in (("rgb.nii", rgb), ("complex.nii", np.zeros((7, 6, 5), np.complex64))):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / name)
        with pytest.raises(VolumeFormatError, match=f"{name}' holds values of type"):
            open_volume(tmp_path / name)


def test_a_truncated_large_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    noise = np.random.default_rng(0).integers(0, 60000, (40, 40, 40)).astype(np.uint16)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:-30000])
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.read(Box((0, 0, 0), (2, 40, 40)))[0], noise[..., :2].T)
    with pytest.raises(VolumeFormatError, match=r"a\.nii\.gz' cannot be read"):
        volume.read(Box((38, 0, 0), (40, 40, 40)))
