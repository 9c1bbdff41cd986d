"""Models on disk: written whole or not at all, read strictly or not at all."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from vpbsd.config import CodebookConfig, StudentConfig, TeacherConfig
from vpbsd.errors import CheckpointError, OutputError
from vpbsd.models import Student, Teacher, load_model, save_model, weights
from vpbsd.models.weights import read_tensors, write_tensors

STUDENT = StudentConfig(widths=(8, 16), downsampling=((1, 2, 2), (2, 2, 2)))
TEACHER = TeacherConfig(widths=(8, 16, 16, 16), heads=2, attention_blocks=1, window_tokens=2)


@pytest.fixture
def student_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(
        tmp_path / "student.safetensors", Student(STUDENT), threshold=0.3, metadata={"step": 7}
    )
    return tmp_path / "student.safetensors"


def rewritten(
    path: Path,
    header: Callable[[dict[str, Any]], object] = lambda h: h,
    tensors: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] = lambda t: t,
) -> Path:
    """Write the file again with its header or tensors changed."""
    with safe_open(path, framework="pt") as file:
        held = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        metadata = json.loads(file.metadata()["vpbsd"])
    save_file(tensors(held), path, metadata={"vpbsd": json.dumps(header(metadata))})
    return path


# -------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("from_folder", [True, False])
def test_student_round_trip(student_file: Path, from_folder: bool) -> None:
    torch.manual_seed(0)
    original = Student(STUDENT).eval()
    model = load_model(student_file.parent if from_folder else student_file)
    assert model.kind == "student"
    assert model.threshold == 0.3
    assert model.metadata["step"] == 7
    assert model.net.config == STUDENT
    assert not model.net.training
    x = torch.randn(1, 1, 4, 8, 8)
    with torch.no_grad():
        assert torch.equal(model.net(x), original(x))


@pytest.mark.parametrize("quantiser", ["ema", "gradient", "fsq", "none"])
def test_teacher_round_trip(tmp_path: Path, quantiser: str) -> None:
    torch.manual_seed(0)
    codebook = CodebookConfig.model_validate({"size": 8, "dimension": 4, "quantiser": quantiser})
    net = Teacher(TEACHER, codebook)
    x = torch.randn(1, 1, 16, 16, 16)
    net(x, "segment")
    save_model(tmp_path / "teacher.safetensors", net.eval(), threshold=0.5, metadata={})
    model = load_model(tmp_path, "teacher")
    assert model.kind == "teacher"
    assert isinstance(model.net, Teacher)
    assert model.net.codebook.config == codebook
    with torch.no_grad():
        for task in ("segment", "reconstruct"):
            assert torch.equal(model.net(x, task).image, net(x, task).image)


def test_fingerprint_names_the_weights(student_file: Path, tmp_path: Path) -> None:
    same, other = tmp_path / "same.safetensors", tmp_path / "other.safetensors"
    same.write_bytes(student_file.read_bytes())
    torch.manual_seed(1)
    save_model(other, Student(STUDENT), threshold=0.3, metadata={"step": 7})
    assert load_model(same).fingerprint == load_model(student_file).fingerprint
    assert load_model(other).fingerprint != load_model(student_file).fingerprint


# ----------------------------------------------------------------------------------------- refusal


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no model at .*train one"):
        load_model(tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointError, match="no model at"):
        load_model(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 100, 2000, -1])
def test_truncated_file(student_file: Path, kept: int) -> None:
    student_file.write_bytes(student_file.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load_model(student_file)


@given(st.binary(max_size=200))
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("noise") / "student.safetensors"
    path.write_bytes(noise)
    with pytest.raises(CheckpointError):
        load_model(path)


@pytest.mark.parametrize("metadata", [None, {"other": "tool"}, {"vpbsd": "{"}, {"vpbsd": "[1]"}])
def test_safetensors_of_another_program(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "x.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match="not written by vpbsd"):
        load_model(tmp_path / "x.safetensors")


def test_another_format_version(student_file: Path) -> None:
    rewritten(student_file, lambda h: {**h, "format": 99})
    with pytest.raises(CheckpointError, match="format 99, this version of vpbsd reads 1"):
        load_model(student_file)


def test_another_kind(student_file: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a student, but a teacher is needed"):
        load_model(student_file, "teacher")


@pytest.mark.parametrize(
    "header",
    [
        lambda h: {k: v for k, v in h.items() if k != "net"},
        lambda h: {k: v for k, v in h.items() if k != "threshold"},
        lambda h: {**h, "net": {**h["net"], "new_option": 1}},
        lambda h: {**h, "threshold": None},
    ],
)
def test_header_that_names_no_net_of_ours(
    student_file: Path, header: Callable[[dict[str, Any]], object]
) -> None:
    rewritten(student_file, header)
    with pytest.raises(CheckpointError, match="does not say which net it holds"):
        load_model(student_file)


def test_missing_tensor(student_file: Path) -> None:
    gone = "state.encoder.0.0.0.weight"
    rewritten(student_file, tensors=lambda t: {k: v for k, v in t.items() if k != gone})
    with pytest.raises(CheckpointError, match=r"1 tensors differ, first: encoder\.0\.0\.0\.weight"):
        load_model(student_file)


def test_unexpected_tensor(student_file: Path) -> None:
    rewritten(student_file, tensors=lambda t: {**t, "state.projection": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="first: projection"):
        load_model(student_file)


def test_tensor_of_another_shape(student_file: Path) -> None:
    key = "state.out.weight"
    rewritten(student_file, tensors=lambda t: {**t, key: torch.zeros(1, 9, 1, 1, 1)})
    with pytest.raises(CheckpointError, match=r"first: out\.weight"):
        load_model(student_file)


def test_net_of_other_widths(student_file: Path) -> None:
    net = {**STUDENT.model_dump(mode="json"), "widths": [8, 32]}
    rewritten(student_file, lambda h: {**h, "net": net})
    with pytest.raises(CheckpointError, match="does not fit"):
        load_model(student_file)


# -------------------------------------------------------------------------------------- atomicity


def test_a_write_that_fails_leaves_the_old_file(
    student_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = student_file.read_bytes()

    def disk_full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half of a model")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(weights, "save_file", disk_full)
    with pytest.raises(OutputError, match=r"No space left.*free some space"):
        save_model(student_file, Student(STUDENT), threshold=0.9, metadata={})
    assert student_file.read_bytes() == old
    assert [p.name for p in student_file.parent.iterdir()] == [student_file.name]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_tensors(tmp_path / "file" / "x.safetensors", {}, {}, "training")


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.safetensors"
    write_tensors(path, {"t": torch.arange(3)}, {"note": "ä"}, "training")
    tensors, metadata = read_tensors(path, "training")
    assert tensors["t"].tolist() == [0, 1, 2]
    assert metadata["note"] == "ä"


def test_tensors_that_share_memory_are_written_each(tmp_path: Path) -> None:
    base = torch.arange(6.0).view(2, 3)
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": base, "b": base.T}, {}, "training")
    tensors, _ = read_tensors(path, "training")
    assert tensors["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors["b"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_teacher_without_attention_is_another_net(tmp_path: Path) -> None:
    torch.manual_seed(0)
    codebook = CodebookConfig(size=8, dimension=4)
    plain = TEACHER.model_copy(update={"attention_blocks": 0})
    nets = {"attention": Teacher(TEACHER, codebook), "convolution": Teacher(plain, codebook)}
    for name, net in nets.items():
        save_model(tmp_path / f"{name}.safetensors", net, threshold=0.5, metadata={})
        loaded = load_model(tmp_path / f"{name}.safetensors", "teacher").net
        assert loaded.config == net.config
        for key, value in net.state_dict().items():
            assert torch.equal(value, loaded.state_dict()[key])

    def other_net(header: dict[str, Any]) -> dict[str, Any]:
        return {**header, "net": {**header["net"], "attention_blocks": 0}}

    rewritten(tmp_path / "attention.safetensors", header=other_net)
    with pytest.raises(CheckpointError, match="does not fit the net"):
        load_model(tmp_path / "attention.safetensors", "teacher")
