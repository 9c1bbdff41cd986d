"""Teacher, codebook and student."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from vpbsd.config.section import Section, Shape, product

__all__ = ["CodebookConfig", "StudentConfig", "TeacherConfig"]

# Levels 7 x 5 x 5 x 5 x 5, the largest of `models.codebook`.
FSQ_LARGEST = 4375


class TeacherConfig(Section):
    """Teacher: convolutional stem, self-attention encoder, quantised code grid."""

    channels: int = Field(default=1, ge=1)
    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (16, 48, 96, 192)
    """Features at full resolution and after each of the three downsamplings; multiples of 8."""
    downsampling: tuple[Shape, Shape, Shape] = ((2, 2, 2), (2, 2, 2), (2, 2, 2))
    """(z, y, x) factors between levels; codes lie on the grid after the second."""
    attention_blocks: int = Field(default=2, ge=0)
    """0 makes the teacher purely convolutional, with about the parameters of the default
    (ablation); ``heads`` and ``window_tokens`` then mean nothing."""
    heads: int = Field(default=6, ge=1)
    window_tokens: int = Field(default=8, ge=1)
    """Edge of the attention window on the coarsest grid, in tokens."""

    @model_validator(mode="after")
    def _widths_can_be_divided(self) -> Self:
        if any(width % 8 for width in self.widths[:3]):
            raise ValueError(f"teacher.widths {self.widths}: first three must be multiples of 8")
        if self.attention_blocks == 0 and self.widths[-1] % 8:
            raise ValueError(
                f"teacher.widths {self.widths}: without attention blocks the last must be a "
                "multiple of 8 too, as group normalisation needs it"
            )
        if self.attention_blocks > 0 and self.widths[-1] % self.heads:
            raise ValueError(f"teacher.heads {self.heads} must divide the last width {self.widths}")
        return self

    @property
    def code_stride(self) -> Shape:
        """Voxels per code along (z, y, x)."""
        return product(self.downsampling[:2])

    @property
    def stride(self) -> Shape:
        """Patch edges must be multiples of this, in voxels."""
        return product(self.downsampling)


class CodebookConfig(Section):
    """The vessel-pattern codebook between the teacher's encoder and decoders."""

    quantiser: Literal["ema", "gradient", "fsq", "none"] = "ema"
    size: int = Field(default=128, ge=2, le=65536)
    """Number of codes; kept on disk in 16 bits."""
    dimension: int = Field(default=32, ge=1)
    """Length of a code vector."""
    beta: float = Field(default=0.25, ge=0)
    """Weight of the commitment term in L_cb."""
    decay: float = Field(default=0.9, gt=0, lt=1)
    """Moving-average decay of the codes (``ema``)."""
    revive_below: float = Field(default=4.0, ge=0)
    """Codes used less than this per batch (moving average) are replaced by encodings; 0 = never."""

    @model_validator(mode="after")
    def _fsq_is_small(self) -> Self:
        if self.quantiser == "fsq" and self.size > FSQ_LARGEST:
            raise ValueError(
                f"codebook.quantiser fsq reaches {FSQ_LARGEST} codes at most, codebook.size is "
                f"{self.size}: lower it, or use quantiser ema"
            )
        return self


class StudentConfig(Section):
    """Student: the light convolutional net that is deployed."""

    preset: Literal["fast", "fine"] = "fine"
    """``fine`` adds a full-resolution refinement for vessels one or two voxels wide."""
    channels: int = Field(default=1, ge=1)
    widths: tuple[PositiveInt, ...] = (16, 32, 64)
    """Features after each downsampling; multiples of 16 run fastest."""
    downsampling: tuple[Shape, ...] = ((2, 2, 2), (2, 2, 2), (2, 2, 2))
    """(z, y, x) factors, the first for the stem."""

    @model_validator(mode="after")
    def _one_width_per_level(self) -> Self:
        if len(self.widths) != len(self.downsampling) or len(self.widths) < 2:
            raise ValueError(
                f"student.widths ({len(self.widths)}) and student.downsampling "
                f"({len(self.downsampling)}) must have the same length, at least 2"
            )
        return self

    @property
    def stride(self) -> Shape:
        """Total (z, y, x) downsampling; blocks start at multiples of it."""
        return product(self.downsampling)
