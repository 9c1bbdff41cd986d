"""What the teacher says about whole volumes, computed once and kept on disk.

A teacher's forward pass costs more than a student's whole training step, so it goes over each
volume once; distillation then cuts patches of its probability and codes.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from vpbsd.blockwise import Block, Function, Workers, plan_blocks, run_blocks
from vpbsd.data.collection import TrainingVolume
from vpbsd.errors import CollapseError
from vpbsd.geometry import Box, Triplet, as_triplet
from vpbsd.machine import Device, Precision
from vpbsd.metrics import best_threshold
from vpbsd.models import CodeUsage, Model, Teacher
from vpbsd.provenance import write_json_atomic
from vpbsd.segment import predict_volume, read_padded
from vpbsd.stages.validation import THRESHOLDS

__all__ = ["TeacherLabels", "TeacherRuntime", "label_volumes", "labelling_threshold"]

logger = logging.getLogger(__name__)

_BLOCK_VOXELS = 64
_CODES_DTYPE = np.uint16


class TeacherRuntime:
    """Evaluates a teacher on blocks; codes stay in float32 where the rest may be bf16.

    Parameters
    ----------
    net
        Used as it is, in evaluation mode.
    precision, device
        How and where to compute.
    mirrors
        Let probabilities be the mean of four looks, three of them at the block mirrored along an
        axis each: a vessel is one from any side, and what a net errs on differs from side to side.
        Codes are those of the plain look, since a pattern has an orientation.
    """

    bytes_per_voxel = 600.0
    """Measured peak of the default teacher in fp32, rounded up."""

    def __init__(
        self,
        net: Teacher,
        precision: Precision = "fp32",
        device: Device = "cpu",
        *,
        mirrors: bool = False,
    ) -> None:
        self._net, self._device, self.mirrors = net, device, mirrors
        self._autocast = precision == "bf16"
        self.usage: CodeUsage | None = None
        """Counts the codes of every block, when set."""
        self.stride: Triplet = net.stride
        self.halo_voxels: Triplet = net.halo_voxels
        self.channels: int = net.config.channels

    @property
    def block(self) -> Triplet:
        """Edges of the blocks to cut volumes into.

        About the patches of training, so that attention windows and group statistics are those
        that the teacher knows.
        """
        return as_triplet([max(_BLOCK_VOXELS // s, 1) * s for s in self.stride])

    def encode(self, block: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return what the teacher says about normalised intensities (c, z, y, x).

        Returns
        -------
        probability, codes, encodings
            (z, y, x) float32; (d, h, w) integers on the code grid; (dimension, d, h, w) float32
            before the codebook.
        """
        self._net.eval().to(self._device)
        with (
            torch.inference_mode(),
            torch.autocast(self._device, torch.bfloat16, enabled=self._autocast),
        ):
            x = torch.from_numpy(np.ascontiguousarray(block))[None].to(self._device)
            out = self._net(x, "segment")
        probability = out.image[0, 0].float().sigmoid()
        if self.usage is not None:
            self.usage.add(out.quantised.indices)
        return (
            probability.cpu().numpy(),
            out.quantised.indices[0].cpu().numpy(),
            out.quantised.encodings[0].float().cpu().numpy(),
        )

    def predict(self, block: NDArray[np.float32], crop: Box | None = None) -> NDArray[np.float32]:
        """Return vessel probabilities (z, y, x) in ``crop`` of intensities (c, z, y, x)."""
        whole = self.seen_from_all_sides(block, self.encode(block)[0])
        return whole if crop is None else whole[crop.slices]

    def seen_from_all_sides(
        self, block: NDArray[np.float32], plain: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return probabilities of a block, of which the plain look is there already."""
        if not self.mirrors:
            return plain
        total = plain.copy()
        for axis in range(3):
            total += np.flip(self.encode(np.flip(block, axis + 1))[0], axis)
        return total / np.float32(4)


@dataclass(frozen=True)
class TeacherLabels:
    """Teacher outputs of one volume, padded at the high end to whole strides and patches.

    Attributes
    ----------
    probability
        (z, y, x) uint8, 255 = 1.
    codes
        (d, h, w) on the code grid.
    encodings
        (dimension, d, h, w) float16, or None if not kept.
    code_stride
        Voxels per code.
    """

    probability: zarr.Array[Any]
    codes: zarr.Array[Any]
    encodings: zarr.Array[Any] | None
    code_stride: Triplet

    def cut(self, box: Box) -> dict[str, torch.Tensor]:
        """Return ``probability`` (1, z, y, x), ``codes`` and ``encodings`` inside ``box``."""
        grid = _on_grid(box, self.code_stride)
        probability = np.asarray(self.probability[box.slices], dtype=np.float32) / 255
        found = {
            "probability": torch.from_numpy(probability)[None],
            "codes": torch.from_numpy(np.asarray(self.codes[grid.slices], dtype=np.int64)),
        }
        if self.encodings is not None:
            kept = np.asarray(self.encodings[(slice(None), *grid.slices)], dtype=np.float32)
            found["encodings"] = torch.from_numpy(kept)
        return found


def label_volumes(
    teacher: Model,
    volumes: Sequence[TrainingVolume],
    folder: Path,
    *,
    runtime: TeacherRuntime,
    patch: Triplet,
    keep_encodings: bool,
) -> list[TeacherLabels]:
    """Run the teacher over each volume, or open what an earlier run with this teacher left.

    Parameters
    ----------
    teacher
        With its threshold and fingerprint.
    volumes
        Where a volume has a label, the label takes the place of the teacher's probability.
    folder
        One subfolder per volume.
    runtime
        Evaluates the teacher.
    patch
        Patches that will be cut; a smaller volume is padded to it.
    keep_encodings
        Also keep encodings before the codebook; such as an earlier run has kept are left there.

    Raises
    ------
    CollapseError
        If the teacher finds no vessel in any unlabelled volume, or vessels everywhere.
    """
    shares: dict[str, float] = {}
    labels = []
    for number, volume in enumerate(volumes):
        target = folder / f"{number:03d}_{volume.name}"
        identity = {
            "teacher": teacher.fingerprint,
            "image": volume.image.fingerprint(),
            "label": None if volume.label is None else volume.label.fingerprint(),
            "patch": list(patch),
            "encodings": keep_encodings,
            "mirrors": runtime.mirrors,
        }
        if not _is_done(target, identity):
            share = _label_volume(teacher, volume, target, runtime, patch, keep_encodings)
            write_json_atomic(target / "done.json", {**identity, "foreground_share": share})
        if volume.label is None:
            done = json.loads((target / "done.json").read_text("utf-8"))
            shares[volume.name] = done["foreground_share"]
        labels.append(_open(target, cast(Teacher, teacher.net).config.code_stride))
    _refuse_degenerate(shares)
    return labels


def labelling_threshold(
    teacher: Model, volumes: Sequence[TrainingVolume], folder: Path, *, runtime: TeacherRuntime
) -> float:
    """Return where a teacher's labels are cut: at its threshold, or at that of its mirrored looks.

    The latter is chosen on validation volumes as the former was, and noted in ``folder``.

    Parameters
    ----------
    teacher
        With its threshold and fingerprint.
    volumes
        Of validation.
    folder
        That of the labels.
    runtime
        Evaluates the teacher.
    """
    if not runtime.mirrors:
        return teacher.threshold
    identity = {
        "teacher": teacher.fingerprint,
        "volumes": [volume.image.fingerprint() for volume in volumes],
    }
    noted = folder / "threshold.json"
    if noted.exists():
        found = json.loads(noted.read_text("utf-8"))
        if {key: found.get(key) for key in identity} == identity:
            return float(found["threshold"])
    pairs = [
        (
            predict_volume(v.image, runtime, scale=v.scale, block_voxels=runtime.block),
            v.truth(Box.whole(v.shape)),
        )
        for v in volumes
    ]
    threshold = best_threshold(pairs, THRESHOLDS)
    folder.mkdir(parents=True, exist_ok=True)
    write_json_atomic(noted, {**identity, "threshold": threshold})
    logger.info("teacher's labels are cut at %g, its threshold is %g", threshold, teacher.threshold)
    return threshold


def _label_volume(
    teacher: Model,
    volume: TrainingVolume,
    target: Path,
    runtime: TeacherRuntime,
    patch: Triplet,
    keep_encodings: bool,
) -> float:
    net = cast(Teacher, teacher.net)
    shutil.rmtree(target, ignore_errors=True)
    shape = as_triplet(
        [max(p, -(-n // s) * s) for n, p, s in zip(volume.shape, patch, net.stride, strict=True)]
    )
    grid = _on_grid(Box.whole(shape), net.config.code_stride).shape
    dimension = net.codebook.config.dimension
    probability = _create(target / "probability", shape, np.uint8)
    codes = _create(target / "codes", grid, _CODES_DTYPE)
    encodings = (
        _create(target / "encodings", (dimension, *grid), np.float16) if keep_encodings else None
    )

    def operation(block: Block) -> int:
        x = volume.scale.apply(read_padded(volume.image, block.read))
        p, k, e = runtime.encode(x)
        if volume.label is None:
            p = runtime.seen_from_all_sides(x, p)[block.crop.slices]
            hits = int((p >= teacher.threshold).sum())
        else:
            p = read_padded(volume.label, block.write)[0] > 0
            hits = int(p.sum())
        probability[block.write.slices] = np.rint(p * np.float32(255)).astype(np.uint8)
        write = _on_grid(block.write, net.config.code_stride)
        crop = _on_grid(block.crop, net.config.code_stride)
        codes[write.slices] = k[crop.slices].astype(_CODES_DTYPE)
        if encodings is not None:
            inside = e[(slice(None), *crop.slices)]
            encodings[(slice(None), *write.slices)] = inside.astype(np.float16)
        return hits

    plan = plan_blocks(shape, runtime.block, net.halo_voxels, net.stride)
    found = run_blocks(plan, Function(operation), workers=Workers(lanes=1, retries=0)).count
    share = found / Box.whole(shape).size_voxels
    logger.info("teacher labelled %s: %.2f %% vessel", volume.name, 100 * share)
    return share


def _refuse_degenerate(shares: dict[str, float]) -> None:
    if not shares:
        return
    if max(shares.values()) < 1e-4:
        raise CollapseError(
            "the teacher finds no vessel in any unlabelled volume, so its pseudo-labels teach "
            "nothing: train it longer (finetune.steps), or check that vessels are bright (else "
            "set invert) and that labelled and unlabelled volumes show the same kind of tissue"
        )
    if min(shares.values()) > 0.9:
        raise CollapseError(
            "the teacher takes over 90 % of every unlabelled volume for vessel: check the labels "
            "(above 0 = vessel) and train it longer (finetune.steps)"
        )


def _create(path: Path, shape: tuple[int, ...], dtype: Any) -> zarr.Array[Any]:
    chunks = (*shape[:-3], *(min(n, 64) for n in shape[-3:]))
    return zarr.create_array(path, shape=shape, chunks=chunks, dtype=dtype)


def _open(target: Path, code_stride: Triplet) -> TeacherLabels:
    def array(name: str) -> zarr.Array[Any]:
        return zarr.open_array(target / name, mode="r")

    encodings = array("encodings") if (target / "encodings").exists() else None
    return TeacherLabels(array("probability"), array("codes"), encodings, code_stride)


def _is_done(target: Path, identity: dict[str, Any]) -> bool:
    record = target / "done.json"
    if not record.exists():
        return False
    done = json.loads(record.read_text("utf-8"))
    # Encodings that nobody asks for do no harm.
    wanted = {**identity, "encodings": identity["encodings"] or done.get("encodings")}
    return all(done.get(key) == value for key, value in wanted.items())


def _on_grid(box: Box, stride: Triplet) -> Box:
    def divided(corner: Triplet) -> Triplet:
        return as_triplet([-(-n // s) for n, s in zip(corner, stride, strict=True)])

    return Box(divided(box.start), divided(box.stop))
