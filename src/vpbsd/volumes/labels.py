"""Masks inside the folder of the OME-Zarr image that they belong to.

::

    IMAGE.ome.zarr/
      0  1  2 …               the image's own levels, never written to
      labels/                 group: "labels", the list of names
        NAME/                 a pyramid with as many levels, by the same factors, over it

Source: https://ngff.openmicroscopy.org, section labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from vpbsd.errors import OutputError
from vpbsd.geometry import Triplet, as_triplet
from vpbsd.volumes.layout import NgffVersion
from vpbsd.volumes.metadata import Frame
from vpbsd.volumes.store import Location, local_path
from vpbsd.volumes.volume import READ_ERRORS

__all__ = ["LabelledImage", "image_of", "labels_image"]

_LABELS = "labels"


def labels_image(location: Location) -> Path | None:
    """Return IMAGE of ``IMAGE/labels/NAME``, where IMAGE is a local zarr group; None otherwise."""
    path = local_path(location)
    if path is None or path.parent.name != _LABELS:
        return None
    image = path.parent.parent
    return image if any((image / n).is_file() for n in ("zarr.json", ".zgroup")) else None


def image_of(location: Location) -> LabelledImage | None:
    """Return the image that labels at ``location`` belong to; None for an output of its own.

    Raises
    ------
    OutputError
        If the location is that of labels, but in no image that they can be put into.
    """
    path = labels_image(location)
    if path is not None:
        return LabelledImage.read(path)
    image, _, tail = str(location).rstrip("/").rpartition(f"/{_LABELS}/")
    if image.endswith(".zarr") and "/" not in tail:
        raise OutputError(
            f"there is no OME-Zarr image '{image}' on a local disk, so that no labels can be put "
            "into it: check the path, or write the mask on its own, as NAME.ome.zarr"
        )
    return None


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """What a mask takes over from the image that it lies in.

    Attributes
    ----------
    path : Path
        The image's group.
    ngff : str
        Its version, 0.4 or 0.5.
    shape_zyx : tuple of int
        Of its finest level.
    factors : list of tuple
        Of each level against the first, along (z, y, x).
    frame : Frame
        Units, scale and translation of its finest level.
    """

    path: Path
    ngff: NgffVersion
    shape_zyx: Triplet
    factors: list[Triplet]
    frame: Frame

    @classmethod
    def read(cls, path: Path) -> LabelledImage:
        """Read the metadata of an image.

        Raises
        ------
        OutputError
            If it is not a valid OME-Zarr image of version 0.4 or 0.5, or its levels are not
            each a whole multiple coarser than the one before.
        """
        import zarr
        from ome_zarr_models.v04.multiscales import Multiscale as Multiscale04
        from ome_zarr_models.v05.multiscales import Multiscale as Multiscale05

        try:
            group = zarr.open_group(path, mode="r")
            ngff: NgffVersion = "0.4" if group.metadata.zarr_format == 2 else "0.5"
            attributes: Any = group.attrs.asdict()
            # Only the pyramid itself: other labels, or colours, may be at fault without harm.
            multiscale = (
                Multiscale04.model_validate(attributes["multiscales"][0])
                if ngff == "0.4"
                else Multiscale05.model_validate(attributes["ome"]["multiscales"][0])
            )
            letters = [str(axis.name) for axis in multiscale.axes]
            at = [letters.index(letter) for letter in "zyx"]
            outer = _transform(multiscale.coordinateTransformations, at)
            levels = [_transform(d.coordinateTransformations, at) for d in multiscale.datasets]
            shapes = [_shape(group, str(d.path), at) for d in multiscale.datasets]
        except READ_ERRORS as error:
            raise OutputError(
                f"'{path}' is not an OME-Zarr image of version 0.4 or 0.5 with axes z, y and x "
                f"({_first_line(error)}), so that no labels can be put into it: write the mask "
                "beside it, as NAME.ome.zarr"
            ) from error
        finest = levels[0].inside(outer)
        units = [getattr(multiscale.axes[i], "unit", None) for i in at]
        frame = Frame(finest.scale, finest.translation, tuple(units))
        factors = [_factor(levels, shapes, level) for level in range(len(levels))]
        _require_multiples(path, factors)
        return cls(path, ngff, shapes[0], factors, frame)

    def require_shape(self, shape_zyx: Triplet) -> None:
        """Refuse a mask that does not cover the image voxel by voxel.

        Raises
        ------
        OutputError
            If the shapes differ.
        """
        if shape_zyx != self.shape_zyx:
            raise OutputError(
                f"labels in '{self.path}' must have its shape (z, y, x) {self.shape_zyx}, but "
                f"the mask has {shape_zyx}: choose the image that was segmented, or write the "
                "mask beside it, as NAME.ome.zarr"
            )

    def register(self, name: str) -> None:
        """Add ``name`` to the image's list of labels; names that are there stay.

        Raises
        ------
        OutputError
            If the group of labels cannot be read.
        """
        import zarr
        from filelock import FileLock

        folder = self.path / _LABELS
        # Another process may add its own name between our reading of the list and our writing.
        with FileLock(self.path.parent / f".{self.path.name}.labels.lock"):
            try:
                group = zarr.open_group(folder, mode="a", zarr_format=2 if self._is_v2 else 3)
            except READ_ERRORS as error:
                raise OutputError(
                    f"the list of labels in '{folder}' cannot be read: {_first_line(error)}; "
                    f"mend it, then add '{name}' to it, which is written completely"
                ) from error
            attributes: dict[str, Any] = group.attrs.asdict()
            listed = attributes if self._is_v2 else attributes.get("ome", {})
            names = [str(n) for n in listed.get(_LABELS, [])]
            if name in names:
                return
            entry: dict[str, Any] = {_LABELS: [*names, name]}
            if self._is_v2:
                group.attrs.put({**attributes, **entry})
            else:
                ome = {"version": self.ngff, **listed, **entry}
                group.attrs.put({**attributes, "ome": ome})

    @property
    def _is_v2(self) -> bool:
        return self.ngff == "0.4"


@dataclass(frozen=True, slots=True)
class _Transform:
    scale: tuple[float, ...]
    translation: tuple[float, ...]

    def inside(self, outer: _Transform) -> _Transform:
        """Return this transformation followed by ``outer``."""
        scale = [a * b for a, b in zip(self.scale, outer.scale, strict=True)]
        moved = zip(self.translation, outer.scale, outer.translation, strict=True)
        return _Transform(tuple(scale), tuple(t * s + shift for t, s, shift in moved))


def _transform(transforms: Sequence[Any] | None, at: Sequence[int]) -> _Transform:
    """Return scale and translation along (z, y, x) of a checked list of transformations."""
    scale: tuple[float, ...] = (1.0, 1.0, 1.0)
    translation: tuple[float, ...] = (0.0, 0.0, 0.0)
    for transform in transforms or ():
        if transform.type == "scale":
            scale = tuple(float(transform.scale[i]) for i in at)
        elif transform.type == "translation":
            translation = tuple(float(transform.translation[i]) for i in at)
    return _Transform(scale, translation)


def _shape(group: Any, name: str, at: Sequence[int]) -> Triplet:
    shape = group[name].shape
    return as_triplet([shape[i] for i in at])


def _factor(levels: Sequence[_Transform], shapes: Sequence[Triplet], level: int) -> Triplet:
    """Return the factor of a level: that of its scale, where its shape bears it out."""
    factor = []
    for axis in range(3):
        fine, coarse = shapes[0][axis], shapes[level][axis]
        by_scale = max(1, round(levels[level].scale[axis] / levels[0].scale[axis]))
        agrees = abs(fine / by_scale - coarse) < 1
        factor.append(by_scale if agrees else max(1, round(fine / coarse)))
    return as_triplet(factor)


def _require_multiples(path: Path, factors: Sequence[Triplet]) -> None:
    for finer, coarser in pairwise(factors):
        if any(c % f for f, c in zip(finer, coarser, strict=True)):
            raise OutputError(
                f"the levels of '{path}' are coarser by {factors}, of which {coarser} is no "
                f"multiple of {finer}, so that no mask can follow them: write the mask beside "
                "it, as NAME.ome.zarr"
            )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
