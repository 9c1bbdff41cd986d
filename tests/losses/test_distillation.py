"""L_dis by hand, for code vectors and for code assignments."""

from __future__ import annotations

import math

import pytest
import torch

from vpbsd.losses.distillation import assignment_distillation_loss, vector_distillation_loss


def cells(*vectors: list[float]) -> torch.Tensor:
    """(1, dimension, 1, 1, n) from n vectors."""
    return torch.tensor(vectors).T.reshape(1, len(vectors[0]), 1, 1, -1)


@pytest.mark.parametrize(
    ("projection", "target", "expected"),
    [
        ([3.0, 4.0], [0.6, 0.8], 0.0),  # lengths do not matter
        ([1.0, 0.0], [0.0, 5.0], 2.0),  # at a right angle
        ([1.0, 0.0], [-2.0, 0.0], 4.0),  # opposite
        ([1.0, 0.0], [3.0, 4.0], 0.8),  # 2 - 2 cos = 2 - 1.2
        ([0.0, 0.0], [3.0, 4.0], 1.0),  # no direction yet: finite
    ],
)
def test_vectors(projection: list[float], target: list[float], expected: float) -> None:
    loss = vector_distillation_loss(cells(projection), cells(target))
    assert float(loss) == pytest.approx(expected)


def test_vectors_are_averaged_over_cells() -> None:
    p, t = cells([1.0, 0.0], [1.0, 0.0]), cells([1.0, 0.0], [0.0, 1.0])
    assert float(vector_distillation_loss(p, t)) == pytest.approx(1.0)


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_assignments(temperature: float) -> None:
    table = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    p = cells([5.0, 0.0], [0.0, 1.0])
    # cosines 1 and 0: both cells are right with exp(1/t) / (exp(1/t) + exp(0))
    right = assignment_distillation_loss(p, torch.tensor([[[[0, 1]]]]), table, temperature)
    assert float(right) == pytest.approx(math.log(1 + math.exp(-1 / temperature)), abs=1e-6)
    wrong = assignment_distillation_loss(p, torch.tensor([[[[1, 0]]]]), table, temperature)
    assert float(wrong) == pytest.approx(math.log(1 + math.exp(1 / temperature)))


def test_assignments_by_number() -> None:
    # ln(1 + e^-1) = 0.3132617
    loss = assignment_distillation_loss(
        cells([5.0, 0.0]), torch.tensor([[[[0]]]]), torch.eye(2), 1.0
    )
    assert float(loss) == pytest.approx(0.3132617)


def test_cells_keep_their_order() -> None:
    # One projection per code, on a grid whose axes all differ: a wrong order of axes shows.
    table = torch.eye(24)
    indices = torch.arange(24).view(1, 2, 3, 4)
    p = table[indices].movedim(-1, 1)
    assert float(assignment_distillation_loss(p, indices, table, 0.01)) == pytest.approx(
        0, abs=1e-6
    )
    assert float(vector_distillation_loss(p, table[indices].movedim(-1, 1))) == 0.0


def test_gradients_reach_the_projection() -> None:
    p = cells([1.0, 1.0], [1.0, -1.0]).requires_grad_()
    loss = vector_distillation_loss(p, cells([1.0, 0.0], [1.0, 0.0]))
    loss = loss + assignment_distillation_loss(p, torch.tensor([[[[0, 0]]]]), torch.eye(2), 0.1)
    loss.backward()
    assert p.grad is not None
    # Descending turns both vectors towards the first axis.
    assert (p.grad[0, 0] < 0).all()
    assert p.grad[0, 1, 0, 0, 0] > 0 > p.grad[0, 1, 0, 0, 1]
