"""L_cb by hand, and which way its gradients go."""

from __future__ import annotations

import pytest
import torch

from vpbsd.losses.codebook import codebook_loss

Z = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
E = torch.tensor([[0.0, 2.0], [1.0, 3.0]])
# squared differences 1, 0, 4, 9: mean 3.5


@pytest.mark.parametrize(
    ("by_gradient", "expected"), [(False, 0.25 * 3.5), (True, 0.25 * 3.5 + 3.5)]
)
def test_value(by_gradient: bool, expected: float) -> None:
    loss = codebook_loss(Z, E, beta=0.25, codes_by_gradient=by_gradient)
    assert float(loss) == pytest.approx(expected)


def test_moving_averages_leave_the_codes_without_gradient() -> None:
    z, e = Z.clone().requires_grad_(), E.clone().requires_grad_()
    codebook_loss(z, e, beta=0.5, codes_by_gradient=False).backward()
    assert e.grad is None
    # 0.5 * 2 (z - e) / 4
    assert z.grad is not None
    assert z.grad.tolist() == [[0.25, 0.0], [0.5, -0.75]]


def test_each_term_moves_one_side() -> None:
    z, e = Z.clone().requires_grad_(), E.clone().requires_grad_()
    codebook_loss(z, e, beta=0.5, codes_by_gradient=True).backward()
    assert z.grad is not None
    assert e.grad is not None
    # Codes feel the first term alone (weight 1), encodings the second alone (weight beta).
    assert z.grad.tolist() == [[0.25, 0.0], [0.5, -0.75]]
    assert e.grad.tolist() == [[-0.5, 0.0], [-1.0, 1.5]]
