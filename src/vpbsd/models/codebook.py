"""The vessel-pattern codebook: each encoding is replaced by its nearest code.

A thin wrapper around ``vector_quantize_pytorch`` with one return type. The losses that train it
stand in ``vpbsd.losses.codebook``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from vpbsd.config import CodebookConfig

__all__ = ["CodeUsage", "Codebook", "Quantised"]


@dataclass(frozen=True)
class Quantised:
    """Encodings after the codebook.

    Attributes
    ----------
    vectors
        (B, dimension, D, H, W); carries gradients straight through to the encodings.
    indices
        (B, D, H, W) code of each encoding; all 0 without a codebook.
    encodings
        (B, dimension, D, H, W) as they were before.
    codes
        (B, dimension, D, H, W) the chosen codes, without the straight-through path.
    """

    vectors: Tensor
    indices: Tensor
    encodings: Tensor
    codes: Tensor


class Codebook(nn.Module):
    """Quantiser of encodings on a grid.

    Parameters
    ----------
    config
        Quantiser, size and dimension. ``ema`` moves codes by moving averages, ``gradient`` by
        the optimiser, ``fsq`` rounds each coordinate (finite scalar quantisation, Mentzer et al.
        2023), ``none`` passes encodings through.
    """

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__()
        self.config = config
        self.quantiser = _build(config)

    @property
    def size(self) -> int:
        """Number of codes; 1 without a codebook."""
        if self.config.quantiser == "fsq":
            return int(self.quantiser.codebook_size)  # type: ignore[union-attr, arg-type]
        return 1 if self.config.quantiser == "none" else self.config.size

    def forward(self, encodings: Tensor) -> Quantised:
        """Quantise ``encodings`` (B, dimension, D, H, W); in training, codes follow the data."""
        b, c, *grid = encodings.shape
        flat = encodings.float().flatten(2).transpose(1, 2).contiguous()
        if self.quantiser is None:
            zeros = torch.zeros(b, *grid, dtype=torch.long, device=encodings.device)
            return Quantised(encodings, zeros, encodings, encodings)
        with torch.autocast(encodings.device.type, enabled=False):
            vectors, indices, *_ = self.quantiser(flat)

        def to_grid(x: Tensor) -> Tensor:
            return x.transpose(1, 2).reshape(b, c, *grid)

        indices = indices.reshape(b, *grid).long()
        # By now moving averages have moved the codes, and dead ones lie elsewhere: the codes that
        # were chosen are in the vectors. Codes that the optimiser moves must carry gradients.
        by_gradient = self.config.quantiser == "gradient"
        codes = self.lookup(indices) if by_gradient else to_grid(vectors.detach())
        return Quantised(to_grid(vectors), indices, to_grid(flat), codes)

    def lookup(self, indices: Tensor) -> Tensor:
        """Return the code vectors (B, dimension, D, H, W) of ``indices`` (B, D, H, W).

        Raises
        ------
        ValueError
            If there is no codebook to look into.
        """
        if self.quantiser is None:
            raise ValueError("there is no codebook to look codes up in (codebook.quantiser: none)")
        if self.config.quantiser == "fsq":
            vectors: Tensor = self.quantiser.indices_to_codes(indices.flatten(1))  # type: ignore[operator]
        else:
            vectors = self.table[indices.flatten(1)]
        b, *grid = indices.shape
        return vectors.transpose(1, 2).reshape(b, -1, *grid).float()

    @property
    def table(self) -> Tensor:
        """All code vectors (size, dimension)."""
        if self.config.quantiser == "fsq":
            every = torch.arange(self.size, device=next(self.buffers()).device)
            codes: Tensor = self.quantiser.indices_to_codes(every[None])  # type: ignore[union-attr, operator]
            return codes[0]
        if self.quantiser is None:
            raise ValueError("there is no codebook (codebook.quantiser: none)")
        return self.quantiser.codebook  # type: ignore[return-value]


def _build(config: CodebookConfig) -> nn.Module | None:
    # The library imports slowly (einops, einx); only teachers pay for it.
    from vector_quantize_pytorch import FSQ, VectorQuantize

    if config.quantiser == "none":
        return None
    if config.quantiser == "fsq":
        return cast(nn.Module, FSQ(levels=list(_fsq_levels(config.size)), dim=config.dimension))
    learnable = config.quantiser == "gradient"
    vectors: nn.Module = VectorQuantize(
        dim=config.dimension,
        codebook_size=config.size,
        decay=config.decay,
        kmeans_init=True,
        threshold_ema_dead_code=0 if learnable else config.revive_below,
        commitment_weight=0.0,
        learnable_codebook=learnable,
        ema_update=not learnable,
        rotation_trick=False,
    )
    return vectors


def _fsq_levels(size: int) -> tuple[int, ...]:
    # Level counts whose product comes closest to the asked size (Mentzer et al. 2023, table 1).
    choices = [(4, 4), (5, 5), (8, 4), (5, 4, 3), (8, 8), (5, 5, 5), (8, 6, 5), (8, 8, 8),
               (8, 5, 5, 5), (7, 5, 5, 5, 5)]  # fmt: skip
    return min(choices, key=lambda c: abs(torch.tensor(c).prod().item() - size))


@dataclass
class CodeUsage:
    """Counts how often each code is chosen.

    Attributes
    ----------
    counts
        (size,) number of encodings per code.
    """

    size: int
    counts: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.counts = torch.zeros(self.size, dtype=torch.float64)

    def add(self, indices: Tensor) -> None:
        """Count the codes in ``indices`` of any shape."""
        flat = indices.detach().flatten().cpu().long()
        self.counts += torch.bincount(flat, minlength=self.size).double()

    @property
    def perplexity(self) -> float:
        """``exp(-sum p log p)``: the number of codes in equal use that is as spread out."""
        p = self.counts / self.counts.sum().clamp(min=1)
        return float(torch.exp(-(p * torch.log(p.clamp(min=1e-12))).sum()))

    @property
    def dead_share(self) -> float:
        """Share of codes that were never chosen."""
        return float((self.counts == 0).double().mean())
