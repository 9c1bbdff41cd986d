"""What every rival that deploys the student must hold to, whatever its idea."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import zarr
from torch import Tensor, nn

from vpbsd.compare.distillation import DISTILLATION
from vpbsd.compare.loop.objective import Objective
from vpbsd.compare.loop.student import StudentObjective
from vpbsd.compare.semi import SEMI, cross_teaching
from vpbsd.config import CodebookConfig, RunConfig, TeacherConfig, parse_config
from vpbsd.errors import ConfigError
from vpbsd.models import Model, Student, Teacher, load_model, save_model
from vpbsd.stages.distill import Guidance
from vpbsd.stages.label import TeacherLabels

ALL = {**SEMI, **DISTILLATION}
SUPERVISED = {"seg", "partner_seg"}
TEACHER = TeacherConfig(widths=(8, 8, 8, 8), heads=2, attention_blocks=1)


@pytest.fixture(autouse=True)
def small_partner(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FEATURES": 4, "HIDDEN": 24, "MLP": 24}.items():
        monkeypatch.setattr(cross_teaching, name, value)


def config(**distill: Any) -> RunConfig:
    return parse_config(
        {
            "student": {"widths": (8, 16), "downsampling": ((2, 2, 2), (2, 2, 2))},
            "finetune": {"simulated_share": 1},
            "distill": {"simulated_share": 1, "patch_voxels": (16, 16, 16), **distill},
        }
    )


def guidance(*labels: TeacherLabels) -> Guidance:
    net = Teacher(TEACHER, CodebookConfig(size=8, dimension=4))
    return Guidance(Model(net, "teacher", 0.3, {}, "fingerprint"), [], labels)


def objective(name: str, **distill: Any) -> Objective:
    torch.manual_seed(0)
    return ALL[name].build(config(**distill), guidance() if name in DISTILLATION else None)


def batch(name: str) -> dict[str, Tensor]:
    torch.manual_seed(1)
    found = {
        "image": torch.randn(2, 1, 16, 16, 16),
        "label": (torch.rand(2, 1, 16, 16, 16) > 0.8).float(),
        "unlabelled": torch.randn(1, 1, 16, 16, 16),
        "ramp": torch.tensor(1.0),
        "progress": torch.tensor(0.5),
    }
    if name in SEMI:
        return {**found, "plain": torch.randn(1, 1, 16, 16, 16)}
    return {
        **found,
        "probability": torch.rand(1, 1, 16, 16, 16),
        "codes": torch.randint(8, (1, 4, 4, 4)),
        "encodings": torch.randn(1, 4, 4, 4, 4),
    }


def losses(net: Objective, shown: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the losses of a copy, with the same random numbers each time."""
    torch.manual_seed(2)
    found: dict[str, Tensor] = copy.deepcopy(net)(shown)
    return found


def test_the_registries_name_every_method() -> None:
    assert sorted(SEMI) == [
        *("bcp", "cps", "cross_teaching", "ict", "mean_teacher", "ua_mt", "urpc"),
    ]
    assert sorted(DISTILLATION) == ["attention_transfer", "cwd", "fitnets", "logits", "rkd"]
    for name, rival in ALL.items():
        assert rival.name == name
        assert "20" in rival.what, "the year of its source"


@pytest.mark.parametrize("name", ALL)
def test_what_is_deployed_is_the_plain_student(name: str, tmp_path: Path) -> None:
    net = objective(name)
    assert isinstance(net, StudentObjective)
    assert net.needs == ("unlabelled" if name in SEMI else "teacher")
    assert type(net.deployed) is Student
    assert net.deployed.config == config().student
    net(batch(name))
    save_model(tmp_path / "net.safetensors", net.deployed, threshold=0.4, metadata={})
    loaded = load_model(tmp_path / "net.safetensors")
    assert loaded.threshold == 0.4
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded.net(x), net.deployed.eval()(x))


@pytest.mark.parametrize("name", ALL)
def test_losses_are_finite_scalars(name: str) -> None:
    found = losses(objective(name), batch(name))
    assert {"loss", "seg"} < set(found)
    assert all(v.shape == () and torch.isfinite(v) for v in found.values())
    assert found["loss"].requires_grad
    assert all(found[k].item() > 0 for k in found if k != "certain")


@pytest.mark.parametrize("name", ALL)
def test_gradients_reach_all_that_is_trained_and_no_moving_average(name: str) -> None:
    net = objective(name)
    net(batch(name))["loss"].backward()
    frozen = {n for n, p in net.named_parameters() if not p.requires_grad}
    averages = {n for n, _ in net.named_parameters() if n.startswith("teacher.")}
    unused = {n for n in frozen if n.startswith("partner.") and "cross_attn" in n}
    assert frozen - unused == averages
    assert bool(averages) == (name in ("mean_teacher", "ua_mt", "ict", "bcp"))
    assert all(p.grad is None for p in net.parameters() if not p.requires_grad)
    untouched = [n for n, p in net.named_parameters() if p.requires_grad and (p.grad is None)]
    assert untouched == [], "a parameter without gradient stops distributed training"
    assert all(p.grad.any() for p in net.deployed.parameters())


@pytest.mark.parametrize("name", ALL)
def test_labels_are_looked_at_by_the_supervised_part_alone(name: str) -> None:
    net, shown = objective(name), batch(name)
    before = losses(net, shown)
    after = losses(net, {**shown, "label": 1 - shown["label"]})
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed - {"loss"} == SUPERVISED & set(before)


@pytest.mark.parametrize("name", ALL)
def test_without_its_own_part_a_method_is_supervised_training(name: str) -> None:
    found = losses(objective(name, semi_weight=0.0, distill_weight=0.0), batch(name))
    expected = sum(found[k] for k in SUPERVISED & set(found))
    torch.testing.assert_close(found["loss"], expected)


@pytest.mark.parametrize("name", ALL)
def test_the_weight_of_the_run_multiplies_the_methods_own(name: str) -> None:
    own = [losses(objective(name, semi_weight=w, distill_weight=w), batch(name)) for w in (0, 1, 3)]
    parts = [(o["loss"] - own[0]["loss"]).item() for o in own[1:]]
    assert parts[0] > 0
    assert parts[1] == pytest.approx(3 * parts[0], rel=1e-3)


@pytest.mark.parametrize("name", sorted(set(SEMI) - {"bcp"}))
def test_consistency_counts_little_before_the_net_knows_anything(name: str) -> None:
    net, shown = objective(name), batch(name)
    none = losses(objective(name, semi_weight=0), shown)["loss"]
    full = losses(net, shown)["loss"] - none
    early = losses(net, {**shown, "ramp": torch.tensor(0.0)})["loss"] - none
    assert early.item() == pytest.approx(full.item() * 0.006738, rel=1e-2, abs=1e-6)


FEATURE_METHODS = ("fitnets", "attention_transfer", "rkd")


@pytest.mark.parametrize("name", FEATURE_METHODS)
def test_features_are_taught_through_the_level_of_the_codes(name: str) -> None:
    net = objective(name)
    assert isinstance(net, StudentObjective)
    dis = net(batch(name))["dis"]
    heads: list[nn.Module] = [net.student.out_up, net.student.refine, net.student.out]
    head = [p for module in heads for p in module.parameters()]
    assert all(
        g is None for g in torch.autograd.grad(dis, head, retain_graph=True, allow_unused=True)
    )
    encoder = list(net.student.encoder.parameters())
    assert all(g.any() for g in torch.autograd.grad(dis, encoder))


@pytest.mark.parametrize("name", ALL)
def test_bfloat16_gives_nearly_the_same_losses(name: str) -> None:
    net, shown = objective(name), batch(name)
    exact = losses(net, shown)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = losses(net, shown)
    for part in ("loss", "seg"):
        assert rounded[part].item() == pytest.approx(exact[part].item(), rel=0.1)


@pytest.mark.parametrize("name", ALL)
def test_without_unlabelled_patches_a_method_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="unlabelled_batch_size is 0"):
        objective(name, unlabelled_batch_size=0, semi_weight=0)


@pytest.mark.parametrize("name", DISTILLATION)
def test_without_a_teacher_distillation_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} learns from a teacher, but none was given"):
        DISTILLATION[name].build(config(), None)


@pytest.mark.parametrize("name", DISTILLATION)
def test_kept_encodings_are_asked_for_where_they_are_needed(name: str) -> None:
    probability, codes = (zarr.zeros(shape, dtype="u1") for shape in ((16,) * 3, (4,) * 3))
    labels = TeacherLabels(probability, codes, None, (4, 4, 4))
    if name == "logits":
        DISTILLATION[name].build(config(), guidance(labels))
        return
    with pytest.raises(ConfigError, match="label the volumes again with keep_encodings"):
        DISTILLATION[name].build(config(), guidance(labels))
