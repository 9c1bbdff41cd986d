"""Every setting of a run, one frozen model per stage; defaults live here and nowhere else.

Building a configuration touches no disk and imports no torch. Unknown keys are refused at every
level. The paper states neither the codebook's size and dimension nor its loss weights, schedules
and patch sizes: those are settings here, with defaults chosen on validation data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from vpbsd.errors import ConfigError

__all__ = [
    "CodebookConfig",
    "DataConfig",
    "DistillConfig",
    "FinetuneConfig",
    "MachineConfig",
    "PretrainConfig",
    "RunConfig",
    "SimulateConfig",
    "StageConfig",
    "StudentConfig",
    "TeacherConfig",
    "VolumeConfig",
    "load_config",
    "parse_config",
    "save_config",
]

Shape = tuple[PositiveInt, PositiveInt, PositiveInt]
Range = tuple[float, float]


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class VolumeConfig(_Section):
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


class DataConfig(_Section):
    """Which volumes play which part."""

    root: Path = Path()
    """Folder that relative paths start from; itself relative to the working directory."""
    labelled: tuple[VolumeConfig, ...] = ()
    unlabelled: tuple[VolumeConfig, ...] = ()
    """Further volumes without labels; labelled images count as unlabelled data too."""
    validation: tuple[VolumeConfig, ...] = ()
    """Labelled volumes that choose the best step and the threshold."""

    @model_validator(mode="after")
    def _roles_do_not_leak(self) -> Self:
        for role in ("labelled", "validation"):
            for volume in getattr(self, role):
                if volume.label is None:
                    raise ValueError(f"data.{role}: {volume.image} needs a label file")
        seen = {v.image for v in (*self.labelled, *self.unlabelled)}
        for volume in self.validation:
            if volume.image in seen:
                raise ValueError(
                    f"{volume.image} is used for training and for validation; scores on it would "
                    "mean nothing: remove it from one of the two"
                )
        labels = {v.label for v in self.labelled}
        for volume in self.validation:
            if volume.label in labels:
                raise ValueError(f"label {volume.label} serves both training and validation")
        return self


class SimulateConfig(_Section):
    """Simulated vessel volumes: anatomy, optics and detector, each drawn from a range."""

    shape_voxels: Shape = (80, 112, 112)
    voxel_size_um: tuple[float, float, float] = (2.0, 2.0, 2.0)
    """(z, y, x) voxel size of the simulated camera before ``zoom``."""
    zoom: Range = (0.6, 1.8)
    """Range of a factor on the voxel size: how coarsely the same anatomy is seen."""
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


class TeacherConfig(_Section):
    """Teacher: convolutional stem, self-attention encoder, quantised code grid."""

    channels: int = Field(default=1, ge=1)
    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (16, 48, 96, 192)
    """Features at full resolution and after each of the three downsamplings; multiples of 8."""
    downsampling: tuple[Shape, Shape, Shape] = ((2, 2, 2), (2, 2, 2), (2, 2, 2))
    """(z, y, x) factors between levels; codes lie on the grid after the second."""
    attention_blocks: int = Field(default=2, ge=1)
    heads: int = Field(default=6, ge=1)
    window_tokens: int = Field(default=8, ge=1)
    """Edge of the attention window on the coarsest grid, in tokens."""

    @model_validator(mode="after")
    def _widths_can_be_divided(self) -> Self:
        if any(width % 8 for width in self.widths[:3]):
            raise ValueError(f"teacher.widths {self.widths}: first three must be multiples of 8")
        if self.widths[-1] % self.heads:
            raise ValueError(f"teacher.heads {self.heads} must divide the last width {self.widths}")
        return self

    @property
    def code_stride(self) -> Shape:
        """Voxels per code along (z, y, x)."""
        return _product(self.downsampling[:2])

    @property
    def stride(self) -> Shape:
        """Patch edges must be multiples of this, in voxels."""
        return _product(self.downsampling)


class CodebookConfig(_Section):
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


class StudentConfig(_Section):
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
        return _product(self.downsampling)


class StageConfig(_Section):
    """What the three stages share: the loop, the optimiser and the patches."""

    steps: int = Field(default=400, ge=1)
    batch_size: int = Field(default=2, ge=1)
    patch_voxels: Shape = (48, 64, 64)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps over which the learning rate rises; it falls as a cosine after."""
    gradient_clip: float = Field(default=1.0, gt=0)
    average_decay: float = Field(default=0.98, ge=0, lt=1)
    """Per step, of the moving average of weights that is validated and kept; 0 = none."""
    simulated_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the patches of a batch that are simulated."""
    keep: Literal["best", "last"] = "best"
    """Keep the net of the best validation, or that of the last step: validation volumes then choose
    the threshold alone."""
    validate_every: int = Field(default=100, ge=1)
    checkpoint_every: int = Field(default=100, ge=1)


class PretrainConfig(StageConfig):
    """Stage 1: the teacher reconstructs unlabelled patches through the codebook."""

    steps: int = Field(default=250, ge=1)
    alpha: float = Field(default=1.0, ge=0)
    """Weight of L_cb in L_pre = L_rec + alpha L_cb."""
    simulated_share: float = Field(default=0.25, ge=0, le=1)
    enabled: bool = True
    """Off: the teacher starts from random weights (ablation)."""


class FinetuneConfig(StageConfig):
    """Stage 2: the teacher learns to segment from labelled patches."""

    steps: int = Field(default=400, ge=1)
    codebook_weight: float = Field(default=0.1, ge=0)
    """Weight of L_cb beside L_seg, so that codes stay in use."""


class DistillConfig(StageConfig):
    """Stage 3: the student learns from labels, pseudo-labels and the teacher's codes."""

    steps: int = Field(default=1500, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    unlabelled_batch_size: int = Field(default=1, ge=0)
    """Unlabelled patches per step, beside ``batch_size`` labelled ones."""
    semi_weight: float = Field(default=1.0, ge=0)
    """lambda_semi; 0 switches pseudo-labels off."""
    distill_weight: float = Field(default=1.0, ge=0)
    """lambda_dis; the target ``none`` switches it off too."""
    target: Literal["code_vectors", "code_assignments", "features", "none"] = "code_vectors"
    temperature: float = Field(default=0.1, gt=0)
    """Softmax temperature over codes for ``code_assignments``."""
    semi_warmup_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of the steps over which lambda_semi rises from 0."""

    @model_validator(mode="after")
    def _unlabelled_needs_a_batch(self) -> Self:
        if self.semi_weight > 0 and self.unlabelled_batch_size == 0:
            raise ValueError(
                "distill.semi_weight > 0 needs distill.unlabelled_batch_size >= 1; "
                "set semi_weight to 0 to train without pseudo-labels"
            )
        return self

    @property
    def uses_teacher(self) -> bool:
        """Whether any teacher output enters the loss."""
        return self.semi_weight > 0 or self.uses_codes

    @property
    def uses_codes(self) -> bool:
        """Whether the teacher's encodings enter the loss."""
        return self.distill_weight > 0 and self.target != "none"


class MachineConfig(_Section):
    """Where and how a run computes; never changes what is learnt, bar rounding."""

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """``auto`` is bf16 where the processor or GPU multiplies it natively, else fp32."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=0, ge=0)
    """Torch threads; 0 = one per free core."""


class RunConfig(_Section):
    """A complete run: data, nets and the three stages."""

    name: str = "run"
    seed: int = Field(default=0, ge=0)
    data: DataConfig = DataConfig()
    simulate: SimulateConfig = SimulateConfig()
    teacher: TeacherConfig = TeacherConfig()
    codebook: CodebookConfig = CodebookConfig()
    student: StudentConfig = StudentConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    distill: DistillConfig = DistillConfig()
    machine: MachineConfig = MachineConfig()

    @model_validator(mode="after")
    def _simulated_volumes_have_one_channel(self) -> Self:
        shares = [s.simulated_share for s in (self.pretrain, self.finetune, self.distill)]
        if self.teacher.channels > 1 and (any(shares) or not self.data.validation):
            raise ValueError(
                f"simulated volumes have one channel, teacher.channels is {self.teacher.channels}: "
                "set simulated_share to 0 in all stages and list data.validation"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.teacher.channels != self.student.channels:
            raise ValueError(
                f"teacher.channels {self.teacher.channels} and student.channels "
                f"{self.student.channels} must be equal: both see the same image"
            )
        teacher, student = self.teacher.stride, self.student.stride
        for stage, stride in (("pretrain", teacher), ("finetune", teacher), ("distill", student)):
            patch = getattr(self, stage).patch_voxels
            if any(p % s for p, s in zip(patch, stride, strict=True)):
                raise ValueError(
                    f"{stage}.patch_voxels {patch} must be multiples of the net's stride {stride}"
                )
        needs_codes = self.distill.uses_codes and self.distill.target != "features"
        if needs_codes and self.codebook.quantiser == "none":
            raise ValueError(
                f"distill.target {self.distill.target} needs codes, but codebook.quantiser is "
                "none: set distill.target to features (or none), or choose a quantiser"
            )
        code, patch = self.teacher.code_stride, self.distill.patch_voxels
        if self.distill.uses_codes and any(p % s for p, s in zip(patch, code, strict=True)):
            raise ValueError(f"distill.patch_voxels {patch} must be multiples of one code {code}")
        for stage in ("finetune", "distill"):
            if not self.data.labelled and getattr(self, stage).simulated_share < 1:
                raise ValueError(
                    f"no labelled volume is given and {stage}.simulated_share is below 1: list "
                    "data.labelled, or train on simulated labels alone with simulated_share 1"
                )
        return self


def _product(factors: tuple[Shape, ...]) -> Shape:
    z, y, x = (math.prod(axis) for axis in zip(*factors, strict=True))
    return (z, y, x)


def load_config(path: Path | str, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a YAML recipe; ``overrides`` maps dotted keys (``"pretrain.steps"``) to values.

    Raises
    ------
    ConfigError
        If the file is missing or not YAML, or a key or value is refused.
    """
    file = Path(path)
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid YAML: {error}") from error
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{file} must hold sections such as 'data:' and 'pretrain:'")
    for dotted, value in (overrides or {}).items():
        _set(tree, dotted, value)
    return parse_config(tree, source=str(file))


def parse_config(tree: Mapping[str, Any], *, source: str = "configuration") -> RunConfig:
    """Validate a nested mapping.

    Raises
    ------
    ConfigError
        Naming every refused key with its reason.
    """
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(str(p) for p in e['loc']) or 'recipe'}: {e['msg']}" for e in error.errors()
        )
        raise ConfigError(f"{source}: {reasons}") from error


def save_config(config: RunConfig, path: Path) -> None:
    """Write the effective configuration, every default spelled out, as YAML."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), "utf-8")


def _set(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for key in parents:
        child = tree.setdefault(key, {})
        if not isinstance(child, dict):
            raise ConfigError(f"cannot set {dotted}: {key} is not a section")
        tree = child
    tree[last] = value
