"""The widget: segment what napari shows of an image, and see the result in its place.

The work is done in a thread, block by block; between two blocks it can be cancelled. What a user
can mend is shown as one sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpbsd.errors import ConfigError, MissingExtraError, VpbsdError
from vpbsd.geometry import Box

try:
    from magicgui.types import FileDialogMode
    from magicgui.widgets import (
        CheckBox,
        ComboBox,
        Container,
        FileEdit,
        LineEdit,
        ProgressBar,
        PushButton,
        RadioButtons,
    )
    from napari.layers import Image
    from napari.utils import notifications
except ImportError as error:
    raise MissingExtraError(
        f"the widget lives in napari, which cannot be imported ({error}): pip install "
        "'vpbsd[napari]', and choose a Qt as napari's documentation says"
    ) from error

from vpbsd.views.plugin.layer_volume import LayerVolume, layer_voxel_size, translation_of
from vpbsd.views.plugin.place import box_around, centre_voxel, view_box

if TYPE_CHECKING:
    from vpbsd.views.plugin.crop import Crop

__all__ = ["SegmentCrop"]

_BOX, _VIEW = "box around the middle of the view", "what the view shows"
_FIRST_BOX = "64 128 128"


class SegmentCrop(Container[Any]):
    """Chooses an image layer, a model and a part, and adds the mask of that part as a layer.

    Parameters
    ----------
    napari_viewer
        Given by napari.

    Attributes
    ----------
    image, model, where, box_voxels, voxel_size_um, threshold, invert
        What the user sets.
    start, cancel, progress
        Buttons and bar.
    worker
        The thread at work; None while there is none.
    """

    def __init__(self, napari_viewer: Any) -> None:
        self._viewer = napari_viewer
        self.worker: Any = None
        self.image = ComboBox(label="image", choices=self._images)
        self.model = FileEdit(
            label="model", mode=FileDialogMode.EXISTING_FILE, filter="*.safetensors", nullable=True
        )
        self.model.tooltip = "a model file; the folder of a run can be written in"
        self.where = RadioButtons(label="part", choices=[_BOX, _VIEW])
        self.where.value = _BOX
        self.box_voxels = LineEdit(label="box, z y x voxels", value=_FIRST_BOX)
        self.voxel_size_um = LineEdit(label="voxel size, z y x µm")
        self.voxel_size_um.tooltip = "empty: that of the layer"
        self.threshold = LineEdit(label="threshold")
        self.threshold.tooltip = "probability between 0 and 1; empty: the model's own"
        self.invert = CheckBox(label="vessels are darker than the tissue")
        self.start = PushButton(text="Segment")
        self.cancel = PushButton(text="Cancel", enabled=False)
        self.progress = ProgressBar(value=0, max=1, label="blocks")
        super().__init__(
            widgets=[
                *(self.image, self.model, self.where, self.box_voxels, self.voxel_size_um),
                *(self.threshold, self.invert, self.start, self.cancel, self.progress),
            ]
        )
        self.start.changed.connect(self.segment)
        self.cancel.changed.connect(self.stop)
        layers = napari_viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.reordered):
            event.connect(self._look_for_images)

    def segment(self) -> None:
        """Begin in a thread; what is wrong with the settings is told at once."""
        from napari.qt.threading import create_worker

        if self.worker is not None:
            return
        try:
            work = self._work()
        except VpbsdError as error:
            notifications.show_error(str(error))
            return
        worker: Any = create_worker(work, _start_thread=False, _ignore_errors=True)
        worker.yielded.connect(self._advance)
        worker.returned.connect(self._show)
        worker.errored.connect(self._fail)
        worker.finished.connect(self._end)
        self.worker = worker
        self.start.enabled, self.cancel.enabled = False, True
        self.progress.value = 0
        worker.start()

    def stop(self) -> None:
        """Ask the thread to end after the block that it is at."""
        if self.worker is not None:
            self.worker.quit()
            self.cancel.enabled = False

    def _work(self) -> Callable[[], Generator[Crop, None, tuple[Crop, Any]]]:
        """Return what the thread does, with all that it needs of the viewer taken now."""
        layer = self.image.value
        if layer is None:
            raise ConfigError("there is no image layer to segment; open an image first")
        levels = list(layer.data) if layer.multiscale else [layer.data]
        size = _numbers(self.voxel_size_um.value, "the voxel size", float)
        volume = LayerVolume(levels, layer.name, layer_voxel_size(layer, size))
        box = self._box(layer)
        path = _model_path(self.model.value)
        threshold = _threshold(self.threshold.value)
        invert = bool(self.invert.value)

        def work() -> Generator[Crop, None, tuple[Crop, Any]]:
            # Both load torch, which takes seconds; the viewer goes on meanwhile.
            from vpbsd.models import load_model
            from vpbsd.views.plugin.crop import segment_crop

            try:
                model = load_model(path)
                for crop in segment_crop(volume, model, box, threshold=threshold, invert=invert):
                    yield crop
            except RuntimeError as error:
                # Napari's worker takes these for a thread that was stopped, and says nothing.
                raise VpbsdError(f"'{layer.name}' could not be segmented: {error}") from error
            return crop, layer

        return work

    def _box(self, layer: Any) -> Box:
        edges = _numbers(self.box_voxels.value, "the box", int)
        if edges is None or min(edges) < 1:
            raise ConfigError(f"write the edges of the box as three numbers, as in {_FIRST_BOX}")
        if self.where.value == _VIEW:
            return view_box(self._viewer, layer, edges)
        shape = (layer.data[0] if layer.multiscale else layer.data).shape
        return box_around(centre_voxel(self._viewer, layer), edges, shape)

    def _advance(self, crop: Crop) -> None:
        self.progress.max, self.progress.value = crop.total, crop.done

    def _show(self, result: tuple[Crop, Any]) -> None:
        """Add the mask to the viewer, in its place and turned as the image is."""
        crop, layer = result
        self._viewer.add_labels(
            crop.mask,
            name=f"{layer.name} vessels",
            scale=layer.scale,
            translate=translation_of(layer, crop.box.start),
            rotate=layer.rotate,
            shear=layer.shear,
            affine=layer.affine,
            units=layer.units,
            opacity=0.6,
            metadata={
                "vpbsd": {
                    "start_voxels": crop.box.start,
                    "stop_voxels": crop.box.stop,
                    "threshold": crop.threshold,
                    "model": str(self.model.value),
                }
            },
        )
        if not crop.mask.any():
            notifications.show_warning(
                "no vessel was found in this part: is it the right channel, are vessels brighter "
                "than the tissue (else tick 'darker'), is the threshold too high?"
            )

    def _fail(self, error: Exception) -> None:
        if isinstance(error, VpbsdError):
            notifications.show_error(str(error))
        else:  # a fault of ours: with its traceback, to be reported
            notifications.notification_manager.dispatch(notifications.ErrorNotification(error))

    def _end(self) -> None:
        self.worker = None
        self.start.enabled, self.cancel.enabled = True, False

    def _images(self, _: Any = None) -> list[Any]:
        return [v for v in self._viewer.layers if isinstance(v, Image) and not v.rgb]

    def _look_for_images(self, _: Any = None) -> None:
        self.image.reset_choices()


def _numbers(text: str, what: str, kind: type[int] | type[float]) -> tuple[Any, ...] | None:
    """Return three numbers, by spaces, commas or x between them; None for an empty text.

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    words = text.replace(",", " ").replace("x", " ").split()
    if not words:
        return None
    try:
        found = tuple(kind(word) for word in words)
    except ValueError:
        found = ()
    if len(found) != 3:
        raise ConfigError(f"write {what} as three numbers, z y x; got '{text}'")
    return found


def _threshold(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"the threshold is a number between 0 and 1, got '{text}'") from None


def _model_path(value: Any) -> Path:
    if value is None or not str(value).strip() or value == Path():
        raise ConfigError("choose a model first: the folder of a run, or a .safetensors file")
    return Path(value)
