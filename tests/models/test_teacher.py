"""The teacher: any patch its stride divides, no leak from padding, no way around the codebook."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import nn

from vpbsd.config import CodebookConfig, TeacherConfig
from vpbsd.models import Teacher
from vpbsd.models.layers import ConvGroupNorm
from vpbsd.models.teacher import WindowAttention

SMALL = {"widths": (8, 16, 16, 16), "heads": 2, "attention_blocks": 1, "window_tokens": 4}


def teacher(quantiser: str = "ema", **settings: Any) -> Teacher:
    torch.manual_seed(0)
    codebook = CodebookConfig.model_validate({"size": 8, "dimension": 4, "quantiser": quantiser})
    return Teacher(TeacherConfig(**{**SMALL, **settings}), codebook)


@pytest.mark.parametrize(
    ("downsampling", "patch", "grid"),
    [
        (((2, 2, 2), (2, 2, 2), (2, 2, 2)), (16, 16, 16), (4, 4, 4)),
        # tokens 1 x 3 x 5 with windows of 4: not cubic, and the last axis is padded
        (((2, 2, 2), (2, 2, 2), (2, 2, 2)), (8, 24, 40), (2, 6, 10)),
        # tokens 5 x 6 x 7: every axis is padded
        (((2, 2, 2), (2, 2, 2), (2, 2, 2)), (40, 48, 56), (10, 12, 14)),
        (((1, 2, 2), (2, 2, 2), (1, 2, 2)), (10, 16, 24), (5, 4, 6)),
    ],
)
def test_any_patch_that_the_stride_divides(
    downsampling: Any, patch: tuple[int, int, int], grid: tuple[int, int, int]
) -> None:
    net = teacher(downsampling=downsampling, channels=2)
    x = torch.randn(1, 2, *patch)
    with torch.no_grad():
        reconstruction, logits = net(x, "reconstruct"), net(x, "segment")
    assert reconstruction.image.shape == (1, 2, *patch)
    assert logits.image.shape == (1, 1, *patch)
    assert logits.quantised.indices.shape == (1, *grid)
    assert logits.quantised.vectors.shape == (1, 4, *grid)


@pytest.mark.parametrize("patch", [(16, 16, 12), (4, 16, 16)])
def test_other_patches_are_refused(patch: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"divisible by \(8, 8, 8\)"):
        teacher()(torch.zeros(1, 1, *patch), "segment")


# -------------------------------------------------------------------------------------- attention


def attend_one_window(block: WindowAttention, tokens: torch.Tensor) -> torch.Tensor:
    """Attention over all of ``tokens`` (n, c) as the textbook writes it, head by head."""
    width = tokens.shape[1]
    qkv = tokens @ block.qkv.weight.T + block.qkv.bias
    q, k, v = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
    size = width // block.heads
    heads = []
    for h in range(block.heads):
        s = slice(h * size, (h + 1) * size)
        share = torch.softmax(q[:, s] @ k[:, s].T / size**0.5, dim=1)
        heads.append(share @ v[:, s])
    return torch.cat(heads, 1) @ block.proj.weight.T + block.proj.bias


@pytest.mark.parametrize("grid", [(4, 4, 4), (3, 2, 4), (5, 6, 7), (4, 9, 1), (8, 4, 4)])
def test_attention_sees_the_real_tokens_of_its_window_alone(grid: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    block = WindowAttention(8, heads=2, edge=4)
    tokens = torch.randn(2, *grid, 8)
    with torch.no_grad():
        out = block._attend(tokens)
        for b in range(2):
            for z in range(0, grid[0], 4):
                for y in range(0, grid[1], 4):
                    for x in range(0, grid[2], 4):
                        # Slicing stops at the border: only real tokens take part.
                        window = (b, slice(z, z + 4), slice(y, y + 4), slice(x, x + 4))
                        expected = attend_one_window(block, tokens[window].reshape(-1, 8))
                        torch.testing.assert_close(out[window].reshape(-1, 8), expected)


def test_attention_reaches_across_its_window() -> None:
    torch.manual_seed(0)
    block = WindowAttention(8, heads=2, edge=4)
    x = torch.randn(1, 8, 4, 4, 4, requires_grad=True)
    block(x)[0, :, 0, 0, 0].sum().backward()
    assert x.grad is not None
    assert (x.grad[0].abs().sum(0) > 0).all()


# --------------------------------------------------------------------------------------- codebook


def test_reconstruction_depends_on_the_codes_alone() -> None:
    net = teacher().eval()
    first, second = torch.randn(2, 1, 1, 16, 16, 16)
    fixed = net.encode(torch.randn(1, 1, 16, 16, 16))
    with torch.no_grad():
        apart = [net(x, "reconstruct").image for x in (first, second)]
        net.codebook.forward = lambda encodings: fixed[0]  # type: ignore[method-assign]
        same = [net(x, "reconstruct").image for x in (first, second)]
        segmented = [net(x, "segment").image for x in (first, second)]
    assert torch.equal(same[0], same[1]), "a skip carries the image around the codebook"
    assert not torch.equal(apart[0], apart[1])
    assert not torch.equal(segmented[0], segmented[1]), "segmentation has skips"


def test_without_a_codebook_encodings_pass_through() -> None:
    net = teacher("none")
    out = net(torch.randn(1, 1, 16, 16, 16), "segment").quantised
    assert out.vectors is out.encodings
    assert out.indices.unique().tolist() == [0]


@pytest.mark.parametrize("task", ["reconstruct", "segment"])
def test_gradients_reach_encoder_and_the_decoder_of_the_task(
    task: Literal["reconstruct", "segment"],
) -> None:
    net = teacher()
    net.train_only("segment" if task == "reconstruct" else "reconstruct")
    net.train_only(task)
    net(torch.randn(1, 1, 16, 16, 16), task).image.square().mean().backward()
    got = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert got == {
        *("stem", "level1", "level2", "level3", "merge_up", "merge", "to_code"),
        task,
    }
    trainable = {name.split(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert trainable == got, "a parameter that gets no gradient stops distributed training"


def test_training_goes_through_every_parameter() -> None:
    net = teacher()
    net.train_only("segment")
    net(torch.randn(2, 1, 16, 16, 16), "segment").image.square().mean().backward()
    untouched = [
        n for n, p in net.named_parameters() if p.requires_grad and not p.grad.abs().sum() > 0
    ]
    assert untouched == []


def test_untrained_teacher_predicts_few_vessels() -> None:
    assert isinstance(teacher().segment.out, nn.Conv3d)
    assert teacher().segment.out.bias.tolist() == pytest.approx([-2.1972246])


# ------------------------------------------------------------------------- purely convolutional


def test_without_attention_no_transformer_is_left() -> None:
    net = teacher(attention_blocks=0)
    kinds = {type(m) for m in net.level3.modules()}
    assert WindowAttention not in kinds
    assert not {nn.Linear, nn.LayerNorm} & {type(m) for m in net.modules()}
    out = net(torch.randn(2, 1, 16, 16, 16), "segment")
    assert out.image.shape == (2, 1, 16, 16, 16)


def test_without_attention_the_default_teacher_has_about_as_many_parameters() -> None:
    with_attention, without = (
        sum(p.numel() for p in Teacher(config, CodebookConfig()).parameters())
        for config in (TeacherConfig(), TeacherConfig(attention_blocks=0))
    )
    assert with_attention == 2_919_314
    assert without == pytest.approx(with_attention, rel=0.05)


@pytest.mark.parametrize("blocks", [0, 1])
def test_without_attention_the_coarsest_level_sees_one_cell_further(blocks: int) -> None:
    net = teacher(attention_blocks=blocks, window_tokens=6)
    for module in net.level3:
        if isinstance(module, ConvGroupNorm):
            # It measures the whole patch, which is not what is asked here.
            module.norm = nn.Identity()
    fine = torch.randn(1, 16, 12, 2, 2, requires_grad=True)
    coarse = net.level3(fine)
    assert coarse.shape == (1, 16, 6, 1, 1)
    coarse[0, :, 0].sum().backward()
    assert fine.grad is not None
    seen = fine.grad[0].abs().sum((0, 2, 3)) > 0
    # Two fine cells a coarse one: its own and its neighbour's, or the whole window.
    assert seen.sum().item() == (4 if blocks == 0 else 12)


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [(0, "last must be a multiple of 8"), (1, r"heads 2 must divide")],
)
def test_widths_must_suit_the_blocks(blocks: int, reason: str) -> None:
    widths = (8, 8, 8, 11)
    with pytest.raises(ValueError, match=reason):
        TeacherConfig(widths=widths, heads=2, attention_blocks=blocks)
    # Heads mean nothing without attention.
    assert TeacherConfig(widths=(8, 8, 8, 16), heads=5, attention_blocks=0).heads == 5


def test_fewer_than_no_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        TeacherConfig(attention_blocks=-1)
