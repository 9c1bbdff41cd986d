"""The codebook: nearest codes, gradients straight through, usage, revival, four quantisers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vpbsd.config import CodebookConfig
from vpbsd.models import Codebook, CodeUsage, Quantised

QUANTISERS = ["ema", "gradient", "fsq", "none"]


def codebook(quantiser: str = "ema", **settings: Any) -> Codebook:
    torch.manual_seed(0)
    given_ = {"size": 16, "dimension": 4, "quantiser": quantiser, **settings}
    return Codebook(CodebookConfig.model_validate(given_))


def started(quantiser: str = "ema", **settings: Any) -> Codebook:
    """Return a codebook that has seen one batch, so that its codes are set."""
    book = codebook(quantiser, **settings)
    book(torch.randn(2, book.config.dimension, 4, 4, 4))
    return book


# ---------------------------------------------------------------------------------- quantisation


@pytest.mark.parametrize("quantiser", ["ema", "gradient"])
def test_each_encoding_gets_its_nearest_code(quantiser: str) -> None:
    book = started(quantiser).eval()
    z = torch.randn(2, 4, 3, 4, 5)
    out, table = book(z), book.table.detach()
    for b, d, h, w in torch.cartesian_prod(*(torch.arange(n) for n in (2, 3, 4, 5))).tolist():
        distances = [float((z[b, :, d, h, w] - code).square().sum()) for code in table]
        nearest = min(range(16), key=lambda i: distances[i])
        assert int(out.indices[b, d, h, w]) == nearest
        assert torch.equal(out.codes[b, :, d, h, w], table[nearest])


@pytest.mark.parametrize("quantiser", QUANTISERS)
@pytest.mark.parametrize("training", [True, False])
def test_one_return_type(quantiser: str, training: bool) -> None:
    book = started(quantiser).train(training)
    z = torch.randn(2, 4, 2, 3, 4, requires_grad=True)
    out = book(z)
    assert isinstance(out, Quantised)
    assert out.vectors.shape == out.codes.shape == out.encodings.shape == (2, 4, 2, 3, 4)
    assert out.indices.shape == (2, 2, 3, 4)
    assert out.indices.dtype == torch.int64
    assert int(out.indices.min()) >= 0
    assert int(out.indices.max()) < book.size
    assert torch.equal(out.encodings, z)


@pytest.mark.parametrize("quantiser", ["ema", "gradient", "fsq"])
def test_codes_are_found_again_by_their_index(quantiser: str) -> None:
    book = started(quantiser).eval()
    out = book(torch.randn(2, 4, 3, 4, 5))
    torch.testing.assert_close(book.lookup(out.indices), out.codes)
    torch.testing.assert_close(book.table[out.indices].movedim(-1, 1), out.codes)
    assert book.table.shape == (book.size, 4)
    torch.testing.assert_close(out.vectors, out.codes)


def test_without_a_codebook_there_is_nothing_to_look_up() -> None:
    book = codebook("none")
    assert book.size == 1
    for look in (lambda: book.lookup(torch.zeros(1, 2, 2, 2).long()), lambda: book.table):
        with pytest.raises(ValueError, match="quantiser: none"):
            look()


@pytest.mark.parametrize(
    ("asked", "given_"),
    [(16, 16), (25, 25), (64, 64), (100, 125), (128, 125), (256, 240), (1000, 1000), (4000, 4375)],
)
def test_fsq_size_is_the_closest_it_can_have(asked: int, given_: int) -> None:
    assert codebook("fsq", size=asked).size == given_


def test_fsq_of_as_many_dimensions_as_levels() -> None:
    # 5 * 4 * 3 = 60 codes with one coordinate each: the library needs no projection here.
    book = codebook("fsq", size=60, dimension=3)
    assert book.table.shape == (60, 3)
    assert len({tuple(code) for code in book.table.tolist()}) == 60


# -------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("quantiser", ["ema", "gradient"])
def test_gradients_pass_straight_through(quantiser: str) -> None:
    book = started(quantiser)
    z = torch.randn(1, 4, 2, 2, 2, requires_grad=True)
    upstream = torch.randn(1, 4, 2, 2, 2)
    (book(z).vectors * upstream).sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, upstream)


def test_codes_carry_gradients_only_where_the_optimiser_moves_them() -> None:
    z = torch.randn(1, 4, 2, 2, 2, requires_grad=True)
    by_gradient = started("gradient")
    by_gradient(z).codes.sum().backward()
    assert z.grad is None
    grads = [p.grad for p in by_gradient.parameters()]
    # 8 encodings, 4 coordinates each, every chosen code counted once per use
    assert sum(float(g.sum()) for g in grads if g is not None) == pytest.approx(32.0)
    for quantiser in ("ema", "fsq"):
        assert not started(quantiser)(z).codes.requires_grad


def test_codes_are_those_that_were_chosen_though_the_batch_moves_them() -> None:
    # Codes that few encodings choose die in this very batch and are put elsewhere.
    book = started("ema", revive_below=20.0, decay=0.5)
    before = book.table.clone()
    z = torch.randn(1, 4, 4, 4, 4)
    out = book(z)
    moved = (book.table[out.indices] - before[out.indices]).abs().sum(-1)
    assert (moved > 0.5).any(), "no code was replaced: the case is not the one to test"
    torch.testing.assert_close(out.codes, before[out.indices].movedim(-1, 1))


def test_moving_averages_follow_the_encodings() -> None:
    book = started("ema", decay=0.5, revive_below=0.0)
    target = torch.tensor([3.0, -1.0, 2.0, 0.5]).view(1, 4, 1, 1, 1).expand(1, 4, 4, 4, 4)
    for _ in range(30):
        out = book(target)
    torch.testing.assert_close(out.codes, target.contiguous(), atol=1e-3, rtol=0)
    assert not any(p.requires_grad for p in book.parameters())


def test_evaluation_changes_nothing() -> None:
    book = started("ema").eval()
    before = {k: v.clone() for k, v in book.state_dict().items()}
    book(torch.randn(2, 4, 4, 4, 4) * 5)
    assert all(torch.equal(v, before[k]) for k, v in book.state_dict().items())


# ------------------------------------------------------------------------------------------ usage


def usage_of(indices: list[int], size: int) -> CodeUsage:
    usage = CodeUsage(size)
    usage.add(torch.tensor(indices))
    return usage


@pytest.mark.parametrize(
    ("indices", "size", "perplexity", "dead_share"),
    [
        ([0, 1, 2, 3], 4, 4.0, 0.0),
        ([0, 0, 1, 1], 4, 2.0, 0.5),
        ([2, 2, 2], 8, 1.0, 7 / 8),
        # exp(-(3/4 ln 3/4 + 1/4 ln 1/4)) = exp(0.56234) = 1.75477
        ([0, 0, 0, 1], 2, 1.7547654, 0.0),
    ],
)
def test_usage_by_hand(indices: list[int], size: int, perplexity: float, dead_share: float) -> None:
    usage = usage_of(indices, size)
    assert usage.perplexity == pytest.approx(perplexity)
    assert usage.dead_share == pytest.approx(dead_share)


def test_usage_adds_up_over_batches_of_any_shape() -> None:
    usage = CodeUsage(3)
    usage.add(torch.tensor([[[0, 1]]]))
    usage.add(torch.tensor([1]))
    assert usage.counts.tolist() == [1, 2, 0]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50))
def test_perplexity_lies_between_one_and_the_codes_in_use(indices: list[int]) -> None:
    usage = usage_of(indices, 6)
    assert 1 - 1e-9 <= usage.perplexity <= len(set(indices)) + 1e-9
    assert usage.dead_share == pytest.approx(1 - len(set(indices)) / 6)


def test_usage_of_nothing_is_finite() -> None:
    assert math.isfinite(CodeUsage(4).perplexity)
    assert CodeUsage(4).dead_share == 1.0


# ---------------------------------------------------------------------------------------- revival


def perplexity_after_a_shift(revive_below: float) -> float:
    """Let codes start where encodings are, move all encodings far away, and count what is used.

    Nearest of all codes is one and the same, so without revival the others stay where they were.
    """
    book = codebook("ema", revive_below=revive_below, decay=0.5)
    generator = torch.Generator().manual_seed(0)
    for step in range(40):
        z = torch.randn(1, 4, 6, 6, 6, generator=generator)
        book(z if step == 0 else 0.1 * z + 100.0)
    usage = CodeUsage(16)
    book.eval()
    usage.add(book(0.1 * torch.randn(4, 4, 6, 6, 6, generator=generator) + 100.0).indices)
    return usage.perplexity


def test_dead_codes_are_revived() -> None:
    assert perplexity_after_a_shift(revive_below=0.0) == pytest.approx(1.0)
    assert perplexity_after_a_shift(revive_below=1.0) > 8.0
