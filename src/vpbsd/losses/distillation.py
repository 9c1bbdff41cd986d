r"""L_dis: pull the student's projected encoding to the teacher's quantised encoding.

Code vectors and continuous features, with p the projection and e the target (unit vectors
compare directions, so that the projection need not match the codes' lengths):

.. math:: L_{dis} = \Big\| \frac{p}{\|p\|} - \frac{e}{\|e\|} \Big\|^2

Code assignments, with k the teacher's code and E the codebook:

.. math::

    L_{dis} = -\log \frac{\exp(\cos(p, E_k) / \tau)}{\sum_j \exp(\cos(p, E_j) / \tau)}
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

__all__ = ["assignment_distillation_loss", "vector_distillation_loss"]


def vector_distillation_loss(projection: Tensor, target: Tensor) -> Tensor:
    """Return L_dis between (B, dimension, d, h, w) projections and target vectors, a scalar."""
    difference = normalize(projection.float(), dim=1) - normalize(target.float(), dim=1)
    return difference.square().sum(1).mean()


def assignment_distillation_loss(
    projection: Tensor, indices: Tensor, table: Tensor, temperature: float
) -> Tensor:
    """Return the cross-entropy over codes, a scalar.

    Parameters
    ----------
    projection
        (B, dimension, d, h, w) of the student.
    indices
        (B, d, h, w) codes of the teacher.
    table
        (size, dimension) code vectors.
    temperature
        Softmax temperature of the cosine similarities.
    """
    p = normalize(projection.float(), dim=1).movedim(1, -1)
    similarity = p @ normalize(table.float(), dim=1).T
    return cross_entropy(similarity.flatten(0, -2) / temperature, indices.flatten())
