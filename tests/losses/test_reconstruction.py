"""L_rec by hand."""

from __future__ import annotations

import pytest
import torch

from vpbsd.losses.reconstruction import reconstruction_loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_value(dtype: torch.dtype) -> None:
    made = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=dtype)
    loss = reconstruction_loss(made, torch.tensor([0.0, 0.0, 0.5, 3.0]))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx((1 + 4 + 0 + 9) / 4)
