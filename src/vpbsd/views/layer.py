"""An OME-Zarr image or mask as viewers see it: kind, pyramid, and place in space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vpbsd.errors import DataError, VolumeFormatError, VoxelSizeUnknownError
from vpbsd.geometry import VoxelSize
from vpbsd.volumes import Volume, is_url, open_volume
from vpbsd.volumes.units import micrometres_per
from vpbsd.volumes.volume import READ_ERRORS, damaged

__all__ = ["LayerKind", "ZarrLayer", "open_layer", "pyramid"]

LayerKind = Literal["mask", "labels", "probability", "image"]
Micrometres = tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class ZarrLayer:
    """What a viewer is told of an OME-Zarr.

    Attributes
    ----------
    path, name
        Its folder, and the folder's name without ``.ome.zarr``.
    volume
        Its finest level, read lazily.
    kind
        ``mask``: 1 = vessel; ``labels``: numbers of objects or regions; ``probability``: of
        vessel, times 255; ``image``: anything else.
    zarr_format
        2 or 3.
    voxel_size
        Of the finest level.
    translation_um
        Where the centre of the first voxel lies, (z, y, x).
    ours
        Whether vpbsd wrote it.
    """

    path: Path
    name: str
    volume: Volume
    kind: LayerKind
    zarr_format: Literal[2, 3]
    voxel_size: VoxelSize
    translation_um: Micrometres
    ours: bool

    @property
    def is_labels(self) -> bool:
        """Whether the values name things instead of measuring them."""
        return self.kind in ("mask", "labels")


def pyramid(volume: Volume) -> list[Volume]:
    """Return a volume and the coarser levels that it has on disk, the finest first."""
    levels = [volume]
    while True:
        z, y, x = levels[-1].shape_zyx
        found = levels[-1].coarser(z * y * x - 1)
        if found is None:
            return levels
        levels.append(found[0])


def open_layer(path: Path | str) -> ZarrLayer:
    """Open an OME-Zarr on this machine's disks.

    Parameters
    ----------
    path
        The folder of an image, or of labels inside an image.

    Raises
    ------
    VolumeFormatError
        If it is no OME-Zarr image or labels, or damaged.
    VoxelSizeUnknownError
        If it states no voxel size.
    DataError
        If it is a URL.
    """
    if is_url(path):
        raise DataError(
            f"'{path}' is a URL, but only folders on this machine are shown; give the URL to the "
            "viewer itself, or copy the data here"
        )
    folder = Path(path)
    found = _format(folder)
    if found is None:
        raise VolumeFormatError(
            f"'{folder}' is not the folder of an OME-Zarr, which is what viewers read; check the "
            "path, or turn a file of another format into one: vpbsd convert FILE -o NAME.ome.zarr"
        )
    volume = open_volume(folder)
    try:
        attributes = _attributes(folder)
        ome = attributes.get("ome", attributes)
        translation = _translation_um(ome) if "multiscales" in ome else None
    except READ_ERRORS as error:
        raise damaged(str(folder), error) from error
    if volume.voxel_size_um is None or translation is None:
        raise VoxelSizeUnknownError(
            f"'{folder}' does not state its voxel size, so nothing can be shown at its place; "
            "write a copy that does: vpbsd convert IN -o OUT.ome.zarr --voxel-size Z Y X"
        )
    own = attributes.get("vpbsd")
    return ZarrLayer(
        path=folder,
        name=folder.name.removesuffix(".zarr").removesuffix(".ome") or folder.name,
        volume=volume,
        kind=_kind(own, ome),
        zarr_format=found,
        voxel_size=volume.voxel_size_um,
        translation_um=translation,
        ours=isinstance(own, Mapping),
    )


def _format(folder: Path) -> Literal[2, 3] | None:
    if (folder / "zarr.json").is_file():
        return 3
    return 2 if any((folder / n).is_file() for n in (".zgroup", ".zarray")) else None


def _attributes(folder: Path) -> dict[str, Any]:
    import zarr

    found: dict[str, Any] = zarr.open(folder, mode="r").attrs.asdict()
    return found


def _kind(own: Any, ome: Mapping[str, Any]) -> LayerKind:
    stated = own.get("kind") if isinstance(own, Mapping) else None
    if stated in ("mask", "labels", "probability"):
        kind: LayerKind = stated
        return kind
    return "labels" if "image-label" in ome else "image"


def _translation_um(ome: Mapping[str, Any]) -> Micrometres:
    """Return the place of the first voxel, by the transformations of level and multiscale."""
    multiscale = ome["multiscales"][0]
    axes: Sequence[Any] = multiscale["axes"]
    names = [str(a["name"]) if isinstance(a, Mapping) else str(a) for a in axes]
    inner = _transform(multiscale["datasets"][0], len(names))
    outer = _transform(multiscale, len(names))
    shift = []
    for name in "zyx":
        at = names.index(name)
        unit = micrometres_per(axes[at].get("unit") if isinstance(axes[at], Mapping) else None)
        shift.append((inner[at][1] * outer[at][0] + outer[at][1]) * (unit or 1.0))
    z, y, x = shift
    return (z, y, x)


def _transform(owner: Mapping[str, Any], axes: int) -> list[tuple[float, float]]:
    """Return scale and translation along each axis."""
    scale, translation = [1.0] * axes, [0.0] * axes
    for transform in owner.get("coordinateTransformations") or []:
        if transform["type"] == "scale":
            scale = [float(v) for v in transform["scale"]]
        elif transform["type"] == "translation":
            translation = [float(v) for v in transform["translation"]]
    return list(zip(scale, translation, strict=True))
