"""The widget in a real Qt event loop; the viewer is napari's model, which needs no OpenGL."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vpbsd.geometry import Box


@pytest.fixture(autouse=True)
def fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any processor the arithmetic whose result does not depend on the cut."""
    monkeypatch.setattr("vpbsd.machine.cpu_flags", frozenset)


@pytest.fixture
def viewer(qt):
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def widget(viewer, student_file: Path):
    from vpbsd.views.plugin.widget import SegmentCrop

    made = SegmentCrop(viewer)
    made.model.value = student_file
    made.box_voxels.value = "20 30 40"
    yield made
    made.close()


@pytest.fixture
def told() -> Callable[[], list[str]]:
    """What napari has notified the user of since the test began."""
    from napari.utils.notifications import notification_manager

    before = len(notification_manager.records)
    return lambda: [str(r.message) for r in notification_manager.records[before:]]


def run(qt, widget, seconds: float = 60) -> None:
    """Press Segment and let Qt work until the thread has ended."""
    widget.start.changed.emit(True)
    wait(qt, lambda: widget.worker is None, seconds)


def wait(qt, done: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "the thread has not ended"
        qt.processEvents()
        time.sleep(0.005)


def look_at(viewer, layer, voxel: tuple[int, int, int]) -> None:
    """Move slice and camera of a 2D view to a voxel."""
    world = layer.data_to_world(voxel)
    viewer.dims.set_point(0, world[0])
    viewer.scene.camera.center = (0, *world[1:])


def test_box_around_the_middle(qt, viewer, widget, array, whole, told) -> None:
    image = viewer.add_image(
        array, scale=(4, 2, 2), translate=(100, 7, 0), units=("micrometer",) * 3, name="brain"
    )
    look_at(viewer, image, (20, 40, 50))
    run(qt, widget)
    assert told() == []
    mask = viewer.layers["brain vessels"]
    # 20 voxels of which the middle lies between 19 and 20, and so on.
    assert mask.metadata["vpbsd"]["start_voxels"] == (10, 26, 30)
    assert mask.data.shape == (20, 30, 40)
    assert 0.01 < mask.data.mean() < 0.9
    assert np.array_equal(mask.data, whole[10:30, 26:56, 30:70])
    assert mask.scale.tolist() == [4, 2, 2]
    assert mask.translate.tolist() == [100 + 40, 7 + 52, 60]
    assert [str(u) for u in mask.units] == ["micrometer"] * 3
    assert type(mask).__name__ == "Labels"
    assert (widget.progress.value, widget.progress.max) == (1, 1)
    assert (widget.start.enabled, widget.cancel.enabled) == (True, False)


def test_pyramid_of_lazy_arrays(qt, viewer, widget, array, whole, told) -> None:
    import dask.array as da

    levels = [da.from_array(a, chunks=16) for a in (array, array[::2, ::2, ::2])]
    image = viewer.add_image(levels, multiscale=True, scale=(4, 2, 2), name="brain")
    look_at(viewer, image, (24, 36, 45))
    run(qt, widget)
    assert told() == []
    mask = viewer.layers["brain vessels"]
    start = mask.metadata["vpbsd"]["start_voxels"]
    box = Box.at(start, (20, 30, 40))
    assert mask.data.shape == (20, 30, 40)
    assert np.mean(mask.data == whole[box.slices]) > 0.99  # its scale comes from level 1


def test_turned_and_mirrored_image(qt, viewer, widget, array) -> None:
    turn = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    affine = np.diag([1.0, 1.0, -1.0, 1.0])
    affine[:3, 3] = (5, 6, 7)
    image = viewer.add_image(
        array, scale=(4, 2, 2), translate=(1, 2, 3), rotate=turn, affine=affine, name="brain"
    )
    look_at(viewer, image, (20, 40, 50))
    run(qt, widget)
    mask = viewer.layers["brain vessels"]
    start = np.array(mask.metadata["vpbsd"]["start_voxels"])
    for voxel in ((0, 0, 0), (3, 5, 7)):
        there = image.data_to_world(start + voxel)
        assert mask.data_to_world(voxel) == pytest.approx(there, abs=1e-6)


def test_what_the_view_shows(qt, viewer, widget, array, whole) -> None:
    from vpbsd.views.plugin.widget import _VIEW

    image = viewer.add_image(array, scale=(4, 2, 2), name="brain")
    look_at(viewer, image, (20, 36, 45))
    image.corner_pixels = np.array([[0, 10, 12], [0, 40, 200]])  # a canvas would set them
    widget.where.value = _VIEW
    run(qt, widget)
    mask = viewer.layers["brain vessels"]
    assert mask.metadata["vpbsd"]["start_voxels"] == (10, 10, 12)
    assert mask.metadata["vpbsd"]["stop_voxels"] == (30, 41, 90)
    assert np.array_equal(mask.data, whole[10:30, 10:41, 12:90])


def test_voxel_size_is_asked_for(qt, viewer, widget, array, told) -> None:
    image = viewer.add_image(array, name="brain")
    look_at(viewer, image, (20, 40, 50))
    run(qt, widget)
    assert told() == [
        "layer 'brain' does not say how large its voxels are (its scale is 1, without units); "
        "write the voxel size in µm into the widget, as z y x"
    ]
    widget.voxel_size_um.value = "4, 2, 2"
    run(qt, widget)
    assert len(told()) == 1
    assert viewer.layers["brain vessels"].scale.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("box_voxels", "20 30", "write the box as three numbers, z y x; got '20 30'"),
        ("box_voxels", "", "three numbers, as in 64 128 128"),
        ("box_voxels", "0 1 1", "three numbers, as in 64 128 128"),
        ("voxel_size_um", "2 µm", "write the voxel size as three numbers"),
        ("voxel_size_um", "2 2 -2", "must be"),
        ("threshold", "high", "a number between 0 and 1, got 'high'"),
        ("threshold", "3", "between 0 and 1, got 3"),
        ("model", None, "choose a model first"),
        ("model", Path("nowhere.safetensors"), "nowhere.safetensors"),
    ],
)
def test_mistakes_are_one_sentence(
    qt, viewer, widget, array, told, field: str, value: object, sentence: str
) -> None:
    image = viewer.add_image(array, scale=(4, 2, 2))
    look_at(viewer, image, (20, 40, 50))
    getattr(widget, field).value = value
    run(qt, widget)
    (message,) = told()
    assert sentence in message
    assert "\n" not in message
    assert len(viewer.layers) == 1
    assert widget.start.enabled


def test_no_image_and_no_volume(qt, viewer, widget, array, told) -> None:
    run(qt, widget)
    viewer.add_image(np.zeros((2, *array.shape), np.uint8), name="times", scale=(1, 4, 2, 2))
    run(qt, widget)
    first, second = told()
    assert "open an image first" in first
    assert "one volume (z, y, x)" in second


def test_view_beside_the_image(qt, viewer, widget, array, told) -> None:
    image = viewer.add_image(array, scale=(4, 2, 2))
    look_at(viewer, image, (20, 400, 50))
    run(qt, widget)
    (message,) = told()
    assert "lies outside the image of (45, 70, 90) voxels; move the view" in message


def test_damaged_image_is_told(qt, viewer, widget, array, told) -> None:
    broken = array.astype(np.float32)
    broken[20, 40, 50] = np.nan
    image = viewer.add_image(broken, scale=(4, 2, 2), contrast_limits=(0, 255))
    look_at(viewer, image, (20, 40, 50))
    run(qt, widget)
    assert any("NaN" in message for message in told())
    assert len(viewer.layers) == 1


def test_fault_in_the_thread_is_not_swallowed(
    qt, viewer, widget, array, told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("vpbsd.models.load_model", fail)
    image = viewer.add_image(array, scale=(4, 2, 2), name="brain")
    look_at(viewer, image, (20, 40, 50))
    run(qt, widget)
    assert told() == ["'brain' could not be segmented: out of memory"]


def test_nothing_found_is_told(qt, viewer, widget, array, told) -> None:
    image = viewer.add_image(array, scale=(4, 2, 2), name="brain")
    look_at(viewer, image, (20, 40, 50))
    widget.threshold.value = "0.999999"
    run(qt, widget)
    (message,) = told()
    assert message.startswith("no vessel was found in this part")
    assert not viewer.layers["brain vessels"].data.any()


def test_cancel(qt, viewer, widget, array, told, monkeypatch: pytest.MonkeyPatch) -> None:
    import vpbsd.views.plugin.crop as crop

    original, computed = crop.SegmentBlock.compute, []

    def slow(self, block, data):
        computed.append(block.index)
        time.sleep(0.2)
        return original(self, block, data)

    monkeypatch.setattr(crop.SegmentBlock, "compute", slow)
    monkeypatch.setattr(crop, "_BLOCK_VOXELS", 8)
    image = viewer.add_image(array, scale=(4, 2, 2))
    look_at(viewer, image, (20, 40, 50))
    widget.start.changed.emit(True)
    assert (widget.start.enabled, widget.cancel.enabled) == (False, True)
    wait(qt, lambda: len(computed) >= 2)
    widget.cancel.changed.emit(True)
    wait(qt, lambda: widget.worker is None)
    assert len(computed) < 10, "of 96 blocks"
    assert len(viewer.layers) == 1
    assert told() == []
    assert widget.start.enabled


def test_images_that_come_and_go_are_offered(viewer, widget, array) -> None:
    assert widget.image.choices == ()
    image = viewer.add_image(array)
    viewer.add_labels(np.zeros(array.shape, np.uint8))
    viewer.add_image(np.zeros((4, 4, 3), np.uint8), rgb=True)
    assert widget.image.choices == (image,)
    viewer.layers.remove(image)
    assert widget.image.choices == ()
