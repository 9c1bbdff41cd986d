"""Which volumes play which part, and what simulated ones look like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, model_validator

from vpbsd.config.section import Range, Section, Shape

__all__ = ["DataConfig", "SimulateConfig", "Specimens", "VolumeConfig"]

Specimens = NonNegativeInt | Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
"""Seed of one specimen and its microscope, or seeds of several."""


class VolumeConfig(Section):
    """One volume on disk, with its label if it has one."""

    image: Path
    """Image file, relative to ``data.root``."""
    label: Path | None = None
    """Label file of the same (z, y, x) shape; voxels above 0 are vessel."""
    voxel_size_um: tuple[float, float, float] | None = None
    """(z, y, x) in micrometres; needed where the file does not state it."""
    invert: bool = False
    """Vessels are darker than the tissue."""

    @property
    def name(self) -> str:
        """File name without its suffixes; names the volume in logs and results."""
        return self.image.name.split(".")[0]


class DataConfig(Section):
    """Which volumes play which part."""

    root: Path = Path()
    """Folder that relative paths start from; itself relative to the working directory."""
    labelled: tuple[VolumeConfig, ...] = ()
    unlabelled: tuple[VolumeConfig, ...] = ()
    """Further volumes without labels; labelled images count as unlabelled data too."""
    validation: tuple[VolumeConfig, ...] = ()
    """Labelled volumes that choose the best step and the threshold."""
    test: tuple[VolumeConfig, ...] = ()
    """Labelled volumes that choose nothing: a comparison scores methods on them; training never
    opens them."""

    @model_validator(mode="after")
    def _roles_do_not_leak(self) -> Self:
        for role in ("labelled", "validation", "test"):
            for volume in getattr(self, role):
                if volume.label is None:
                    raise ValueError(f"data.{role}: {volume.image} needs a label file")
        training = (*self.labelled, *self.unlabelled)
        _refuse_shared(training, self.validation, "training", "validation")
        _refuse_shared(training, self.test, "training", "test")
        _refuse_shared(self.validation, self.test, "validation", "test")
        return self


def _refuse_shared(
    first: tuple[VolumeConfig, ...], second: tuple[VolumeConfig, ...], role: str, other: str
) -> None:
    images, labels = {v.image for v in first}, {v.label for v in first} - {None}
    for volume in second:
        if volume.image in images:
            raise ValueError(
                f"{volume.image} is used for {role} and for {other}; scores on it would mean "
                "nothing: remove it from one of the two"
            )
        if volume.label in labels:
            raise ValueError(f"label {volume.label} serves both {role} and {other}")


class SimulateConfig(Section):
    """Simulated vessel volumes: anatomy, optics and detector, each drawn from a range."""

    shape_voxels: Shape = (80, 112, 112)
    voxel_size_um: tuple[float, float, float] = (2.0, 2.0, 2.0)
    """(z, y, x) voxel size of the simulated camera before ``zoom``."""
    zoom: Range = (0.6, 1.8)
    """Range of a factor on the voxel size: how coarsely the same anatomy is seen."""
    specimen_seed: Specimens | None = None
    """Kind of tissue and microscope are drawn once, from this seed: one specimen, one instrument.
    Of several seeds, each grown network has the next, over and over. If absent they differ from
    volume to volume, as wide training wants it."""
    images_per_anatomy: int = Field(default=4, ge=1)
    """Images (each with its own crop, flip, zoom and microscope) per grown network."""
    geometry: tuple[Path, ...] = ()
    """Label volumes whose real vessel shapes are imaged in place of some grown networks."""
    geometry_voxel_size_um: tuple[tuple[float, float, float], ...] = ()
    """(z, y, x) of each ``geometry`` label; empty takes the file's, or else the simulated one."""
    geometry_share: float = Field(default=0.25, ge=0, le=1)
    """Share of simulated volumes that use ``geometry``, when it is given."""

    @model_validator(mode="after")
    def _sizes_are_possible(self) -> Self:
        if min(self.shape_voxels) < 4:
            raise ValueError(f"simulate.shape_voxels {self.shape_voxels} must be at least 4 each")
        if min(self.voxel_size_um) <= 0 or not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError("simulate: voxel_size_um and zoom must be above 0, zoom (low, high)")
        if len(self.geometry_voxel_size_um) not in (0, len(self.geometry)):
            raise ValueError(
                f"simulate.geometry_voxel_size_um has {len(self.geometry_voxel_size_um)} sizes for "
                f"{len(self.geometry)} labels: give one each, or none"
            )
        return self
