from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpbsd.errors import VolumeFormatError
from vpbsd.volumes import open_volume


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4)), "2D image"),
        (np.zeros((1, 1, 2, 3, 4)), "5 axes"),
        (np.zeros((2, 3, 4), bool), "type bool"),
        (np.zeros((2, 3, 4), complex), "type complex128"),
        (np.array([[[None, 1]]], dtype=object), "type object"),
        (np.zeros((2, 0, 4)), "empty along an axis"),
    ],
)
def test_arrays_that_are_no_volume_are_refused(
    array: np.ndarray, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(VolumeFormatError, match=rf"a\.npy' .*{message}"):
        open_volume(path)


def test_a_single_plane_with_three_axes_is_a_volume(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((1, 3, 4), np.float16))
    assert open_volume(tmp_path / "a.npy").shape == (1, 1, 3, 4)
