r"""UA-MT: agree with your moving average where it is sure of itself (Yu et al. 2019).

.. math::

    L = L_{seg} + \lambda(r) \frac{\sum_v m_v (p_v - q_v)^2}{\sum_v m_v}, \qquad
    m_v = [u_v < H(t)], \qquad u = -\bar p \log \bar p - (1 - \bar p) \log(1 - \bar p), \qquad
    \bar p = \frac{1}{K} \sum_k q^{(k)}

with p the student's probability, q the teacher's, and :math:`q^{(k)}` what the teacher says in K
passes under dropout and input noise. The limit H rises with the share t of the steps that is done
from 3/4 to all of the greatest entropy:

.. math:: H(t) = \left(\tfrac34 + \tfrac14 \exp(-5 (1 - t)^2)\right) \ln 2

Our student has no dropout. While it trains here, and in the K passes of its teacher, elements of
the coarsest and of the last decoder features are dropped, where SSL4MIS's 3D U-Net drops them; the
deployed net is the plain one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.loop.student import StudentObjective
from vpbsd.compare.semi.consistency import CONSISTENCY_WEIGHT, make_student, ramp_up
from vpbsd.config import RunConfig
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.models import Student
from vpbsd.models.ema import EmaTeacher
from vpbsd.stages.distill import Guidance

__all__ = [
    "UA_MT",
    "UncertaintyAwareMeanTeacher",
    "certain_consistency_loss",
    "entropy",
    "entropy_limit",
    "feature_dropout",
    "noisy",
]

N_PASSES = 8
"""K of the paper."""
NOISE_DEVIATION, NOISE_LIMIT = 0.1, 0.2
"""Input noise in units of the normalised intensity, cut off at the limit (UA-MT's code)."""
DROPOUT_SHARE = 0.3
"""SSL4MIS's 3D U-Net; the V-Net of the paper drops half."""
_LEAST_LIMIT = 0.75


def noisy(images: Tensor) -> Tensor:
    """Add clipped Gaussian noise from torch's global generator, which a resumed run restores."""
    noise = torch.randn_like(images) * NOISE_DEVIATION
    return images + noise.clamp(-NOISE_LIMIT, NOISE_LIMIT)


@contextmanager
def feature_dropout(net: Student, share: float) -> Iterator[None]:
    """Let a student drop a share of its coarsest and of its last decoder features for a while."""

    def drop(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return dropout(output, share, training=True)

    layers = (net.encoder[-1], net.decoder[0])
    handles = [layer.register_forward_hook(drop) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def entropy(probability: Tensor) -> Tensor:
    """Return the entropy in nats of each voxel's two classes, 0 to ln 2."""
    p, q = probability, 1 - probability
    return -(torch.xlogy(p, p) + torch.xlogy(q, q))


def entropy_limit(progress: Tensor) -> Tensor:
    """Return H in nats, a scalar, at a share of the steps that is done."""
    return math.log(2) * (_LEAST_LIMIT + (1 - _LEAST_LIMIT) * ramp_up(progress))


def certain_consistency_loss(
    logits: Tensor, target: Tensor, uncertainty: Tensor, limit: Tensor
) -> Tensor:
    """Return the mean squared difference over voxels whose uncertainty is below a limit.

    Parameters
    ----------
    logits
        (U, 1, D, H, W) of the student.
    target
        (U, 1, D, H, W) probabilities, 0 to 1.
    uncertainty
        (U, 1, D, H, W) in nats.
    limit
        Scalar in nats.

    Returns
    -------
    Tensor
        A scalar, 0 where no voxel is certain.
    """
    certain = (uncertainty < limit).float()
    difference = (logits.float().sigmoid() - target).square()
    return (certain * difference).sum() / certain.sum().clamp(min=1)


class UncertaintyAwareMeanTeacher(StudentObjective):
    """Mean Teacher that leaves out the voxels on which the teacher's own passes differ.

    Parameters
    ----------
    student
        Trained and deployed.
    weight
        Lambda.
    """

    needs = "unlabelled"

    def __init__(self, student: Student, weight: float = CONSISTENCY_WEIGHT) -> None:
        super().__init__(student)
        self.weight = weight
        self.teacher = EmaTeacher(student)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``loss``, ``seg``, ``semi`` and the share of voxels that are ``certain``."""
        self.teacher.follow(self.student)
        with feature_dropout(self.student, DROPOUT_SHARE):
            seen = self.look(batch)
        uncertainty = self._uncertainty(batch["plain"])
        limit = entropy_limit(batch["progress"])
        target = cast(Tensor, self.teacher(noisy(batch["plain"])))
        seg = segmentation_loss(seen.labelled, batch["label"])
        semi = certain_consistency_loss(seen.unlabelled, target, uncertainty, limit)
        return {
            "loss": seg + self.weight * ramp_up(batch["ramp"]) * semi,
            "seg": seg,
            "semi": semi,
            "certain": (uncertainty < limit).float().mean(),
        }

    def _uncertainty(self, plain: Tensor) -> Tensor:
        with feature_dropout(self.teacher.net, DROPOUT_SHARE):
            passes = [self.teacher(noisy(plain)) for _ in range(N_PASSES)]
        return entropy(torch.stack(passes).mean(0))


def _build(config: RunConfig, guidance: Guidance | None) -> UncertaintyAwareMeanTeacher:
    weight = CONSISTENCY_WEIGHT * config.distill.semi_weight
    return UncertaintyAwareMeanTeacher(make_student(config), weight)


UA_MT = Rival(
    "ua_mt",
    "Mean Teacher where the teacher's own passes agree (Yu et al. 2019)",
    _build,
)
