"""The teacher's own objective: labels, and what its average sees in other patches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vpbsd.config import CodebookConfig, FinetuneConfig, RunConfig, TeacherConfig
from vpbsd.losses.pseudo_label import pseudo_label_loss
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.models import Teacher
from vpbsd.stages.finetune import FinetuneObjective
from vpbsd.stages.run import Run, finetune, pretrain

TEACHER = TeacherConfig(widths=(8, 8, 8, 8), heads=2, attention_blocks=1)
SHAPE = (16, 16, 16)


def objective(**settings: Any) -> FinetuneObjective:
    torch.manual_seed(0)
    net = Teacher(TEACHER, CodebookConfig(size=8, dimension=4, quantiser="none"))
    net(torch.randn(4, 1, *SHAPE), "segment")
    return FinetuneObjective(net, FinetuneConfig(**settings))


def batch(ramp: float = 1.0, loose: bool = True) -> dict[str, Tensor]:
    torch.manual_seed(1)
    found = {"image": torch.randn(2, 1, *SHAPE), "label": (torch.rand(2, 1, *SHAPE) > 0.8).float()}
    if loose:
        plain = torch.randn(1, 1, *SHAPE)
        found |= {"plain": plain, "unlabelled": 2 * plain + 1, "ramp": torch.tensor(ramp)}
    return found


@pytest.mark.parametrize("ramp", [0.0, 0.25, 1.0])
def test_loss_is_the_weighted_sum(ramp: float) -> None:
    losses = objective(semi_weight=0.5, codebook_weight=0.2)(batch(ramp))
    parts = {name: value.item() for name, value in losses.items()}
    assert set(parts) == {"loss", "seg", "cb", "semi", "perplexity"}
    expected = parts["seg"] + 0.5 * ramp * parts["semi"] + 0.2 * parts["cb"]
    assert parts["loss"] == pytest.approx(expected, rel=1e-5)


def test_each_patch_is_held_to_its_own_target() -> None:
    seen = batch()
    net = objective().teacher
    logits = net(torch.cat([seen["image"], seen["unlabelled"]]), "segment").image
    # At the first step the average is a copy of the teacher, and looks at the plain patch.
    own = net.eval()(seen["plain"], "segment").image.sigmoid().detach()
    losses = objective()(seen)
    seg = segmentation_loss(logits[:2], seen["label"])
    assert losses["seg"].item() == pytest.approx(seg.item(), rel=1e-5)
    semi = pseudo_label_loss(logits[2:], own)
    assert losses["semi"].item() == pytest.approx(semi.item(), rel=1e-4)


def test_the_average_follows_and_learns_nothing_itself() -> None:
    net = objective()
    net(batch())["loss"].backward()
    assert all(p.grad is None for p in net.average.parameters())
    learnt = {name for name, p in net.teacher.named_parameters() if p.grad is not None}
    assert {name.split(".")[0] for name in learnt} >= {"stem", "level3", "to_code", "segment"}
    before = [p.clone() for p in net.average.parameters()]
    with torch.no_grad():
        for weight in net.teacher.parameters():
            weight += 1
    net(batch())
    # After the second of two steps the average is their mean.
    for old, new in zip(before, net.average.parameters(), strict=True):
        assert torch.allclose(new, old + 0.5)


def test_without_weight_there_are_labels_alone() -> None:
    net = objective(semi_weight=0)
    assert net.average is None
    assert set(net(batch(loose=False))) == {"loss", "seg", "cb", "perplexity"}


@pytest.mark.parametrize(("weight", "keys"), [(0.0, set()), (1.0, {"plain", "unlabelled", "ramp"})])
def test_a_run_draws_unlabelled_patches_where_they_count(
    settings: Callable[..., RunConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    weight: float,
    keys: set[str],
) -> None:
    seen: list[dict[str, Tensor]] = []
    forward = FinetuneObjective.forward

    def noted(self: FinetuneObjective, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append(dict(batch))
        return forward(self, batch)

    monkeypatch.setattr(FinetuneObjective, "forward", noted)
    changed = {"semi_weight": weight, "unlabelled_batch_size": 3, "semi_warmup_share": 0.5}
    run = Run(settings(finetune=changed), tmp_path)
    pretrain(run)
    finetune(run)
    assert len(seen) == 6
    assert all(set(one) == {"image", "label", *keys} for one in seen)
    if weight:
        assert all(one["plain"].shape == (3, 1, 16, 16, 16) for one in seen)
        assert not torch.equal(seen[0]["plain"], seen[1]["plain"])
        assert [one["ramp"].item() for one in seen] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])
