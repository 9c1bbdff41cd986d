r"""RKD: the same distances and angles between examples as the teacher's (Park et al. 2019).

.. math::

    L_{dis} = \lambda_D \, \frac{1}{|P|} \sum_{(i, j) \in P} \ell\left(
              \frac{\|h_i - h_j\|}{\mu_h}, \frac{\|z_i - z_j\|}{\mu_z} \right)
            + \lambda_A \, \frac{1}{|T|} \sum_{(i, j, k) \in T} \ell\left(
              \cos \angle h_i h_j h_k, \cos \angle z_i z_j z_k \right)

over all pairs P and triplets T of different examples, with :math:`\mu` the mean distance and
:math:`\ell` the Huber loss. Examples are positions of the code grid, drawn at random each step: z
the teacher's encodings, h the student's features, which need not have the same dimension.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from vpbsd.compare.distillation.guided import (
    GuidedObjective,
    features_on_grid,
    make_student,
    teacher_of,
)
from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.loop.student import Seen
from vpbsd.config import RunConfig
from vpbsd.geometry import Triplet
from vpbsd.models import Student
from vpbsd.stages.distill import Guidance

__all__ = ["RKD", "RelationalDistillation", "angle_loss", "distance_loss"]

DISTANCE_WEIGHT, ANGLE_WEIGHT = 25.0, 50.0
"""As in RepDistiller; ``distill.distill_weight`` multiplies both."""
N_TOKENS = 128
"""Examples drawn per step, as many as a batch of the original holds."""
# Shorter differences have no direction: features of dark background are all exactly 0.
_SHORTEST = 1e-6


def distance_loss(features: Tensor, encodings: Tensor) -> Tensor:
    """Return the first part of L_dis, unweighted, of (n, width) and (n, dimension)."""
    different = ~torch.eye(len(features), dtype=torch.bool, device=features.device)
    return huber_loss(_distances(features)[different], _distances(encodings)[different])


def angle_loss(features: Tensor, encodings: Tensor) -> Tensor:
    """Return the second part of L_dis, unweighted, of (n, width) and (n, dimension)."""
    n = len(features)
    index = torch.arange(n, device=features.device)
    i, j, k = index[None, :, None], index[:, None, None], index[None, None, :]
    different = (i != j) & (j != k) & (i != k)
    return huber_loss(_cosines(features)[different], _cosines(encodings)[different])


def _distances(x: Tensor) -> Tensor:
    """Return (n, n) distances in units of their mean over different examples."""
    n = len(x)
    found = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return found / (found.sum() / (n * (n - 1))).clamp(min=_SHORTEST)


def _cosines(x: Tensor) -> Tensor:
    """Return (j, i, k): the cosine of the angle at j between i and k."""
    difference = x[None] - x[:, None]
    length = torch.linalg.vector_norm(difference, dim=-1, keepdim=True)
    direction = difference / length.clamp(min=_SHORTEST)
    direction = torch.where(length > _SHORTEST, direction, 0.0)
    return direction @ direction.transpose(1, 2)


class RelationalDistillation(GuidedObjective):
    """The student's features relate to each other as the teacher's encodings do.

    Parameters
    ----------
    student
        Trained and deployed.
    code_stride
        Voxels per code (z, y, x).
    weight
        Multiplies both parts.
    """

    def __init__(self, student: Student, code_stride: Triplet, weight: float) -> None:
        super().__init__(student, weight)
        self.code_stride = code_stride

    def distillation(self, seen: Seen, batch: Mapping[str, Tensor]) -> Tensor:
        """Return L_dis, a scalar."""
        features = features_on_grid(self.student.config, self.code_stride, seen, batch)
        h, z = (x.movedim(1, -1).flatten(0, -2).float() for x in (features, batch["encodings"]))
        # From torch's global generator, which a resumed run restores.
        chosen = torch.randperm(len(h))[:N_TOKENS].to(h.device)
        h, z = h[chosen], z[chosen]
        return DISTANCE_WEIGHT * distance_loss(h, z) + ANGLE_WEIGHT * angle_loss(h, z)


def _build(config: RunConfig, guidance: Guidance | None) -> RelationalDistillation:
    stride = teacher_of(guidance, RKD.name).config.code_stride
    return RelationalDistillation(make_student(config), stride, config.distill.distill_weight)


RKD = Rival("rkd", "the teacher's distances and angles (Park et al. 2019)", _build)
