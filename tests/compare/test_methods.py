"""The registry: names and families, what they change, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from comparisons import settings

from vpbsd.compare import methods
from vpbsd.compare.methods import Method, choose_methods, known_methods
from vpbsd.config import MethodConfig, RunConfig, change_settings, parse_config
from vpbsd.errors import ConfigError


def chosen(*names: str, **changed: Any) -> list[Method]:
    return choose_methods([MethodConfig(name=name, **changed) for name in names])


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put small rivals in the place of the real ones."""
    places = {
        "semi": "tiny_rivals:SEMI",
        "distillation": "tiny_rivals:DISTILLATION",
        "net": "tiny_rivals:NETS",
    }
    monkeypatch.setattr(methods, "TABLES", places)


def test_names_and_families_come_in_the_order_asked_for() -> None:
    assert [m.name for m in chosen("supervised_only", "ours")] == [
        *("supervised_only", "vpbsd", "teacher"),
    ]
    assert [m.name for m in chosen("ablation")] == [
        *("no_pretraining", "no_codebook", "no_distillation", "no_pseudo_labels"),
        "no_recalibration",
        "no_mirrors",
        "labels_only_teacher",
        "homogeneous_teacher",
    ]
    assert [(m.name, m.how) for m in chosen("semi")] == [
        ("supervised_only", "stages"),
        *((name, "rival") for name in ("on_labels", "on_both", "greedy", "refusing")),
        ("killed_once", "rival"),
    ]


def test_each_ablation_switches_off_one_part() -> None:
    changes = {m.name: dict(m.settings) for m in chosen("ablation", "supervised_only")}
    assert changes == {
        "no_pretraining": {"pretrain.enabled": False},
        "no_codebook": {"codebook.quantiser": "none", "distill.target": "features"},
        "no_distillation": {"distill.target": "none"},
        "no_pseudo_labels": {"distill.semi_weight": 0.0},
        "no_recalibration": {"finetune.recalibrate": False, "distill.recalibrate": False},
        "no_mirrors": {"distill.mirrors": False},
        "labels_only_teacher": {"finetune.semi_weight": 0.0},
        "homogeneous_teacher": {"teacher.attention_blocks": 0},
        "supervised_only": {"distill.semi_weight": 0.0, "distill.target": "none"},
    }


def test_design_choices_cover_what_the_paper_leaves_open() -> None:
    changed = [key for m in chosen("design") for key in (*m.settings, *m.factors)]
    counts = {key: changed.count(key) for key in changed}
    assert counts == {
        # Sizes 32, 128, 512 x dimensions 8, 32, 128, but for the usual 128 x 32.
        "codebook.size": 8,
        "codebook.dimension": 8,
        "codebook.quantiser": 2,
        "distill.target": 2,
        "distill.self_teaching": 1,
        # A third and three times, and 1 in the paper's own method.
        "pretrain.alpha": 2,
        "distill.distill_weight": 2 + 1,
        "distill.semi_weight": 2 + 1,
        "finetune.semi_weight": 1,
        "distill.mirrors": 1,
    }


@pytest.mark.parametrize("family", ["ours", "ablation", "design", "semi"])
def test_every_setting_of_our_own_methods_is_one_that_a_run_has(family: Any, tmp_path: Any) -> None:
    base = parse_config(settings(tmp_path))
    for method in known_methods(family):
        tree = change_settings(base.model_dump(mode="json"), method.settings)
        changed = parse_config(tree)
        assert (changed != base) == bool(method.settings), method.name
        assert isinstance(changed, RunConfig)


def test_label_and_settings_make_another_method_of_the_same_rival() -> None:
    (slow,) = chosen("on_both", label="slow", settings={"distill": {"learning_rate": 1e-4}})
    assert (slow.name, slow.key, slow.family) == ("slow", "on_both", "semi")
    # The weight of its publication, whatever ours is.
    assert slow.settings == {"distill.semi_weight": 1.0, "distill.learning_rate": 1e-4}
    assert slow.load().name == "on_both"


def test_settings_go_over_those_of_the_method() -> None:
    (method,) = chosen("no_codebook", settings={"distill": {"target": "none"}})
    assert method.settings == {"codebook.quantiser": "none", "distill.target": "none"}


def test_unknown_name_is_refused_with_all_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'meanteacher'; .*ours \(vpbsd, teacher\).*from_teach"):
        chosen("meanteacher")


def test_twins_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"on_both is listed twice .*give one of the two a label"):
        chosen("semi", "on_both")
    with pytest.raises(ConfigError, match="label x cannot name all 2 methods of the family ours"):
        chosen("ours", label="x")


def test_our_own_methods_are_found_without_loading_rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "TABLES", {"semi": "no_such_module:SEMI"})
    assert [m.name for m in chosen("vpbsd", "no_codebook")] == ["vpbsd", "no_codebook"]


def test_rival_that_left_its_table_is_refused() -> None:
    (method,) = chosen("on_both")
    gone = Method("gone", "semi", "", "rival", table=method.table, key="gone")
    with pytest.raises(ConfigError, match="gone is not in tiny_rivals:SEMI"):
        gone.load()
