"""napari without a screen: Qt draws into memory, and the viewer is its model alone."""

from __future__ import annotations

import os

# Before anything imports Qt.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest


@pytest.fixture(scope="session")
def qt() -> object:
    """The Qt application, which widgets need."""
    qtpy = pytest.importorskip("qtpy.QtWidgets", reason="needs a Qt")
    return qtpy.QApplication.instance() or qtpy.QApplication([])


@pytest.fixture(scope="session")
def array() -> np.ndarray:
    """A simulated image; no edge is a multiple of 4, the student's stride."""
    from vpbsd.config import SimulateConfig
    from vpbsd.data.simulate import simulate_volume

    return simulate_volume(SimulateConfig(shape_voxels=(45, 70, 90)), 0).image


@pytest.fixture(scope="session")
def whole(array, student_file, tmp_path_factory) -> np.ndarray:
    """The mask of the whole image by segment_volume."""
    from vpbsd.geometry import Box, VoxelSize
    from vpbsd.models import load_model
    from vpbsd.segment import SegmentOptions, segment_volume
    from vpbsd.volumes import ArrayVolume, open_volume

    out = tmp_path_factory.mktemp("whole") / "mask.ome.zarr"
    options = SegmentOptions(precision="fp32", progress=False)
    volume = ArrayVolume(array, VoxelSize(4, 2, 2))
    segment_volume(volume, load_model(student_file), out, options)
    return open_volume(out).read(Box.whole(array.shape))[0]
