"""Rivals on disk: what comes back, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from vpbsd.compare.deployed.weights import load_rival, save_rival
from vpbsd.compare.nets import build_net
from vpbsd.config import RunConfig, parse_config
from vpbsd.errors import CheckpointError
from vpbsd.models import load_model


def config() -> RunConfig:
    return parse_config(
        {
            "name": "small",
            "seed": 3,
            "data": {
                "labelled": [{"image": "a.npy", "label": "b.npy", "voxel_size_um": [2, 1, 1]}]
            },
        }
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "rival.safetensors"
    save_rival(
        path,
        build_net("vessap_fcn", config()),
        method="vessap_with_a_twist",
        architecture="vessap_fcn",
        config=config(),
        threshold=0.35,
        metadata={"step": 12, "scores": {"dice": 0.5}},
    )
    return path


def rewritten(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    with safe_open(path, framework="pt") as opened:
        held = {k: opened.get_tensor(k) for k in opened.keys()}  # noqa: SIM118
        header = json.loads(opened.metadata()["vpbsd"])
    save_file(held, path, metadata={"vpbsd": json.dumps(change(header))})
    return path


def test_everything_comes_back(file: Path) -> None:
    torch.manual_seed(0)
    original = build_net("vessap_fcn", config())
    saved = load_rival(file)
    assert (saved.method, saved.architecture) == ("vessap_with_a_twist", "vessap_fcn")
    assert saved.config == config()
    assert saved.threshold == 0.35
    assert saved.metadata == {"step": 12, "scores": {"dice": 0.5}}
    x = torch.randn(1, 1, 8, 8, 8)
    with torch.inference_mode():
        assert torch.equal(saved.net(x), original.eval()(x))


def test_loading_draws_no_random_number(file: Path) -> None:
    before = torch.get_rng_state()
    load_rival(file)
    assert torch.equal(torch.get_rng_state(), before)


def test_fingerprint_names_the_weights(file: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy.safetensors"
    copied.write_bytes(file.read_bytes())
    first = load_rival(file).fingerprint
    assert load_rival(copied).fingerprint == first
    rewritten(copied, lambda header: {**header, "threshold": 0.36})
    assert load_rival(copied).fingerprint != first


def test_a_rival_is_no_student(file: Path, student_file: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a rival, but a student is needed"):
        load_model(file)
    with pytest.raises(CheckpointError, match="holds a student, but a rival is needed"):
        load_rival(student_file)


@pytest.mark.parametrize(
    "change",
    [
        lambda h: {k: v for k, v in h.items() if k != "architecture"},
        lambda h: {**h, "threshold": None},
        lambda h: {**h, "config": {**h["config"], "unheard_of": 1}},
        lambda h: {**h, "metadata": None},
    ],
)
def test_header_that_does_not_say_what_it_holds(
    file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    with pytest.raises(CheckpointError, match="does not say which net it holds"):
        load_rival(rewritten(file, change))


def test_architecture_that_is_gone(file: Path) -> None:
    rewritten(file, lambda h: {**h, "architecture": "hyper_net"})
    with pytest.raises(CheckpointError, match=r"architecture 'hyper_net'.*install the vpbsd"):
        load_rival(file)


def test_tensors_of_another_net(file: Path) -> None:
    rewritten(file, lambda h: {**h, "architecture": "hp_vsp"})
    with pytest.raises(CheckpointError, match="does not fit the net"):
        load_rival(file)


def test_files_that_are_damaged_or_missing(file: Path, tmp_path: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load_rival(file)
    with pytest.raises(CheckpointError, match="no model at"):
        load_rival(tmp_path / "none.safetensors")
