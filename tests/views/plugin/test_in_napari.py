"""The plugin as napari finds it: by its manifest, through napari's own ways to open and to dock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vpbsd.views import plugin


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Make the manifest known, as installing the package does."""
    npe2 = pytest.importorskip("npe2")
    manager = npe2.PluginManager.instance()
    installed = "vpbsd" in manager
    if not installed:
        path = Path(plugin.__file__).with_name("napari.yaml")
        manager.register(npe2.PluginManifest.from_file(path))
    yield
    if not installed:
        manager.unregister("vpbsd")


def test_open_and_sample(qt, brain: Path, graph_folder: Path) -> None:
    from napari.components import ViewerModel

    viewer = ViewerModel()
    for path in (brain / "image.ome.zarr", brain / "mask.ome.zarr", graph_folder):
        viewer.open(str(path), plugin="vpbsd")
    viewer.open_sample("vpbsd", "simulated")
    assert [(layer.name, type(layer).__name__) for layer in viewer.layers] == [
        ("image", "Image"),
        ("mask", "Labels"),
        ("graph vessels", "Vectors"),
        ("graph nodes", "Points"),
        ("simulated vessels", "Image"),
        ("truth", "Labels"),
    ]


@pytest.mark.slow
def test_widget_in_a_window(qt) -> None:
    # A window opens without a screen, but without OpenGL no layer can be drawn in it.
    import napari

    from vpbsd.views.plugin.widget import SegmentCrop

    viewer = napari.Viewer(show=False)
    try:
        _, widget = viewer.window.add_plugin_dock_widget("vpbsd", "Segment vessels")
        assert isinstance(widget, SegmentCrop)
        assert widget.image.choices == ()
    finally:
        viewer.close()
