"""Small files in a data set's own layout, names and formats, in place of what users download."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import tifffile
from numpy.typing import NDArray

from vpbsd.data.public import Description, PublicVolume, SourceFile

# (z, y, x), all different, so that no permutation passes unseen; 9 planes are kept of one stack.
SHAPE = (10, 12, 16)


@dataclass(frozen=True)
class StandIn:
    """A description with the shapes of what lies in ``folder``, and the arrays in it (z, y, x)."""

    description: Description
    folder: Path
    images: dict[str, NDArray[Any]]
    labels: dict[str, NDArray[Any]]


def make_stand_in(real: Description, folder: Path, *, volumes: int | None = None) -> StandIn:
    """Write random volumes for ``real`` (its first ``volumes``) into ``folder``.

    Digests are dropped, since the content is another, and lengths of axes that are described are
    replaced by those of ``SHAPE``.
    """
    rng = np.random.default_rng(7)
    vessel = real.vessel_values[-1] if real.vessel_values else 255
    images, labels, small = {}, {}, []
    for volume in real.volumes[:volumes]:
        image = rng.integers(0, 4000, SHAPE).astype(np.uint16)
        label = np.where(rng.random(SHAPE) < 0.2, vessel, 0).astype(np.uint8)
        images[volume.name], labels[volume.name] = image, label
        write_volume(folder / volume.image.key, image)
        write_volume(folder / volume.label.key, label)
        small.append(shrunk(volume))
    return StandIn(replace(real, volumes=tuple(small)), folder, images, labels)


def shrunk(volume: PublicVolume) -> PublicVolume:
    """Return the volume as its stand-in is: other lengths, other bytes, no address."""
    z, y, x = (None if n is None else m for n, m in zip(volume.shape_zyx, SHAPE, strict=True))
    return replace(
        volume,
        image=SourceFile(volume.image.paths),
        label=SourceFile(volume.label.paths),
        shape_zyx=(z, y, x),
    )


def write_volume(
    path: Path, array: NDArray[Any], sizes_um: tuple[float, float, float] = (5.0, 0.7, 0.6)
) -> None:
    """Write (z, y, x) in the format of the name; NIfTI as x, y, z with its sizes (z, y, x)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".nii.gz"):
        image = nib.Nifti1Image(array.transpose(), np.diag([*sizes_um[::-1], 1.0]))
        image.header.set_xyzt_units("micron")
        nib.save(image, path)
    elif path.suffix == ".npy":
        np.save(path, array)
    else:
        tifffile.imwrite(path, array, photometric="minisblack")
