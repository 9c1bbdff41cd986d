"""What stages 1 and 2 both ask of the codebook: its loss, its use, and that it is alive."""

from __future__ import annotations

import torch
from torch import Tensor

from vpbsd.errors import CollapseError
from vpbsd.losses.codebook import codebook_loss
from vpbsd.models import CodeUsage, Quantised, Teacher

__all__ = ["batch_perplexity", "codebook_terms", "refuse_collapsed_codebook", "usage_metrics"]


def codebook_terms(teacher: Teacher, quantised: Quantised) -> Tensor:
    """Return L_cb of what a teacher quantised; 0 where there are no codes to learn."""
    config = teacher.codebook.config
    if config.quantiser in ("none", "fsq"):
        return quantised.encodings.sum() * 0.0
    by_gradient = config.quantiser == "gradient"
    return codebook_loss(
        quantised.encodings, quantised.codes, beta=config.beta, codes_by_gradient=by_gradient
    )


def batch_perplexity(teacher: Teacher, indices: Tensor) -> Tensor:
    """Return the perplexity of the codes in a batch, for the log."""
    usage = CodeUsage(teacher.codebook.size)
    usage.add(indices)
    return torch.tensor(usage.perplexity)


def usage_metrics(usage: CodeUsage) -> dict[str, float]:
    """Return perplexity, its share of the codebook, and the share of codes never used."""
    return {
        "perplexity": usage.perplexity,
        "perplexity_share": usage.perplexity / usage.size,
        "dead_code_share": usage.dead_share,
    }


def refuse_collapsed_codebook(teacher: Teacher, usage: CodeUsage) -> None:
    """Raise if nearly all encodings fall on one code.

    Raises
    ------
    CollapseError
        With advice.
    """
    if teacher.codebook.config.quantiser != "none" and usage.perplexity < 1.5:
        raise CollapseError(
            f"the codebook collapsed: on held-out images {usage.size} codes are used as if there "
            f"were {usage.perplexity:.1f} (perplexity); use quantiser 'ema' with revive_below of "
            "1 or more, a smaller codebook.size, or a lower pretrain.learning_rate"
        )
