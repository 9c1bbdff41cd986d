"""The three training stages."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from vpbsd.config.section import Section, Shape

__all__ = ["DistillConfig", "FinetuneConfig", "PretrainConfig", "StageConfig"]


class StageConfig(Section):
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


class GuidedStageConfig(StageConfig):
    """Stages that learn from labels, and from pseudo-labels of unlabelled patches beside them."""

    unlabelled_batch_size: int = Field(default=1, ge=0)
    """Unlabelled patches per step, beside ``batch_size`` labelled ones."""
    semi_weight: float = Field(default=1.0, ge=0)
    """lambda_semi; 0 switches pseudo-labels off."""
    semi_warmup_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of the steps over which lambda_semi rises from 0."""
    recalibrate: bool = True
    """Cut what the net's own average says at the threshold of the last validation, not at 1/2."""

    @model_validator(mode="after")
    def _unlabelled_needs_a_batch(self) -> Self:
        if self.semi_weight > 0 and self.unlabelled_batch_size == 0:
            raise ValueError(
                "semi_weight > 0 needs unlabelled_batch_size >= 1; set semi_weight to 0 to train "
                "without pseudo-labels"
            )
        return self

    def ramp(self, step: int) -> float:
        """Return the share of lambda_semi that counts at a step, from above 0 to 1."""
        return min(1.0, (step + 1) / max(1, round(self.steps * self.semi_warmup_share)))


class FinetuneConfig(GuidedStageConfig):
    """Stage 2: the teacher learns to segment from labelled patches and from its own average."""

    steps: int = Field(default=400, ge=1)
    semi_weight: float = Field(default=3.0, ge=0)
    """lambda_semi of the pseudo-labels of its own average; 0 leaves it to the labels, as in the
    paper."""
    codebook_weight: float = Field(default=0.1, ge=0)
    """Weight of L_cb beside L_seg, so that codes stay in use."""


class DistillConfig(GuidedStageConfig):
    """Stage 3: the student learns from labels, pseudo-labels and the teacher's codes."""

    steps: int = Field(default=1500, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    semi_weight: float = Field(default=10.0, ge=0)
    """lambda_semi; 0 switches pseudo-labels off."""
    mirrors: bool = True
    """Let the teacher look at each unlabelled volume mirrored along each axis as well; its
    probability is the mean of the four looks."""
    pseudo_labels: Literal["soft", "hard"] = "hard"
    """The teacher's probability, or its decision weighted by how sure it is."""
    distill_weight: float = Field(default=1.0, ge=0)
    """lambda_dis; the target ``none`` switches it off too."""
    target: Literal["code_vectors", "code_assignments", "features", "none"] = "code_vectors"
    temperature: float = Field(default=0.1, gt=0)
    """Softmax temperature over codes for ``code_assignments``."""
    self_teaching: float = Field(default=0.0, ge=0, le=1)
    """Share of the student's own moving average in the pseudo-labels, reached as lambda_semi is;
    0 leaves them to the teacher, as in the paper."""

    @property
    def uses_teacher(self) -> bool:
        """Whether any teacher output enters the loss."""
        return self.semi_weight > 0 or self.uses_codes

    @property
    def uses_codes(self) -> bool:
        """Whether the teacher's encodings enter the loss."""
        return self.distill_weight > 0 and self.target != "none"
