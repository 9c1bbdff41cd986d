"""The teacher: sees far, knows vessel patterns, and is too slow for a brain.

::

    x ─► stem ─► level 1 ─► level 2 ────────► level 3 ─► window self-attention
          │         │          └────────── + ◄──────────────┘
          │         │                      ▼
          │         │              encodings ─► codebook ─► z_q ─┬─► D_rec ─► image    (stage 1)
          └─────────┴───────────── skips ───────────────────────►└─► D_seg ─► logits   (stages 2, 3)

The reconstruction decoder gets the quantised encodings alone: no skip carries the image past
the codebook.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from vpbsd.config import CodebookConfig, TeacherConfig
from vpbsd.geometry import Triplet
from vpbsd.models.codebook import Codebook, Quantised
from vpbsd.models.layers import ConvGroupNorm, Down, Up, check_patch, foreground_bias

__all__ = ["Teacher", "TeacherOutput"]


@dataclass(frozen=True)
class TeacherOutput:
    """Result of one pass.

    Attributes
    ----------
    image
        (B, C, D, H, W) reconstruction, or (B, 1, D, H, W) vessel logits.
    quantised
        Encodings and codes on the code grid.
    """

    image: Tensor
    quantised: Quantised


class Teacher(nn.Module):
    """Convolutional and self-attention encoder, codebook, and two decoders.

    Without attention blocks a convolution stands in their place: a teacher of the student's own
    kind, for the ablation of what a different one adds.

    Parameters
    ----------
    config, codebook
        Widths and downsampling; quantiser.
    """

    def __init__(self, config: TeacherConfig, codebook: CodebookConfig) -> None:
        super().__init__()
        self.config = config
        w0, w1, w2, w3 = config.widths
        self.stem = nn.Sequential(nn.Conv3d(config.channels, w0, 3, padding=1), ConvGroupNorm(w0))
        self.level1 = nn.Sequential(
            Down(w0, w1, config.downsampling[0]), ConvGroupNorm(w1), ConvGroupNorm(w1)
        )
        self.level2 = nn.Sequential(
            Down(w1, w2, config.downsampling[1]), ConvGroupNorm(w2), ConvGroupNorm(w2)
        )
        self.level3 = nn.Sequential(
            Down(w2, w3, config.downsampling[2]),
            *_coarsest(config),
        )
        self.merge_up = Up(w3, w2, config.downsampling[2])
        self.merge = ConvGroupNorm(w2)
        self.to_code = nn.Conv3d(w2, codebook.dimension, 1)
        # Whitened per dimension: most voxels are background, and without this the codes of a fresh
        # codebook all fall on it (perplexity 5 of 128 after 60 steps, against over 60).
        self.code_norm = nn.BatchNorm3d(codebook.dimension, affine=False)
        self.codebook = Codebook(codebook)
        self.reconstruct = Decoder(config, codebook.dimension, config.channels, skips=False)
        self.segment = Decoder(config, codebook.dimension, 1, skips=True)
        nn.init.constant_(cast(Tensor, self.segment.out.bias), foreground_bias(0.1))

    @property
    def stride(self) -> Triplet:
        """Edges of an input must be multiples of this (z, y, x)."""
        return self.config.stride

    @property
    def halo_voxels(self) -> Triplet:
        """What a block reads around it.

        Attention and group normalisation see the whole window they are given, so no halo makes
        the teacher independent of the cut; this one keeps seams out of sight.
        """
        z, y, x = (2 * s for s in self.stride)
        return (z, y, x)

    def encode(self, x: Tensor) -> tuple[Quantised, tuple[Tensor, Tensor]]:
        """Return the quantised encodings of (B, C, D, H, W) and the skips of both fine levels."""
        check_patch(x, self.stride, "teacher")
        skip0 = self.stem(x)
        skip1 = self.level1(skip0)
        level2 = self.level2(skip1)
        merged = self.merge(level2 + self.merge_up(self.level3(level2)))
        encodings = self.code_norm(self.to_code(merged).float())
        return self.codebook(encodings), (skip0, skip1)

    def forward(self, x: Tensor, task: Literal["reconstruct", "segment"]) -> TeacherOutput:
        """Reconstruct or segment normalised intensities (B, C, D, H, W)."""
        quantised, skips = self.encode(x)
        if task == "reconstruct":
            return TeacherOutput(self.reconstruct(quantised.vectors), quantised)
        return TeacherOutput(self.segment(quantised.vectors, skips), quantised)

    def train_only(self, task: Literal["reconstruct", "segment"]) -> None:
        """Let gradients reach the encoder and the decoder of ``task``, not the other decoder."""
        self.reconstruct.requires_grad_(task == "reconstruct")
        self.segment.requires_grad_(task == "segment")


def _coarsest(config: TeacherConfig) -> list[nn.Module]:
    """Return the blocks of the coarsest level: self-attention, or a convolution in its place."""
    width = config.widths[-1]
    if config.attention_blocks == 0:
        # A block of attention has 12 width^2 parameters, a residual convolution 27 width^2: one
        # stands for the two blocks of the default, and the teacher grows by 3 %.
        return [ConvGroupNorm(width)]
    return [
        WindowAttention(width, config.heads, config.window_tokens)
        for _ in range(config.attention_blocks)
    ]


class Decoder(nn.Module):
    """Code grid to full resolution in two steps, with or without skips."""

    def __init__(self, config: TeacherConfig, codes: int, outputs: int, *, skips: bool) -> None:
        super().__init__()
        w0, w1, w2, _ = config.widths
        self.from_code = nn.Sequential(nn.Conv3d(codes, w2, 1), ConvGroupNorm(w2))
        self.up1 = Up(w2, w1, config.downsampling[1])
        self.up0 = Up(w1, w0, config.downsampling[0])
        depth = 2 if skips else 1
        self.level1 = nn.Sequential(*(ConvGroupNorm(w1) for _ in range(depth)))
        self.level0 = nn.Sequential(*(ConvGroupNorm(w0) for _ in range(depth)))
        self.out = nn.Conv3d(w0, outputs, 1)

    def forward(self, codes: Tensor, skips: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Decode (B, codes, d, h, w) into (B, outputs, D, H, W)."""
        x = self.up1(self.from_code(codes))
        x = self.level1(x if skips is None else x + skips[1])
        x = self.up0(x)
        x = self.level0(x if skips is None else x + skips[0])
        return cast(Tensor, self.out(x))


class WindowAttention(nn.Module):
    """Transformer block whose attention spans windows of ``edge`` tokens per axis.

    Position enters through a depth-wise convolution, so any grid size works; a grid that the
    window does not divide is padded with tokens that are masked out of the attention.
    """

    def __init__(self, width: int, heads: int, edge: int) -> None:
        super().__init__()
        self.heads, self.edge = heads, edge
        self.position = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, d, h, w) to the same shape."""
        x = x + self.position(x)
        tokens = x.movedim(1, -1)
        tokens = tokens + self._attend(self.norm1(tokens))
        tokens = tokens + cast(Tensor, self.mlp(self.norm2(tokens)))
        return tokens.movedim(-1, 1).contiguous()

    def _attend(self, tokens: Tensor) -> Tensor:
        b, d, h, w, c = tokens.shape
        window = [min(self.edge, n) for n in (d, h, w)]
        pad = [-n % k for n, k in zip((d, h, w), window, strict=True)]
        widths = (0, 0, 0, pad[2], 0, pad[1], 0, pad[0])
        cells = _windows(nn.functional.pad(tokens, widths), window)
        mask = None
        if any(pad):
            real = torch.ones(1, d, h, w, 1, dtype=torch.bool, device=tokens.device)
            real = _windows(nn.functional.pad(real, widths), window)
            mask = real.transpose(1, 2).repeat(b, 1, 1)[:, None]
        n, t, _ = cells.shape
        q, k, v = self.qkv(cells).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out = self.proj(out.transpose(1, 2).reshape(n, t, c))
        grid = [(m + p) // k for m, p, k in zip((d, h, w), pad, window, strict=True)]
        out = out.view(b, *grid, *window, c).permute(0, 1, 4, 2, 5, 3, 6, 7)
        out = out.reshape(b, d + pad[0], h + pad[1], w + pad[2], c)
        return cast(Tensor, out[:, :d, :h, :w])


def _windows(x: Tensor, window: list[int]) -> Tensor:
    """Cut (B, d, h, w, C) into (B * windows, tokens, C)."""
    b, d, h, w, c = x.shape
    kd, kh, kw = window
    x = x.view(b, d // kd, kd, h // kh, kh, w // kw, kw, c)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, kd * kh * kw, c)
