"""nnU-Net's augmentation: what each change keeps, how often it happens, how it is reproduced."""

from __future__ import annotations

import pytest
import torch

from vpbsd.compare.loop import augmentation
from vpbsd.compare.loop.augmentation import NnUnetAugmentation

CUBE, THIN = (16, 16, 16), (6, 32, 32)


def image(patches: int = 1, shape: tuple[int, int, int] = CUBE) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(patches, 2, *shape)


def drawing(monkeypatch: pytest.MonkeyPatch, *numbers: float) -> None:
    """Let the next random numbers be these, and a repetition of the last after them."""
    left = list(numbers)
    monkeypatch.setattr(augmentation, "_random", lambda: left.pop(0) if len(left) > 1 else left[0])


def only(monkeypatch: pytest.MonkeyPatch, step: int, *numbers: float) -> None:
    """Let step number ``step`` of the five happen, with these random numbers; then no other."""
    drawing(monkeypatch, *[0.99] * step, 0.0, *numbers, 0.99)


def test_brightness_is_a_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    x = image()
    # Per channel: below 1, at 0 of the range 0.75 to 1; then above 1, at half of 1 to 1.25.
    only(monkeypatch, 0, 0.0, 0.0, 0.6, 0.5)
    out = NnUnetAugmentation(CUBE)(x)
    torch.testing.assert_close(out[:, 0], 0.75 * x[:, 0])
    torch.testing.assert_close(out[:, 1], 1.125 * x[:, 1])


def test_contrast_keeps_the_mean_and_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    x = image()
    only(monkeypatch, 1, 0.0, 0.0, 0.6, 0.99)
    out = NnUnetAugmentation(CUBE)(x)
    torch.testing.assert_close(out[0, 0].mean(), x[0, 0].mean(), atol=1e-6, rtol=0)
    torch.testing.assert_close(out[0, 0].std(), 0.75 * x[0, 0].std())
    assert out[0, 1].std() > x[0, 1].std()
    assert (out[0, 1].amin(), out[0, 1].amax()) == (x[0, 1].amin(), x[0, 1].amax())


def test_low_resolution_loses_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    x = image()
    only(monkeypatch, 2, 0.0, 0.0, 0.5)  # the first channel at half the voxels, not the second
    out = NnUnetAugmentation(CUBE)(x)
    assert torch.equal(out[:, 1], x[:, 1])
    rough, smooth = x[0, 0].diff(dim=0).square().mean(), out[0, 0].diff(dim=0).square().mean()
    assert smooth < 0.5 * rough


def test_low_resolution_spares_thick_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = torch.arange(6.0).view(1, 1, 6, 1, 1).expand(1, 1, *THIN)
    only(monkeypatch, 2, 0.0, 0.0)
    assert torch.equal(NnUnetAugmentation(THIN)(planes), planes)
    only(monkeypatch, 2, 0.0, 0.0)
    assert not torch.equal(NnUnetAugmentation((6, 18, 18))(planes), planes)


@pytest.mark.parametrize("step", [3, 4])
def test_gamma_keeps_mean_spread_and_order(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    x = image()
    only(monkeypatch, step, 0.6, 0.99)  # gamma just below 1.5
    out = NnUnetAugmentation(CUBE)(x)
    assert not torch.allclose(out, x, atol=0.05)
    torch.testing.assert_close(out.mean((2, 3, 4)), x.mean((2, 3, 4)), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std((2, 3, 4)), x.std((2, 3, 4)), atol=1e-4, rtol=0)
    order = x[0, 0].flatten().argsort()
    assert (out[0, 0].flatten()[order].diff() >= 0).all()
    # A power above 1 stretches bright values; of the inverse, dark ones.
    skewed_to_bright = (out[0, 0] - out[0, 0].mean()).pow(3).mean()
    assert (skewed_to_bright > 0) == (step == 4)


def test_constant_patches_stay_finite() -> None:
    augment = NnUnetAugmentation(CUBE)
    torch.manual_seed(1)
    for _ in range(40):
        assert torch.isfinite(augment(torch.ones(1, 1, *CUBE))).all()


def test_how_often() -> None:
    torch.manual_seed(0)
    augment, x = NnUnetAugmentation((4, 4, 4)), torch.randn(4000, 1, 4, 4, 4)
    same = (augment(x) == x).flatten(1).all(1).float().mean().item()
    # 0.85 * 0.85 * (1 - 0.25 * 0.5) * 0.9 * 0.7 = 0.398; standard error 0.008. At 4 voxels an
    # edge, resolutions above 7/8 change nothing: a quarter of the range from 1/2 to 1.
    assert same == pytest.approx(0.85 * 0.85 * (1 - 0.25 * 0.5 * 0.75) * 0.9 * 0.7, abs=0.03)


def test_random_numbers_are_those_of_the_global_generator() -> None:
    augment, x = NnUnetAugmentation(CUBE), image(8)
    torch.manual_seed(5)
    first = augment(x)
    state = torch.get_rng_state()
    second = augment(x)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(augment(x), second)
    assert torch.equal(x, image(8))
