"""A comparison as settings: strict, without contradictions, with test volumes that do not leak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vpbsd.config import (
    CompareConfig,
    MethodConfig,
    change_settings,
    find_recipe,
    flat_settings,
    load_comparison,
    parse_config,
    save_config,
    shipped_recipes,
)
from vpbsd.config.recipes import validated
from vpbsd.errors import ConfigError

SIMULATED = {"name": "a", "simulated": {"seed": 3}}
SUPERVISED = {"finetune": {"simulated_share": 1.0}, "distill": {"simulated_share": 1.0}}


def tree(**changed: Any) -> dict[str, Any]:
    return {"name": "x", "datasets": [{"name": "a"}], **changed}


def parsed(**changed: Any) -> CompareConfig:
    return validated(CompareConfig, tree(**changed), source="recipe.yaml")


def test_bare_names_and_sections_name_methods() -> None:
    config = parsed(methods=["vpbsd", {"name": "cps", "settings": {"distill.batch_size": 4}}])
    assert config.methods == (
        MethodConfig(name="vpbsd"),
        MethodConfig(name="cps", settings={"distill.batch_size": 4}),
    )
    assert config.seeds == (0, 1, 2)
    assert (config.budget.kind, config.budget.value) == ("steps", None)


def test_lists_of_methods_may_share_a_list() -> None:
    shared = ["cps", {"name": "bcp", "settings": {"distill.semi_weight": 10}}]
    config = parsed(
        methods=[shared], datasets=[{"name": "a", "methods": [shared, ["ours"], "net"]}]
    )
    assert [m.name for m in config.methods] == ["cps", "bcp"]
    assert [m.name for m in config.datasets[0].methods] == ["cps", "bcp", "ours", "net"]
    with pytest.raises(ConfigError, match="method cps is listed more than once"):
        parsed(methods=[shared, "cps"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metods": ["vpbsd"]}, r"metods: .*not permitted"),
        ({"datasets": [{"name": "a", "tests": []}]}, r"datasets\.0\.tests: .*not permitted"),
        ({"methods": [{"name": "cps", "setings": {}}]}, r"methods\.0\.setings: .*not permitted"),
        ({"datasets": [{"name": "a", "simulated": {"sed": 1}}]}, r"simulated\.sed"),
        ({"name": "../up"}, "name: "),
        ({"datasets": [{"name": "a/b"}]}, r"datasets\.0\.name"),
        ({"datasets": [{"name": "tables"}]}, "cannot be called tables: that folder is taken"),
        ({"seeds": []}, "at least one seed and one data set"),
        ({"datasets": []}, "at least one seed and one data set"),
        ({"seeds": [0, -1]}, r"seeds\.1"),
        ({"seeds": [0, 1, 0]}, "seed 0 is listed more than once"),
        ({"datasets": [{"name": "a"}, {"name": "a"}]}, "data set a is listed more than once"),
        ({"methods": ["cps", "cps"]}, "method cps is listed more than once"),
        ({"datasets": [{"name": "a", "methods": ["cps", "cps"]}]}, "method cps is listed more"),
        ({"budget": {"kind": "seconds"}}, "kind seconds needs budget.value"),
        ({"budget": {"value": 2.5}}, "2.5 steps is not a whole number"),
        ({"budget": {"value": 0}}, r"budget\.value"),
        ({"budget": {"kind": "hours", "value": 2}}, r"budget\.kind"),
        ({"tuning": {"trials": -1}}, r"tuning\.trials"),
        ({"datasets": [{"name": "a", "labelled": 0}]}, r"datasets\.0\.labelled"),
        ({"datasets": [{"name": "a", "edge_voxels": [0, 4, 4]}]}, r"edge_voxels"),
        (
            {"datasets": [{**SIMULATED, "settings": {"data.root": "x"}}]},
            "a is simulated and has a data section: leave out one",
        ),
        ({"datasets": [{"name": "a", "settings": {"seed": 3}}]}, "a sets a seed: list seeds"),
        (
            {"datasets": [SIMULATED, {"name": "b", "simulated": {"seed": 4}}]},
            "data set b: folder simulated holds simulated volumes of other settings",
        ),
        ({"methods": [{"name": "cps", "label": "teacher_2"}]}, "begin with teacher are taken"),
    ],
    ids=str,
)
def test_impossible_comparisons_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"recipe\.yaml: .*{message}"):
        parsed(**wrong)


@pytest.mark.parametrize(
    "unequal",
    [
        {"distill.steps": 900},
        {"distill": {"steps": 900}},
        {"data": {"root": "elsewhere"}},
        {"seed": 3},
        {"simulate.zoom": [1, 2]},
        {"machine.precision": "fp32"},
    ],
    ids=str,
)
def test_method_cannot_change_what_must_be_equal_for_all(unequal: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be equal for all methods: set it in the data set"):
        parsed(methods=[{"name": "cps", "settings": unequal}])


def test_data_sets_share_simulated_volumes_and_differ_in_how_many_are_labelled() -> None:
    config = parsed(datasets=[{**SIMULATED, "labelled": 1}, {**SIMULATED, "name": "b"}])
    assert [d.labelled for d in config.datasets] == [1, None]


def test_comparison_is_read_and_written_whole(tmp_path: Path) -> None:
    config = parsed(methods=[{"name": "cps", "settings": {"distill.batch_size": 4}}])
    save_config(config, tmp_path / "compare.yaml")
    assert load_comparison(tmp_path / "compare.yaml") == config


@pytest.mark.parametrize("name", sorted(shipped_recipes("compare")))
def test_shipped_comparison_is_valid(name: str) -> None:
    config = load_comparison(find_recipe(name, "compare"))
    assert config.name == name


def test_comparisons_and_runs_are_told_apart() -> None:
    assert {"smoke", "cpu", "gpu"} <= set(shipped_recipes("compare"))
    assert "demo" in shipped_recipes()
    assert not {name for name in shipped_recipes() if "smoke" in name}
    assert find_recipe("compare_smoke", "compare") == find_recipe("smoke", "compare")
    with pytest.raises(
        ConfigError, match=r"no recipe file 'demo'.*one of: cpu, explore, gpu, smoke"
    ):
        find_recipe("demo", "compare")


# --------------------------------------------------------------------------------------- changes


def test_changes_are_nested_or_dotted_and_leave_the_tree_alone() -> None:
    before = {"distill": {"steps": 5, "target": "none"}, "seed": 1}
    after = change_settings(before, {"distill.steps": 7, "distill": {"keep": "last"}, "a.b.c": [1]})
    assert after == {
        "distill": {"steps": 7, "target": "none", "keep": "last"},
        "seed": 1,
        "a": {"b": {"c": [1]}},
    }
    assert before == {"distill": {"steps": 5, "target": "none"}, "seed": 1}
    assert flat_settings({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2}


def test_change_below_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot set seed\.x: seed is not a section"):
        change_settings({"seed": 3}, {"seed.x": 1})


# ------------------------------------------------------------------------------------ test volumes


def volume(name: str, label: str | None = None) -> dict[str, str]:
    return {"image": f"{name}.tif", "label": f"{label or name}_label.tif"}


def test_test_volumes_are_a_role_of_their_own() -> None:
    data = {"labelled": [volume("a")], "validation": [volume("b")], "test": [volume("c")]}
    assert parse_config({"data": data}).data.test[0].name == "c"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"test": [{"image": "c.tif"}]}, r"data\.test: c\.tif needs a label"),
        ({"labelled": [volume("a")], "test": [volume("a")]}, r"a\.tif is used for training and"),
        (
            {"unlabelled": [{"image": "u.tif"}], "test": [volume("u")]},
            r"u\.tif is used for training and for test",
        ),
        (
            {"validation": [volume("v")], "test": [volume("v")]},
            r"v\.tif is used for validation and for test",
        ),
        (
            {"labelled": [volume("a")], "test": [volume("b", label="a")]},
            r"label a_label\.tif serves both training and test",
        ),
        (
            {"validation": [volume("v")], "test": [volume("b", label="v")]},
            r"label v_label\.tif serves both validation and test",
        ),
    ],
    ids=str,
)
def test_leaking_test_volumes_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config({**SUPERVISED, "data": data})
