"""A public data set as a value: where it is, what it holds, which animal plays which part.

The animal, not the patch, is what a split must respect: patches of one brain share its anatomy,
stain and microscope, so a net that has seen one of them is not tested by another. Where authors
do not publish which volumes come from one animal, a split by animal cannot be made, and the
description says so (``Split.by`` is ``"volume"``) instead of guessing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["ROLES", "Description", "PublicVolume", "Role", "SourceFile", "Split"]

Role = Literal["train", "validation", "test"]
ROLES: tuple[Role, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as its authors publish it.

    Attributes
    ----------
    paths
        Ends of its path with ``/``, in whatever folder or archive it lies; the first that is
        found counts. The first also names the file in ``datasets.json`` and on downloading.
    url
        Where it can be downloaded, only where there is evidence for the address.
    sha256
        Digest of its content, where one is published; otherwise the first one seen is recorded.
    """

    paths: tuple[str, ...]
    url: str | None = None
    sha256: str | None = None

    @property
    def key(self) -> str:
        """The name of the file in ``datasets.json``."""
        return self.paths[0]


@dataclass(frozen=True, slots=True)
class PublicVolume:
    """An image with its label.

    Attributes
    ----------
    specimen
        The smallest group that is known to hold all volumes of an animal: the animal, or else a
        whole study; None where nothing is published.
    shape_zyx
        (z, y, x) in voxels, None for an axis of unknown or varying length.
    voxel_size_um
        (z, y, x); None takes the file's own, if it states one.
    planes
        Keep only so many planes from the first on, where further ones do not belong to the stack.
    """

    name: str
    image: SourceFile
    label: SourceFile
    specimen: str | None = None
    shape_zyx: tuple[int | None, int | None, int | None] = (None, None, None)
    voxel_size_um: tuple[float, float, float] | None = None
    planes: int | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Who learns, who chooses, who is tested: names of specimens, or of volumes.

    Attributes
    ----------
    by
        ``"specimen"``: no animal is on two sides. ``"volume"``: animals are not published, so
        one may be; used only when the user asks for it.
    why
        What the split rests on, for the user to read.
    """

    by: Literal["specimen", "volume"]
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    why: str

    def role(self, volume: PublicVolume) -> Role | None:
        """Return the part that ``volume`` plays; None where the split does not name it."""
        key = volume.specimen if self.by == "specimen" else volume.name
        for role in ROLES:
            if key in getattr(self, role):
                return role
        return None


@dataclass(frozen=True, slots=True)
class Description:
    """A public data set.

    Attributes
    ----------
    how
        How a user gets it, in one sentence.
    axes
        What the axes of a volume are, as our readers return it; ``"zyx"`` unless the files are
        permuted.
    vessel_values
        Values of a label that mean vessel; empty where a label has one value beside 0, whatever
        it is.
    voxel_size_source
        Who says so.
    evidence
        The pages and repository files that this description rests on.
    overlaps
        Data sets that hold some of the same volumes: never train on one and test on the other.
    settings
        What a run on these data needs to differ from the defaults, nested as in a recipe.
    """

    name: str
    title: str
    home: str
    licence: str
    how: str
    volumes: tuple[PublicVolume, ...]
    split: Split
    voxel_size_source: str
    evidence: tuple[str, ...]
    axes: str = "zyx"
    vessel_values: tuple[int, ...] = ()
    overlaps: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_downloadable(self) -> bool:
        """Whether every file has an address."""
        files = [file for v in self.volumes for file in (v.image, v.label)]
        return all(file.url is not None for file in files)
