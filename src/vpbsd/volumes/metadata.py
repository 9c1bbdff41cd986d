"""The attributes of an OME-Zarr group, versions 0.4 and 0.5.

::

    0.5  zarr.json   {"attributes": {"ome": {"version", "multiscales", "image-label"}, "vpbsd"}}
    0.4  .zattrs     {"multiscales", "image-label", "vpbsd"}

``image-label`` marks a mask, so that viewers show it as labels. ``vpbsd`` is our own: how the
output came about.

Source: https://ngff.openmicroscopy.org, sections multiscales and image-label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Triplet, VoxelSize
from vpbsd.volumes.layout import NgffVersion, OutputLayout
from vpbsd.volumes.store import Location, local_path, open_store
from vpbsd.volumes.volume import READ_ERRORS, damaged

if TYPE_CHECKING:
    import zarr

__all__ = ["Frame", "ome_attributes", "put_attributes", "read_attributes", "require_valid"]

_ATTRIBUTES_KEY = "vpbsd"
# 1 is a vessel in a mask of ours, 255 in one from ImageJ.
_VESSEL_COLOURS = {1: [230, 60, 60, 255], 255: [230, 60, 60, 255]}


@dataclass(frozen=True, slots=True)
class Frame:
    """How the voxels of the finest level lie in space.

    Attributes
    ----------
    scale : tuple of float
        Distance between voxels along (z, y, x), in units.
    translation : tuple of float
        Where the centre of the first voxel lies along (z, y, x), in units.
    units : tuple of (str or None)
        Names of the units along (z, y, x); None where none is stated.
    """

    scale: tuple[float, ...]
    translation: tuple[float, ...]
    units: tuple[str | None, ...]

    @classmethod
    def of(cls, voxel_size_um: VoxelSize) -> Frame:
        """Return the frame of a volume that begins at the origin."""
        return cls(voxel_size_um.zyx_um, (0.0, 0.0, 0.0), ("micrometer",) * 3)

    def transforms(self, factor: Triplet, lead: int) -> list[dict[str, Any]]:
        """Return the transformations of a level, with ``lead`` axes before z.

        ``translation`` is that of the first voxel's centre: a window of f voxels has its centre
        (f - 1) / 2 voxels further than its first voxel.
        """
        scale = [s * f for s, f in zip(self.scale, factor, strict=True)]
        shift = [
            t + (f - 1) / 2 * s
            for t, s, f in zip(self.translation, self.scale, factor, strict=True)
        ]
        return [
            {"type": "scale", "scale": [*[1.0] * lead, *scale]},
            {"type": "translation", "translation": [*[0.0] * lead, *shift]},
        ]

    def axes(self, lead: int) -> list[dict[str, str]]:
        """Return the axes, with ``lead`` channel axes (0 or 1) before z."""
        space = [
            {"name": name, "type": "space"} | ({"unit": unit} if unit else {})
            for name, unit in zip("zyx", self.units, strict=True)
        ]
        return [*({"name": "c", "type": "channel"} for _ in range(lead)), *space]


def ome_attributes(
    layout: OutputLayout,
    name: str,
    factors: Sequence[Triplet],
    frame: Frame,
    *,
    inside_image: bool,
) -> dict[str, Any]:
    """Return what the specification asks of a group with a pyramid.

    Parameters
    ----------
    layout : OutputLayout
        Kind and version.
    name : str
        What viewers call it.
    factors : sequence of tuple
        Of each level against the first, along (z, y, x).
    frame : Frame
        Of the first level.
    inside_image : bool
        Whether the group is ``labels/NAME`` of an image.
    """
    lead = len(layout.lead)
    versioned = {"version": layout.ngff} if layout.ngff == "0.4" else {}
    multiscale = {
        **versioned,
        "name": name,
        "axes": frame.axes(lead),
        "datasets": [
            {"path": str(level), "coordinateTransformations": frame.transforms(factor, lead)}
            for level, factor in enumerate(factors)
        ],
        "type": "majority" if layout.kind == "mask" else "mean",
    }
    attributes: dict[str, Any] = {"multiscales": [multiscale]}
    if layout.ngff == "0.5":
        attributes["version"] = layout.ngff
    if layout.kind == "mask":
        colours = [{"label-value": v, "rgba": rgba} for v, rgba in _VESSEL_COLOURS.items()]
        source = {"source": {"image": "../../"}} if inside_image else {}
        attributes["image-label"] = {"version": layout.ngff, "colors": colours, **source}
    return attributes


def put_attributes(
    group: zarr.Group, ngff: NgffVersion, ome: Mapping[str, Any], about: Mapping[str, Any]
) -> None:
    """Write all attributes of a group at once: it is an image from then on."""
    own = {_ATTRIBUTES_KEY: dict(about)} if about else {}
    group.attrs.put({"ome": dict(ome), **own} if ngff == "0.5" else {**ome, **own})


def require_valid(group: zarr.Group, layout: OutputLayout) -> None:
    """Compare attributes and arrays of a written group with the specification.

    Raises
    ------
    ValueError
        If they contradict it; that is a fault of ours.
    """
    from ome_zarr_models import v04, v05

    version = v05 if layout.ngff == "0.5" else v04
    model = version.ImageLabel if layout.kind == "mask" else version.Image
    model.from_zarr(group)


def read_attributes(location: Location) -> dict[str, Any]:
    """Return the provenance that an output was written with; empty where there is none.

    Parameters
    ----------
    location : str or Path
        A folder or URL.

    Raises
    ------
    VolumeFormatError
        If there is no zarr group at ``location``.
    MissingExtraError
        If the package that speaks a URL's protocol is not installed.
    """
    import zarr

    path = local_path(location)
    if path is not None and not path.is_dir():
        raise VolumeFormatError(f"'{location}' is not a zarr folder; check the path")
    try:
        group = zarr.open_group(open_store(location, read_only=True), mode="r")
        attributes = group.attrs.asdict()
    except READ_ERRORS as error:
        raise damaged(str(location), error) from error
    stored = attributes.get(_ATTRIBUTES_KEY, {})
    return dict(stored) if isinstance(stored, Mapping) else {}
