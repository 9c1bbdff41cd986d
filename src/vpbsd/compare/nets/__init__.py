"""The nets that our student is measured against, each on the same labelled patches.

``ARCHITECTURES`` makes a net from the configuration of a run; ``NETS`` are the methods that train
them, some of which share a net and differ in their loss. A new net is one function here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from vpbsd.compare.loop.augmentation import NnUnetAugmentation
from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.loop.supervised import SupervisedObjective, Topology
from vpbsd.compare.nets.dynunet import dynunet
from vpbsd.compare.nets.hp_vsp import hp_vsp
from vpbsd.compare.nets.segresnet import segresnet
from vpbsd.compare.nets.transformers import swin_unetr, unetr
from vpbsd.compare.nets.unet import attention_unet, basic_unet, unet
from vpbsd.compare.nets.vessap import vessap_fcn
from vpbsd.compare.nets.vnet import vnet
from vpbsd.config import RunConfig
from vpbsd.errors import ConfigError
from vpbsd.models import Student
from vpbsd.stages.distill import Guidance

__all__ = ["ARCHITECTURES", "DEPLOYED_BY", "NETS", "build_net"]


def student(config: RunConfig) -> Student:
    """Build our own student."""
    return Student(config.student)


ARCHITECTURES: Mapping[str, Callable[[RunConfig], nn.Module]] = {
    "student": student,
    "unet": unet,
    "basic_unet": basic_unet,
    "vnet": vnet,
    "attention_unet": attention_unet,
    "segresnet": segresnet,
    "dynunet": dynunet,
    "unetr": unetr,
    "swin_unetr": swin_unetr,
    "vessap_fcn": vessap_fcn,
    "hp_vsp": hp_vsp,
}


def build_net(architecture: str, config: RunConfig) -> nn.Module:
    """Build a net with random weights from torch's global generator.

    Raises
    ------
    ConfigError
        If there is no such architecture; the message lists those that there are.
    MissingExtraError
        If it comes from MONAI, which is not installed.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(
            f"there is no rival net '{architecture}'; choose one of: {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[architecture](config)


@dataclass(frozen=True)
class _Method:
    name: str
    what: str
    architecture: str
    topology: Topology = "none"
    nnunet_augmentation: bool = False

    def build(self, config: RunConfig, guidance: Guidance | None) -> SupervisedObjective:
        patch = config.distill.patch_voxels
        return SupervisedObjective(
            build_net(self.architecture, config),
            topology=self.topology,
            augment=NnUnetAugmentation(patch) if self.nnunet_augmentation else None,
        )


_METHODS = (
    _Method("student", "our student on labels alone", "student"),
    _Method(
        "student_cldice",
        "our student on labels alone, half its loss soft clDice (Shit et al. 2021)",
        "student",
        topology="cldice",
    ),
    _Method("unet", "MONAI's 3D U-Net with residual units (Kerfoot et al. 2018)", "unet"),
    _Method("basic_unet", "3D U-Net (Çiçek et al. 2016)", "basic_unet"),
    _Method("vnet", "V-Net (Milletari et al. 2016)", "vnet"),
    _Method("attention_unet", "Attention U-Net (Oktay et al. 2018)", "attention_unet"),
    _Method("segresnet", "SegResNet (Myronenko 2018)", "segresnet"),
    _Method(
        "dynunet",
        "nnU-Net's net, deep supervision and augmentation (Isensee et al. 2021)",
        "dynunet",
        nnunet_augmentation=True,
    ),
    _Method(
        "dynunet_cldice",
        "as dynunet, half its loss soft clDice (Shit et al. 2021)",
        "dynunet",
        topology="cldice",
        nnunet_augmentation=True,
    ),
    _Method(
        "dynunet_skeleton_recall",
        "as dynunet, with skeleton recall beside its loss (Kirchhoff et al. 2024)",
        "dynunet",
        topology="skeleton_recall",
        nnunet_augmentation=True,
    ),
    _Method("unetr", "UNETR (Hatamizadeh et al. 2022)", "unetr"),
    _Method("swin_unetr", "Swin UNETR (Hatamizadeh et al. 2022)", "swin_unetr"),
    _Method("vessap_fcn", "VesSAP's net, cross-hair filters (Todorov et al. 2020)", "vessap_fcn"),
    _Method("hp_vsp", "a light net after HP-VSP's (Li et al. 2023)", "hp_vsp"),
)

NETS: dict[str, Rival] = {m.name: Rival(m.name, m.what, m.build) for m in _METHODS}

DEPLOYED_BY: dict[str, str] = {m.name: m.architecture for m in _METHODS}
"""The architecture that each method in ``NETS`` deploys."""
