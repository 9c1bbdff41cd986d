"""Rivals small enough for a test, in a table that worker processes can import."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from vpbsd.compare.loop.objective import Needs, Objective
from vpbsd.compare.loop.rival import Rival
from vpbsd.config import RunConfig
from vpbsd.errors import ConfigError
from vpbsd.losses.segmentation import segmentation_loss
from vpbsd.models import Student
from vpbsd.stages.distill import Guidance

MARK = "VPBSD_TEST_MARK"
"""Environment variable with the file that says whether a process was killed already."""


class OnLabels(Objective):
    """The student on labels alone; notes what its batches hold."""

    def __init__(self, config: RunConfig, needs: Needs) -> None:
        super().__init__()
        self.needs = needs  # type: ignore[misc]
        self.student = Student(config.student)

    @property
    def deployed(self) -> nn.Module:
        return self.student

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        seg = segmentation_loss(self.student(batch["image"]), batch["label"])
        found = {"loss": seg, "seg": seg}
        # In the log, so that a test sees what there was.
        for name in ("unlabelled", "probability", "codes", "encodings"):
            if name in batch:
                found[name] = batch[name].float().mean()
        return found


class KilledOnce(OnLabels):
    """Kills its process in the fourth step, the first time."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config, "label")
        self.steps = 0

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.steps += 1
        mark = Path(os.environ[MARK])
        if self.steps == 4 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(batch)


def on_labels(config: RunConfig, guidance: Guidance | None) -> Objective:
    assert guidance is None
    return OnLabels(config, "label")


def on_both(config: RunConfig, guidance: Guidance | None) -> Objective:
    assert guidance is None
    return OnLabels(config, "unlabelled")


def from_teacher(config: RunConfig, guidance: Guidance | None) -> Objective:
    return OnLabels(config, "teacher")


def refusing(config: RunConfig, guidance: Guidance | None) -> Objective:
    raise ConfigError("this method cannot be: choose another")


def killed_once(config: RunConfig, guidance: Guidance | None) -> Objective:
    return KilledOnce(config)


SEMI = {
    "on_labels": Rival("on_labels", "labels alone", on_labels),
    "on_both": Rival("on_both", "labelled and unlabelled patches", on_both),
    "greedy": Rival("greedy", "asks for a teacher that it is not given", from_teacher),
    "refusing": Rival("refusing", "fails", refusing),
    "killed_once": Rival("killed_once", "loses its process", killed_once),
}
DISTILLATION = {"from_teacher": Rival("from_teacher", "what a teacher said", from_teacher)}
NETS: dict[str, Rival] = {}
