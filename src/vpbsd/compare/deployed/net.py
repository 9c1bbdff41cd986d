"""The net that a method deploys: its file in the folder of its run, and what evaluates it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from vpbsd.compare.methods import Method
from vpbsd.geometry import Triplet
from vpbsd.models import Model, Student, Teacher, load_model, save_model
from vpbsd.segment import Predictor, TorchRuntime
from vpbsd.stages.label import TeacherRuntime
from vpbsd.stages.run import Run

__all__ = ["Deployed", "load_deployed", "predictor_of", "save_deployed"]

_STUDENT, _RIVAL = "student.safetensors", "rival.safetensors"


@dataclass(frozen=True)
class Deployed:
    """A trained net, ready to segment.

    Attributes
    ----------
    name
        What net it is, whatever trained it.
    net
        On the CPU, in evaluation mode.
    threshold
        Probability from which a voxel is vessel, chosen on validation volumes.
    predictor
        Evaluates it on blocks.
    student
        The model, where it is a student and can be segmented with like any other.
    """

    name: str
    net: nn.Module
    threshold: float
    predictor: Predictor
    student: Model | None = None

    @property
    def block_voxels(self) -> Triplet | None:
        """Edges (z, y, x) of the blocks that the net wants; None = as memory allows."""
        return getattr(self.predictor, "block", None)


def save_deployed(
    run: Run, method: Method, net: nn.Module, threshold: float, about: Mapping[str, Any]
) -> None:
    """Write the net that a rival deploys into the folder of its run.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    if isinstance(net, Student):
        save_model(run.folder / _STUDENT, net, threshold=threshold, metadata=about)
        return
    from vpbsd.compare.deployed.weights import save_rival
    from vpbsd.compare.nets import DEPLOYED_BY

    save_rival(
        run.folder / _RIVAL,
        net,
        method=method.key,
        architecture=DEPLOYED_BY[method.key],
        config=run.config,
        threshold=threshold,
        metadata=about,
    )


def load_deployed(run: Run, method: Method) -> Deployed:
    """Load what a method deploys from the folder of its run.

    Raises
    ------
    CheckpointError
        If there is no net, or a damaged one.
    """
    if method.how == "teacher":
        teacher = load_model(run.folder, "teacher")
        predictor = predictor_of(teacher.net, run)
        return Deployed("teacher", teacher.net, teacher.threshold, predictor)
    if (run.folder / _RIVAL).exists():
        from vpbsd.compare.deployed.weights import load_rival

        rival = load_rival(run.folder / _RIVAL)
        predictor = predictor_of(rival.net, run)
        return Deployed(rival.architecture, rival.net, rival.threshold, predictor)
    model = load_model(run.folder)
    student = cast(Student, model.net)
    name = f"student_{student.config.preset}"
    return Deployed(name, student, model.threshold, predictor_of(student, run), model)


def predictor_of(net: nn.Module, run: Run) -> Predictor:
    """Return what evaluates a net on blocks, in the precision and on the device of a run."""
    if isinstance(net, Student):
        return TorchRuntime(net, run.precision, run.device)
    if isinstance(net, Teacher):
        return TeacherRuntime(net, run.precision, run.device)
    # Loaded where a rival net is there, not for every student.
    from vpbsd.compare.deployed.predictor import NetPredictor

    return NetPredictor(net, run.precision, run.device)
