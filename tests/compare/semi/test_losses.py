"""Each method's own loss: worked out by hand in a small case, 0 where there is agreement."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from vpbsd.compare.semi import bcp, cross_teaching, ict, ua_mt
from vpbsd.compare.semi.bcp import BidirectionalCopyPaste, around_a_cuboid, pasted
from vpbsd.compare.semi.cps import CrossPseudoSupervision
from vpbsd.compare.semi.cross_teaching import CrossTeaching, TransformerPartner
from vpbsd.compare.semi.ict import InterpolationConsistency, mixed, partners
from vpbsd.compare.semi.mean_teacher import MeanTeacher, consistency_loss
from vpbsd.compare.semi.ua_mt import (
    certain_consistency_loss,
    entropy,
    entropy_limit,
    feature_dropout,
    noisy,
)
from vpbsd.compare.semi.urpc import PyramidConsistency, pyramid_consistency_loss
from vpbsd.config import StudentConfig
from vpbsd.errors import MissingExtraError
from vpbsd.models import Student

STUDENT = StudentConfig(widths=(8, 16), downsampling=((2, 2, 2), (2, 2, 2)))


def student() -> Student:
    torch.manual_seed(0)
    return Student(STUDENT)


def voxels(*values: float) -> Tensor:
    """Return (1, 1, 1, 1, n)."""
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, 1, -1)


def logit(*probabilities: float) -> Tensor:
    return voxels(*probabilities).logit()


def batch(unlabelled: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(1)
    plain = torch.randn(unlabelled, 1, 8, 8, 8)
    return {
        "image": torch.randn(2, 1, 8, 8, 8),
        "label": (torch.rand(2, 1, 8, 8, 8) > 0.8).float(),
        "unlabelled": plain,
        "plain": plain,
        "ramp": torch.tensor(1.0),
        "progress": torch.tensor(0.5),
    }


# ------------------------------------------------------------------------------------ mean teacher


def test_consistency_by_hand() -> None:
    # (0.5 - 1)^2 and (0.5 - 0.5)^2
    assert consistency_loss(voxels(0, 0), voxels(1, 0.5)).item() == pytest.approx(0.125)
    assert consistency_loss(logit(0.2, 0.9), voxels(0.2, 0.9)).item() == pytest.approx(0, abs=1e-12)


def test_mean_teacher_agrees_with_its_copy_on_the_same_patch() -> None:
    objective = MeanTeacher(student()).eval()
    assert objective(batch())["semi"].item() == pytest.approx(0, abs=1e-12)
    shown = batch()
    shown["plain"] = shown["plain"] + 1
    assert objective(shown)["semi"].item() > 1e-6


def test_teacher_follows_before_it_is_asked() -> None:
    objective = MeanTeacher(student()).eval()
    with torch.no_grad():
        objective.student.out_up.weight.mul_(3)
    assert objective(batch())["semi"].item() == pytest.approx(0, abs=1e-12)
    assert objective.teacher.updates.item() == 1


# ------------------------------------------------------------------------------------------- UA-MT


def test_certain_consistency_by_hand() -> None:
    # The second voxel is too uncertain: (0.25 + 0 + 0.25) / 3.
    found = certain_consistency_loss(
        voxels(0, 0, 0, 0), voxels(1, 1, 0.5, 0), voxels(0, 0.6, 0.1, 0.2), torch.tensor(0.52)
    )
    assert found.item() == pytest.approx(1 / 6)


def test_nothing_certain_costs_nothing() -> None:
    found = certain_consistency_loss(voxels(0), voxels(1), voxels(0.6), torch.tensor(0.5))
    assert found.item() == 0


def test_entropy_by_hand() -> None:
    assert entropy(voxels(0, 0.25, 0.5, 1)).flatten().tolist() == pytest.approx(
        [0, 0.562335, 0.693147, 0], abs=1e-6
    )


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 0.521028), (0.5, 0.569508), (1, 0.693147)]
)
def test_limit_rises_to_the_greatest_entropy(progress: float, expected: float) -> None:
    assert entropy_limit(torch.tensor(progress)).item() == pytest.approx(expected, abs=1e-6)


def test_noise_is_small_and_cut_off() -> None:
    torch.manual_seed(0)
    noise = noisy(torch.full((50, 50, 50), 7.0)) - 7
    assert noise.abs().max().item() == pytest.approx(0.2, abs=1e-6)
    assert noise.mean().item() == pytest.approx(0, abs=2e-3)
    # A normal deviation of 0.1 cut off at twice that: 0.0959 (by tables of the normal).
    assert noise.std().item() == pytest.approx(0.0959, abs=1e-3)


def test_dropout_lasts_as_long_as_it_is_asked_for() -> None:
    net = student().eval()
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        plain = net(x)
        with feature_dropout(net, 0.3):
            dropped = net.features(x)
            assert not torch.equal(net(x), net(x))
        assert torch.equal(net(x), plain)
    for level in dropped:
        # Half of what a ReLU gives is 0 already.
        assert 0.4 < (level == 0).float().mean().item() < 0.9


def test_passes_of_the_teacher_differ() -> None:
    objective = ua_mt.UncertaintyAwareMeanTeacher(student())
    seen: list[Tensor] = []
    objective.teacher.register_forward_hook(lambda m, i, out: seen.append(out))
    found = objective(batch())
    assert len(seen) == 8 + 1, "K passes and the target"
    assert len({one.sum().item() for one in seen}) == 9
    assert 0 <= found["certain"].item() <= 1


# -------------------------------------------------------------------------------- CPS and the other


def test_cps_by_hand() -> None:
    net = CrossPseudoSupervision(student(), student())
    # -log(1/2), and -log of 3/4 and of 1/4
    assert net.disagreement(voxels(0), voxels(1)).item() == pytest.approx(0.693147, abs=1e-6)
    found = net.disagreement(logit(0.75, 0.75), voxels(1, 0)).item()
    assert found == pytest.approx((0.287682 + 1.386294) / 2, abs=1e-6)


def test_cross_teaching_by_hand() -> None:
    net = CrossTeaching(student(), student())
    decided = voxels(*[1] * 16, *[0] * 16)
    # Probability 1/2 everywhere, 16 voxels of smoothing: 1 - (2 * 8 + 16) / (16 + 16 + 16).
    found = net.disagreement(torch.zeros_like(decided), decided).item()
    assert found == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", [CrossPseudoSupervision, CrossTeaching])
def test_sure_nets_that_agree_cost_nothing(kind: type[CrossTeaching]) -> None:
    logits = voxels(40, -40, 40)
    found = kind(student(), student()).disagreement(logits, voxels(1, 0, 1)).item()
    assert found == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", [CrossPseudoSupervision, CrossTeaching])
def test_neither_net_is_moved_by_what_it_decides_for_the_other(kind: type[CrossTeaching]) -> None:
    net = kind(student(), student())
    losses = net(batch())
    of_student, of_partner = list(net.student.parameters()), list(net.partner.parameters())
    for part, own, other in (
        ("semi", of_student, of_partner),
        ("partner_semi", of_partner, of_student),
    ):
        gradients = torch.autograd.grad(
            losses[part], [*own, *other], retain_graph=True, allow_unused=True
        )
        assert all(g is not None for g in gradients[: len(own)])
        assert all(g is None for g in gradients[len(own) :])


def test_the_two_students_start_differently() -> None:
    from vpbsd.compare.semi import SEMI
    from vpbsd.config import parse_config

    shares = {stage: {"simulated_share": 1} for stage in ("finetune", "distill")}
    net = SEMI["cps"].build(parse_config(shares), None)
    assert isinstance(net, CrossPseudoSupervision)
    first, second = net.student.state_dict(), net.partner.state_dict()
    assert first.keys() == second.keys()
    assert not torch.equal(first["down.0.weight"], second["down.0.weight"])
    assert net.deployed is net.student


# ---------------------------------------------------------------------------------- the transformer


@pytest.mark.parametrize(
    ("patch", "padded"),
    [((48, 64, 64), (48, 64, 64)), ((12, 80, 80), (16, 80, 80)), ((20, 24, 16), (32, 32, 16))],
)
def test_partner_takes_any_patch(
    patch: tuple[int, int, int], padded: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_teaching, "HIDDEN", 24)
    monkeypatch.setattr(cross_teaching, "MLP", 24)
    torch.manual_seed(0)
    partner = TransformerPartner(2, patch)
    assert partner.padded == padded
    with torch.no_grad():
        logits = partner(torch.randn(1, 2, *patch))
    assert logits.shape == (1, 1, *patch)
    assert logits.mean().item() == pytest.approx(-2.2, abs=1.0)


def test_partner_of_thin_patches_learns_the_same_in_bf16_and_fp32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Its decoder starts on a grid 2 cells deep, smaller than the kernels of 3.
    monkeypatch.setattr(cross_teaching, "HIDDEN", 24)
    monkeypatch.setattr(cross_teaching, "MLP", 24)
    torch.manual_seed(0)
    partner = TransformerPartner(1, (12, 48, 48))
    images = torch.randn(1, 1, 12, 48, 48)
    gradients = []
    for enabled in (False, True):
        partner.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = partner(images)
        logits.float().square().mean().backward()
        gradients.append(
            {n: p.grad.clone() for n, p in partner.named_parameters() if p.grad is not None}
        )
    exact, half = gradients
    kernels = [name for name, gradient in exact.items() if gradient.shape[2:] == (3, 3, 3)]
    assert len(kernels) > 8
    for name in kernels:
        off = (half[name] - exact[name]).norm() / exact[name].norm()
        assert off < 0.4, f"{name}: {off:.3g}"


def test_without_monai_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks.nets.unetr", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vpbsd\[compare\]'"):
        TransformerPartner(1, (16, 16, 16))


# -------------------------------------------------------------------------------------------- URPC


def test_pyramid_by_hand() -> None:
    # One voxel: mean 0.6, squares 0.04, D = 0.6 ln 6/8 + 0.4 ln 4/2 and 0.6 ln 6/4 + 0.4 ln 4/6.
    found = pyramid_consistency_loss([logit(0.8), logit(0.4)]).item()
    assert found == pytest.approx(0.04 + (0.104650 + 0.081093) / 2, abs=1e-5)
    # A second voxel on which both agree has weight 1, the first one exp(-D).
    found = pyramid_consistency_loss([logit(0.8, 0.5), logit(0.4, 0.5)]).item()
    assert found == pytest.approx(0.065508, abs=1e-5)


def test_equal_scales_cost_nothing() -> None:
    one = logit(0.01, 0.3, 0.999)
    assert pyramid_consistency_loss([one, one, one]).item() == pytest.approx(0, abs=1e-6)


def test_extreme_scales_stay_finite() -> None:
    scales = [voxels(60, -60).requires_grad_(), voxels(-60, -60)]
    loss = pyramid_consistency_loss(scales)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(scales[0].grad).all()


def test_scales_are_the_students_own_and_one_a_level() -> None:
    net = PyramidConsistency(student()).eval()
    x = torch.randn(1, 1, 16, 16, 16)
    scales = net.scales(x)
    assert [s.shape for s in scales] == [(1, 1, 16, 16, 16)] * 3
    assert torch.equal(scales[0], net.deployed(x))


# --------------------------------------------------------------------------------------------- ICT


def test_mixture_by_hand() -> None:
    first, second = torch.tensor([[2.0], [8.0]]), torch.tensor([[6.0], [0.0]])
    # 0.25 * 2 + 0.75 * 6, and 0.5 * 8
    assert mixed(first, second, torch.tensor([0.25, 0.5])).tolist() == [[5.0], [4.0]]


def test_partner_is_the_next_patch_and_a_labelled_one_for_the_last() -> None:
    unlabelled, labelled = torch.tensor([[1.0], [2.0]]), torch.tensor([[8.0], [9.0]])
    assert partners(unlabelled, labelled).tolist() == [[2.0], [8.0]]
    assert partners(unlabelled[:1], labelled).tolist() == [[8.0]]


def test_mixing_a_patch_with_itself_costs_nothing() -> None:
    objective = InterpolationConsistency(student()).eval()
    shown = batch()
    shown["image"] = shown["unlabelled"].repeat(2, 1, 1, 1, 1)
    assert objective(shown)["semi"].item() == pytest.approx(0, abs=1e-12)
    assert objective(batch())["semi"].item() > 0


def test_shares_lean_towards_the_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def spy(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
        seen.append(share)
        return mixed(first, second, share)

    monkeypatch.setattr(ict, "mixed", spy)
    objective, shown = InterpolationConsistency(student()), batch(2)
    with torch.no_grad():
        for _ in range(100):
            objective(shown)
    # Images and predictions of a step are mixed alike.
    assert all(torch.equal(a, b) for a, b in zip(seen[::2], seen[1::2], strict=True))
    shares = torch.cat(seen)
    assert shares.mean().item() == pytest.approx(0.5, abs=0.1)
    # Beta(0.2, 0.2) has more than half of its mass outside 0.1 to 0.9.
    assert ((shares - 0.5).abs() > 0.4).float().mean().item() > 0.5


# --------------------------------------------------------------------------------------------- BCP


def test_cuboid_takes_two_thirds_of_each_edge_anywhere() -> None:
    torch.manual_seed(0)
    masks = [around_a_cuboid((6, 9, 12)) for _ in range(40)]
    # 4 x 6 x 8 voxels
    assert {(1 - m).sum().item() for m in masks} == {192}
    corners = {tuple((1 - m).nonzero()[0].tolist()) for m in masks}
    assert len(corners) > 10
    assert all(c[0] <= 2 and c[1] <= 3 and c[2] <= 4 for c in corners)
    zeros = (1 - masks[0]).nonzero()
    assert (zeros.max(0).values - zeros.min(0).values + 1).tolist() == [4, 6, 8]


def test_pasted_by_hand() -> None:
    found = pasted(torch.tensor([1.0, 2.0]), torch.tensor([7.0, 8.0]), torch.tensor([1.0, 0.0]))
    assert found.tolist() == [1.0, 8.0]


class SeesAll(nn.Module):
    """A perfect net for images that are their own label."""

    def forward(self, x: Tensor) -> Tensor:
        return 80 * (x - 0.5)


def vessels(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, 1, 6, 6, 6, generator=generator) > 0.7).float()


def pairs(labelled: int, unlabelled: int, progress: float = 0.5) -> dict[str, Tensor]:
    image, loose = vessels(labelled, 0), vessels(unlabelled, 1)
    return {
        "image": image,
        "label": image.clone(),
        "unlabelled": loose,
        "plain": loose,
        "progress": torch.tensor(progress),
        "ramp": torch.tensor(1.0),
    }


@pytest.mark.parametrize("sizes", [(2, 1), (2, 2), (1, 1), (3, 1), (5, 2), (1, 4)])
@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_a_perfect_net_has_no_loss_whatever_is_pasted(
    sizes: tuple[int, int], progress: float
) -> None:
    objective = BidirectionalCopyPaste(SeesAll())
    losses = objective(pairs(*sizes, progress))
    assert losses["loss"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sizes", [(2, 1), (3, 1), (5, 2), (2, 3)])
def test_every_label_takes_part(sizes: tuple[int, int]) -> None:
    objective = BidirectionalCopyPaste(SeesAll())
    for number in range(sizes[0]):
        shown = pairs(*sizes)
        shown["label"][number] = 1 - shown["label"][number]
        losses = objective(shown)
        assert losses["seg"].item() > 1
        assert losses["semi"].item() == pytest.approx(0, abs=1e-6)


def test_what_the_teacher_decides_counts_half() -> None:
    objective = BidirectionalCopyPaste(SeesAll())
    shown = pairs(2, 1)
    shown["plain"] = 1 - shown["plain"]
    losses = objective(shown)
    assert losses["seg"].item() == pytest.approx(0, abs=1e-6)
    # Every voxel is wrong by a logit of 40: cross-entropy 40, and Dice 1 less its smoothing.
    assert 40.5 < losses["semi"].item() < 41
    assert losses["loss"].item() == pytest.approx(0.5 * losses["semi"].item())


def test_the_teacher_begins_as_a_copy_once_labelled_steps_are_over() -> None:
    objective = BidirectionalCopyPaste(student())
    shown = {k: v for k, v in batch().items() if k not in ("ramp", "progress")}
    early = objective({**shown, "progress": torch.tensor(0.1), "ramp": torch.tensor(1.0)})
    assert early["semi"].item() == 0
    assert objective.teacher.updates.item() == 0
    with torch.no_grad():
        objective.student.out_up.weight.mul_(3)
    objective({**shown, "progress": torch.tensor(0.12), "ramp": torch.tensor(1.0)})
    assert torch.equal(objective.teacher.net.out_up.weight, objective.student.out_up.weight)
    assert pytest.approx(0.117647, abs=1e-6) == bcp.LABELLED_ONLY_SHARE
