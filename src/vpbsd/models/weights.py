"""Models on disk: tensors in safetensors, everything else as JSON in the same file's header.

One file, written whole and renamed into place, so that a killed process leaves either the old
model or the new one. No pickle is ever read. Loading is strict: a file of another kind, format
version or net is refused, never patched up.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vpbsd.config import CodebookConfig, StudentConfig, TeacherConfig
from vpbsd.errors import CheckpointError, OutputError
from vpbsd.models.student import Student
from vpbsd.models.teacher import Teacher

__all__ = [
    "FORMAT_VERSION",
    "Model",
    "load_model",
    "read_metadata",
    "read_tensors",
    "restore",
    "save_model",
    "write_tensors",
]

FORMAT_VERSION = 1
Kind = Literal["student", "teacher", "training", "rival"]
_STATE = "state."


@dataclass(frozen=True)
class Model:
    """A trained net with what is needed to use it.

    Attributes
    ----------
    net
        In evaluation mode on the CPU.
    kind
        ``student`` or ``teacher``.
    threshold
        Probability above which a voxel is vessel, fixed on validation volumes.
    metadata
        What training recorded: configuration, seed, step, scores, versions.
    fingerprint
        SHA-256 of the file; names these exact weights in provenance.
    """

    net: Student | Teacher
    kind: Literal["student", "teacher"]
    threshold: float
    metadata: Mapping[str, Any]
    fingerprint: str


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], kind: Kind
) -> None:
    """Write ``tensors`` and JSON ``metadata`` to ``path``, atomically.

    Raises
    ------
    OutputError
        If the disk is full or the folder cannot be written; the old file stays.
    """
    header = {"vpbsd": json.dumps({"format": FORMAT_VERSION, "kind": kind, **metadata})}
    flat = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(flat, partial, metadata=header)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise OutputError(
            f"cannot write {path} ({error}); free some space or choose another folder, then run "
            "the same command again: it goes on from the last checkpoint"
        ) from error


def read_tensors(path: Path, kind: Kind) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``write_tensors`` wrote.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, or of another kind or format version.
    """
    with _opened(path) as file:
        metadata = _metadata(path, file, kind)
        return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118


def read_metadata(path: Path, kind: Kind) -> dict[str, Any]:
    """Read the metadata alone.

    Raises
    ------
    CheckpointError
        As `read_tensors`.
    """
    with _opened(path) as file:
        return _metadata(path, file, kind)


def _metadata(path: Path, file: Any, kind: Kind) -> dict[str, Any]:
    try:
        metadata = json.loads((file.metadata() or {}).get("vpbsd", ""))
    except json.JSONDecodeError:
        metadata = None
    if not isinstance(metadata, dict) or not {"format", "kind"} <= set(metadata):
        raise CheckpointError(f"{path} was not written by vpbsd: its header lacks our metadata")
    if metadata["format"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format {metadata['format']}, this version of vpbsd reads "
            f"{FORMAT_VERSION}: install the vpbsd that wrote it, or train again"
        )
    if metadata["kind"] != kind:
        raise CheckpointError(f"{path} holds a {metadata['kind']}, but a {kind} is needed")
    return metadata


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise CheckpointError(f"no model at {path}: train one, or give the folder of a run")
    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is truncated or damaged ({error}): copy it again, or delete it to go back to "
            "the checkpoint before it"
        ) from error
    with file as opened:
        yield opened


def save_model(
    path: Path, net: Student | Teacher, *, threshold: float, metadata: Mapping[str, Any]
) -> None:
    """Write a student or teacher with its configuration and threshold.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    kind: Literal["student", "teacher"] = "student" if isinstance(net, Student) else "teacher"
    config: dict[str, Any] = {"net": net.config.model_dump(mode="json")}
    if isinstance(net, Teacher):
        config["codebook"] = net.codebook.config.model_dump(mode="json")
    tensors = {_STATE + key: value for key, value in net.state_dict().items()}
    write_tensors(path, tensors, {"threshold": threshold, **config, **metadata}, kind)


def load_model(path: Path | str, kind: Literal["student", "teacher"] = "student") -> Model:
    """Load a trained net from a ``.safetensors`` file or from the folder of a run.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, of another kind or version, or does not fit its net.
    """
    file = Path(path)
    if file.is_dir():
        file = file / f"{kind}.safetensors"
    tensors, metadata = read_tensors(file, kind)
    net: Student | Teacher
    try:
        threshold = float(metadata["threshold"])
        if kind == "student":
            net = Student(StudentConfig.model_validate(metadata["net"]))
        else:
            codebook = CodebookConfig.model_validate(metadata["codebook"])
            net = Teacher(TeacherConfig.model_validate(metadata["net"]), codebook)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{file} does not say which net it holds ({error}): it was damaged or written by "
            "another version; copy it again, or train again"
        ) from error
    restore(net, {k.removeprefix(_STATE): v for k, v in tensors.items()}, source=str(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Model(net.eval(), kind, threshold, metadata, digest)


def restore(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load ``state`` into ``module``, every tensor or none.

    Raises
    ------
    CheckpointError
        Naming the first tensors that are missing, unexpected or of another shape.
    """
    wanted = module.state_dict()
    wrong = sorted(set(wanted) ^ set(state))
    wrong += [k for k, v in wanted.items() if k in state and state[k].shape != v.shape]
    if wrong:
        raise CheckpointError(
            f"{source} does not fit the net it is loaded into ({len(wrong)} tensors differ, first: "
            f"{', '.join(wrong[:3])}): use the configuration that it was trained with"
        )
    with torch.no_grad():
        module.load_state_dict(dict(state), strict=True)
