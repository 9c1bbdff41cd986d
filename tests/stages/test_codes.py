"""The codebook's loss and its collapse, as both teacher stages see them."""

from __future__ import annotations

import pytest
import torch

from vpbsd.config import CodebookConfig, TeacherConfig
from vpbsd.errors import CollapseError
from vpbsd.models import CodeUsage, Quantised, Teacher
from vpbsd.stages.codes import (
    batch_perplexity,
    codebook_terms,
    refuse_collapsed_codebook,
    usage_metrics,
)

TINY = TeacherConfig(widths=(8, 8, 8, 8), heads=2, attention_blocks=1)


def teacher(quantiser: str = "ema", beta: float = 0.5, size: int = 8) -> Teacher:
    torch.manual_seed(0)
    given = {"size": size, "dimension": 4, "quantiser": quantiser, "beta": beta}
    return Teacher(TINY, CodebookConfig.model_validate(given))


def quantised(z: float, e: float) -> Quantised:
    encodings = torch.full((1, 4, 2, 2, 2), z, requires_grad=True)
    codes = torch.full((1, 4, 2, 2, 2), e, requires_grad=True)
    return Quantised(codes, torch.zeros(1, 2, 2, 2).long(), encodings, codes)


@pytest.mark.parametrize(
    ("quantiser", "expected"),
    # (3 - 1)^2 = 4: times beta alone, plus itself, or not at all
    [("ema", 2.0), ("gradient", 6.0), ("fsq", 0.0), ("none", 0.0)],
)
def test_loss_of_each_quantiser(quantiser: str, expected: float) -> None:
    loss = codebook_terms(teacher(quantiser), quantised(3.0, 1.0))
    assert loss.item() == pytest.approx(expected)
    loss.backward()  # a stage adds it to its loss, whatever the quantiser


def usage(counts: list[int]) -> CodeUsage:
    found = CodeUsage(len(counts))
    found.counts = torch.tensor(counts, dtype=torch.float64)
    return found


def test_metrics_by_hand() -> None:
    assert usage_metrics(usage([5, 5, 0, 0])) == pytest.approx(
        {"perplexity": 2.0, "perplexity_share": 0.5, "dead_code_share": 0.5}
    )
    indices = torch.tensor([[[[0, 1], [0, 1]]]])
    assert float(batch_perplexity(teacher(), indices)) == pytest.approx(2.0)


@pytest.mark.parametrize("quantiser", ["ema", "gradient", "fsq"])
def test_one_code_for_all_is_a_collapse(quantiser: str) -> None:
    net = teacher(quantiser)
    # exp(-(0.99 ln 0.99 + 0.01 ln 0.01)) = 1.06
    for counts in ([100, 0, 0, 0], [99, 1, 0, 0]):
        with pytest.raises(CollapseError, match=r"4 codes are used as if there were 1\.\d"):
            refuse_collapsed_codebook(net, usage(counts))
    refuse_collapsed_codebook(net, usage([50, 50, 0, 0]))


def test_without_a_codebook_nothing_can_collapse() -> None:
    refuse_collapsed_codebook(teacher("none"), usage([100]))
