"""A complete run, whose parts must fit each other."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from vpbsd.config.data import DataConfig, SimulateConfig
from vpbsd.config.nets import CodebookConfig, StudentConfig, TeacherConfig
from vpbsd.config.section import Section
from vpbsd.config.stages import DistillConfig, FinetuneConfig, PretrainConfig

__all__ = ["MachineConfig", "RunConfig"]


class MachineConfig(Section):
    """Where and how a run computes; never changes what is learnt, bar rounding."""

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """``auto`` is bf16 where the processor or GPU multiplies it natively, else fp32."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=0, ge=0)
    """Torch threads; 0 = one per free core."""


class RunConfig(Section):
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
