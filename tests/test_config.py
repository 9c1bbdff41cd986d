"""Configuration: strict at every level, contradictions refused with a remedy, inert, kept whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from vpbsd.config import (
    CodebookConfig,
    RunConfig,
    StudentConfig,
    TeacherConfig,
    VolumeConfig,
    load_config,
    parse_config,
    save_config,
)
from vpbsd.errors import ConfigError

# Trains on simulated labels alone, which is the smallest run that contradicts nothing.
SIMULATED = {"finetune": {"simulated_share": 1.0}, "distill": {"simulated_share": 1.0}}


def tree(**sections: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {name: dict(values) for name, values in SIMULATED.items()}
    for name, values in sections.items():
        if isinstance(values, dict):
            merged[name] = {**merged.get(name, {}), **values}
        else:
            merged[name] = values
    return merged


LABELLED = {"image": "a.tif", "label": "a_label.tif"}


# ----------------------------------------------------------------------------------------- strict


def _sections(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _sections(field.annotation, (*path, name))


SECTIONS = sorted(_sections(RunConfig))


def test_every_section_is_looked_at() -> None:
    assert [".".join(s) for s in SECTIONS] == [
        *("", "codebook", "data", "distill", "finetune", "machine", "pretrain", "simulate"),
        *("student", "teacher"),
    ]


@pytest.mark.parametrize("section", SECTIONS, ids=[".".join(s) or "top" for s in SECTIONS])
def test_unknown_keys_are_refused_by_name(section: tuple[str, ...]) -> None:
    config = tree()
    place = config
    for name in section:
        place = place.setdefault(name, {})
    place["stepz"] = 3
    with pytest.raises(ConfigError, match=rf"{'.'.join((*section, 'stepz'))}: .*not permitted"):
        parse_config(config)


@pytest.mark.parametrize("role", ["labelled", "unlabelled", "validation", "test"])
def test_unknown_keys_of_a_volume_are_refused(role: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.{role}\.0\.lable"):
        parse_config(tree(data={role: [{**LABELLED, "lable": "x"}]}))


def test_every_refused_key_is_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"recipe\.yaml.*teacher\.a.*teacher\.b.*student\.c"):
        parse_config(tree(teacher={"a": 1, "b": 2}, student={"c": 3}), source="recipe.yaml")


@pytest.mark.parametrize("model", [RunConfig, TeacherConfig, CodebookConfig, StudentConfig])
def test_frozen(model: type[BaseModel]) -> None:
    config = model.model_validate(SIMULATED if model is RunConfig else {})
    name = next(iter(model.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, name, getattr(config, name))


@pytest.mark.parametrize(
    "wrong",
    [
        {"codebook": {"size": 1}},
        {"codebook": {"size": 65537}},
        {"codebook": {"decay": 1.0}},
        {"codebook": {"quantiser": "vq"}},
        {"teacher": {"channels": 0}},
        {"teacher": {"downsampling": [[2, 2, 2], [2, 2, 2], [0, 2, 2]]}},
        {"teacher": {"downsampling": [[2, 2, 2], [2, 2, 2]]}},
        {"student": {"widths": [16, 0, 64]}},
        {"student": {"preset": "large"}},
        {"pretrain": {"steps": 0}},
        {"pretrain": {"patch_voxels": [-48, 64, 64]}},
        {"pretrain": {"patch_voxels": [48, 64]}},
        {"finetune": {"learning_rate": float("nan")}},
        {"finetune": {"learning_rate": float("inf")}},
        {"finetune": {"simulated_share": 1.5}},
        {"distill": {"target": "code"}},
        {"distill": {"temperature": 0}},
        {"simulate": {"shape_voxels": [2, 64, 64]}},
        {"simulate": {"zoom": [1.5, 0.5]}},
        {"simulate": {"voxel_size_um": [0, 1, 1]}},
        {"machine": {"precision": "fp16"}},
        {"seed": -1},
        {"teacher": None},
        {"pretrain": 5},
    ],
    ids=str,
)
def test_impossible_values_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        parse_config(tree(**wrong))


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*RunConfig.model_fields, "widths", "downsampling", "patch_voxels"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(RunConfig.model_fields)), junk, max_size=4))
def test_junk_is_a_config_error_or_a_config(config: dict[str, Any]) -> None:
    try:
        assert isinstance(parse_config(config), RunConfig)
    except ConfigError as error:
        assert str(error)


# ---------------------------------------------------------------------------------- contradictions


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({"teacher": {"heads": 5}}, "heads 5 must divide the last width"),
        ({"teacher": {"widths": [16, 20, 96, 192]}}, "must be multiples of 8"),
        ({"student": {"widths": [16, 32]}}, r"student\.widths \(2\).*must have the same length"),
        ({"student": {"widths": [16], "downsampling": [[2, 2, 2]]}}, "at least 2"),
        ({"student": {"channels": 2}}, r"student\.channels 2 must be equal"),
        ({"pretrain": {"patch_voxels": [48, 64, 60]}}, r"pretrain\.patch_voxels.*\(8, 8, 8\)"),
        ({"distill": {"patch_voxels": [44, 64, 64]}}, r"distill\.patch_voxels.*\(8, 8, 8\)"),
        ({"distill": {"unlabelled_batch_size": 0}}, "set semi_weight to 0"),
        ({"codebook": {"quantiser": "none"}}, r"set distill\.target to features"),
        (
            {"distill": {"simulated_share": 0.5}},
            r"distill\.simulated_share is below 1: list data\.labelled",
        ),
        (
            {"finetune": {"simulated_share": 0.5}},
            r"finetune\.simulated_share is below 1: list data\.labelled",
        ),
        ({"data": {"labelled": [{"image": "a.tif"}]}}, r"a\.tif needs a label"),
        ({"data": {"validation": [{"image": "a.tif"}]}}, r"a\.tif needs a label"),
        (
            {"simulate": {"geometry": ["a.tif"], "geometry_voxel_size_um": [[1, 1, 1], [2, 2, 2]]}},
            "give one each, or none",
        ),
    ],
    ids=str,
)
def test_contradictions_come_with_the_remedy(wrong: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy) as caught:
        parse_config(tree(**wrong))
    assert "Value error" not in str(caught.value)  # which is how pydantic leads them in


def test_simulated_volumes_have_one_channel() -> None:
    two = {"teacher": {"channels": 2}, "student": {"channels": 2}}
    with pytest.raises(ConfigError, match=r"one channel.*set simulated_share to 0 in all stages"):
        parse_config(tree(**two))
    none = {name: {"simulated_share": 0.0} for name in ("pretrain", "finetune", "distill")}
    data: dict[str, Any] = {"labelled": [LABELLED]}
    with pytest.raises(ConfigError, match=r"list data\.validation"):
        parse_config(tree(**two, **none, data=data))
    data["validation"] = [{"image": "v.tif", "label": "v_label.tif"}]
    assert parse_config(tree(**two, **none, data=data)).student.channels == 2


def test_a_patch_that_does_not_fit_the_codes() -> None:
    student = {"widths": [16, 32], "downsampling": [[1, 2, 2], [1, 2, 2]]}
    distill = {"patch_voxels": [10, 32, 32]}
    with pytest.raises(ConfigError, match=r"must be multiples of one code \(4, 4, 4\)"):
        parse_config(tree(student=student, distill=distill))
    parse_config(tree(student=student, distill={**distill, "target": "none"}))


@pytest.mark.parametrize("role", ["labelled", "unlabelled"])
def test_validation_images_are_never_trained_on(role: str) -> None:
    data = {role: [LABELLED], "validation": [{**LABELLED, "label": "other.tif"}]}
    with pytest.raises(
        ConfigError, match=r"a\.tif is used for training and for validation.*remove"
    ):
        parse_config(tree(data=data))


def test_a_label_serves_one_side_alone() -> None:
    data = {"labelled": [LABELLED], "validation": [{**LABELLED, "image": "b.tif"}]}
    with pytest.raises(ConfigError, match=r"a_label\.tif serves both"):
        parse_config(tree(data=data))


# ------------------------------------------------------------------------------------------ values


def test_strides_are_products() -> None:
    teacher = TeacherConfig(downsampling=((1, 2, 2), (2, 2, 2), (1, 3, 2)))
    assert teacher.code_stride == (2, 4, 4)
    assert teacher.stride == (2, 12, 8)
    student = StudentConfig(widths=(16, 16), downsampling=((1, 2, 4), (3, 2, 1)))
    assert student.stride == (3, 4, 4)


@pytest.mark.parametrize(
    ("distill", "uses_teacher", "uses_codes"),
    [
        ({}, True, True),
        ({"semi_weight": 0}, True, True),
        ({"target": "none"}, True, False),
        ({"distill_weight": 0}, True, False),
        ({"semi_weight": 0, "target": "none"}, False, False),
        ({"semi_weight": 0, "distill_weight": 0}, False, False),
    ],
)
def test_when_a_teacher_is_needed(
    distill: dict[str, Any], uses_teacher: bool, uses_codes: bool
) -> None:
    found = parse_config(tree(distill=distill)).distill
    assert (found.uses_teacher, found.uses_codes) == (uses_teacher, uses_codes)


@pytest.mark.parametrize(
    ("image", "name"), [("a/b/brain.ome.tif", "brain"), ("x.nii.gz", "x"), ("planes", "planes")]
)
def test_volumes_are_named_after_their_file(image: str, name: str) -> None:
    assert VolumeConfig(image=Path(image)).name == name


# ------------------------------------------------------------------------------------------- files


def test_round_trip(tmp_path: Path) -> None:
    config = parse_config(
        tree(
            name="köpfe",
            seed=7,
            data={
                "root": "volumes",
                "labelled": [{**LABELLED, "voxel_size_um": [5.0, 1.5, 1.5], "invert": True}],
                "validation": [{"image": "v.tif", "label": "v_label.tif"}],
            },
            student={"widths": [8, 16], "downsampling": [[1, 2, 2], [2, 2, 2]]},
            codebook={"quantiser": "fsq", "decay": 0.987654321},
        )
    )
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_saved_config_spells_out_every_default(tmp_path: Path) -> None:
    save_config(parse_config(SIMULATED), tmp_path / "config.yaml")
    saved = yaml.safe_load((tmp_path / "config.yaml").read_text("utf-8"))
    assert set(saved) == set(RunConfig.model_fields)
    for name in ("teacher", "codebook", "student", "pretrain", "finetune", "distill", "machine"):
        fields = type(getattr(parse_config(SIMULATED), name)).model_fields
        assert list(saved[name]) == list(fields)


def test_overrides_reach_into_sections(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("finetune: {simulated_share: 1.0}\ndistill: {simulated_share: 1.0}\n")
    config = load_config(path, {"pretrain.steps": 9, "seed": 3, "finetune.steps": 5})
    assert (config.pretrain.steps, config.seed, config.finetune.steps) == (9, 3, 5)
    assert config.finetune.simulated_share == 1.0
    with pytest.raises(ConfigError, match=r"pretrain.stepz"):
        load_config(path, {"pretrain.stepz": 9})
    with pytest.raises(ConfigError, match="seed is not a section"):
        load_config(path, {"seed": 3, "seed.sub": 3})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"teacher: [1, 2", "not valid YAML"),
        (b"\xff\xfe\x00binary", "not valid YAML"),
        (b"- a\n- b\n", "must hold sections"),
        (b"just a sentence", "must hold sections"),
        (b"teacher: {widths: 5}", r"teacher\.widths"),
        (b"", "list data.labelled"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the recipe .*nothing\.yaml: No such file"):
        load_config(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        load_config(tmp_path)


def test_building_a_config_loads_no_torch_and_touches_no_file(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from vpbsd.config import parse_config\n"
        "one = {'simulated_share': 1.0}\n"
        "data = {'root': 'nowhere', 'unlabelled': [{'image': 'missing.tif'}]}\n"
        "parse_config({'data': data, 'finetune': one, 'distill': one})\n"
        "heavy = {'torch', 'lightning_fabric', 'zarr', 'scipy', 'skimage'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    assert list(tmp_path.iterdir()) == []


def test_fsq_refuses_more_codes_than_it_reaches() -> None:
    with pytest.raises(ConfigError, match="4375 codes at most"):
        parse_config(tree(codebook={"quantiser": "fsq", "size": 5000}))
