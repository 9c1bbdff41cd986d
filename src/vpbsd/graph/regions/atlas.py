"""Regions of a BrainGlobe atlas (Allen mouse brain and others) for a brain registered to it.

brainglobe-atlasapi finds the atlas in its own folder or downloads it (Claudi et al., JOSS 5(54),
2020). Atlases are stored with the first axis from anterior to posterior, the second from superior
to inferior and the third from right to left ("asr"); a mask registered to one must be stored alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError, MissingExtraError
from vpbsd.geometry import Triplet, VoxelSize
from vpbsd.graph.regions.names import RegionNames
from vpbsd.graph.regions.volume import RegionVolume
from vpbsd.volumes import ArrayVolume

__all__ = ["Atlas", "AtlasOpener", "atlas_names", "atlas_regions", "open_atlas"]

_ORIENTATION = "asr"


class Atlas(Protocol):
    """What is used of ``brainglobe_atlasapi.BrainGlobeAtlas``."""

    @property
    def annotation(self) -> NDArray[Any]:
        """Labels, in the atlas's orientation."""
        ...

    @property
    def resolution(self) -> tuple[float, float, float]:
        """Voxel size in µm, one for each axis of the labels."""
        ...

    @property
    def orientation(self) -> str:
        """Where the axes start: "asr" is anterior, superior, right."""
        ...

    @property
    def structures(self) -> Mapping[Any, Mapping[str, Any]]:
        """Regions by id, each with "id", "name" and "structure_id_path" from the root down."""
        ...


AtlasOpener = Callable[[str], Atlas]


def open_atlas(name: str) -> Atlas:
    """Open an atlas by its name, such as ``allen_mouse_25um``.

    Raises
    ------
    MissingExtraError
        If brainglobe-atlasapi is not installed.
    DataError
        If there is no such atlas, here or to be downloaded.
    """
    try:
        from brainglobe_atlasapi import BrainGlobeAtlas
    except ImportError as error:
        raise MissingExtraError(
            "atlases are read with brainglobe-atlasapi, which is not installed; "
            "pip install 'vpbsd[atlas]'"
        ) from error
    try:
        atlas: Atlas = BrainGlobeAtlas(name, check_latest=False)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise DataError(
            f"the atlas '{name}' cannot be opened: {error}; brainglobe list --show-local names "
            "those that are here, and brainglobe install -a NAME downloads one"
        ) from error
    return atlas


def atlas_regions(
    name: str,
    mask_shape: Triplet,
    mask_voxel_size: VoxelSize,
    opener: AtlasOpener = open_atlas,
) -> RegionVolume:
    """Return the regions of an atlas as label volume of a mask that is registered to it.

    Parameters
    ----------
    name
        Of the atlas.
    mask_shape, mask_voxel_size
        Of the mask, whose axes must run as those of the atlas.
    opener
        Opens the atlas.

    Raises
    ------
    MissingExtraError, DataError
        As :func:`open_atlas`; DataError also if the mask does not cover the box of the atlas.
    """
    atlas = opener(name)
    if atlas.orientation.lower() != _ORIENTATION:
        raise DataError(
            f"the atlas '{name}' is stored as '{atlas.orientation}', but only '{_ORIENTATION}' "
            "(axes from anterior, superior and right) is known here: save its annotation in that "
            "order as a label volume and name it with --regions"
        )
    volume = ArrayVolume(
        np.asarray(atlas.annotation), VoxelSize.of(atlas.resolution), f"atlas {name}"
    )
    try:
        return RegionVolume(
            volume, mask_shape, mask_voxel_size, atlas_names(atlas), "the voxel size of the mask"
        )
    except DataError as error:
        raise DataError(
            f"{error}. The atlas expects a mask registered to it, its axes running from anterior "
            "to posterior, from superior to inferior and from right to left"
        ) from error


def atlas_names(atlas: Atlas) -> RegionNames:
    """Return names and parents of an atlas's regions."""
    names: dict[int, str] = {}
    parents: dict[int, int] = {}
    for structure in atlas.structures.values():
        region = int(structure["id"])
        names[region] = str(structure["name"])
        above = [int(step) for step in structure["structure_id_path"] if int(step) != region]
        if above:
            parents[region] = above[-1]
    return RegionNames(names, parents)
