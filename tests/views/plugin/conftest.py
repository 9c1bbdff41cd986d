"""napari without a screen: Qt draws into memory, and the viewer is its model alone."""

from __future__ import annotations

import os

# Before anything imports Qt.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import pytest


@pytest.fixture(scope="session")
def qt() -> object:
    """The Qt application, which widgets need."""
    qtpy = pytest.importorskip("qtpy.QtWidgets", reason="needs a Qt")
    return qtpy.QApplication.instance() or qtpy.QApplication([])
