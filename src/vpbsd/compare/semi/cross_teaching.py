r"""Cross teaching: the student and a transformer label for each other (Luo et al. 2022).

The D of :mod:`vpbsd.compare.semi.mutual` is the soft Dice loss with the other's hard labels:

.. math:: D(z, y) = 1 - \frac{2 \sum_v \sigma(z_v) y_v + s}{\sum_v \sigma(z_v) + \sum_v y_v + s}

The original teaches a 2D U-Net by a Swin U-Net pretrained on photographs. Here the partner is a
small UNETR (Hatamizadeh et al. 2022, from MONAI) from random weights: at the patches of these runs
it costs about as much as the student, where a Swin UNETR of the least width costs ten times that.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from torch.nn.functional import pad

from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.semi.consistency import CONSISTENCY_WEIGHT, make_student
from vpbsd.compare.semi.mutual import MutualTeaching
from vpbsd.config import RunConfig
from vpbsd.errors import MissingExtraError
from vpbsd.geometry import Triplet, as_triplet
from vpbsd.losses.segmentation import soft_dice_loss
from vpbsd.models.layers import foreground_bias, with_safe_convolutions
from vpbsd.stages.distill import Guidance

__all__ = ["CROSS_TEACHING", "CrossTeaching", "TransformerPartner"]

TOKEN_VOXELS = 16
"""Edge of a token of UNETR."""
FEATURES, HIDDEN, MLP, HEADS = 8, 192, 768, 6
"""Half of UNETR's convolutional width, a quarter of its transformer's (768, 3072, 12)."""
_FIRST_GUESS = 0.1


class TransformerPartner(nn.Module):
    """A small UNETR for patches of one shape, padded to whole tokens.

    Parameters
    ----------
    channels
        Of the image.
    patch
        Shape (z, y, x) in voxels; positions are learnt for it.

    Raises
    ------
    MissingExtraError
        If MONAI is not installed.
    """

    def __init__(self, channels: int, patch: Triplet) -> None:
        super().__init__()
        self.patch = patch
        self.padded = as_triplet([-(-n // TOKEN_VOXELS) * TOKEN_VOXELS for n in patch])
        # The decoder of a thin patch starts on grids smaller than its kernels.
        self.net = with_safe_convolutions(
            _unetr()(
                in_channels=channels,
                out_channels=1,
                img_size=self.padded,
                feature_size=FEATURES,
                hidden_size=HIDDEN,
                mlp_dim=MLP,
                num_heads=HEADS,
            )
        )
        # MONAI makes these in each block and uses them with cross attention alone; a parameter
        # that gets no gradient stops distributed training.
        for name, parameter in self.net.named_parameters():
            if "cross_attn" in name:
                parameter.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 1, D, H, W) of (B, C, D, H, W)."""
        d, h, w = self.patch
        z, y, x = (p - n for p, n in zip(self.padded, self.patch, strict=True))
        logits = cast(Tensor, self.net(pad(images, (0, x, 0, y, 0, z), mode="replicate")))
        # The student starts from the same guess at how much of a patch is vessel.
        return logits[:, :, :d, :h, :w] + foreground_bias(_FIRST_GUESS)


class CrossTeaching(MutualTeaching):
    """A convolutional student and a transformer that label for each other by soft Dice."""

    def disagreement(self, logits: Tensor, decided: Tensor) -> Tensor:
        """Return the soft Dice loss, a scalar."""
        return soft_dice_loss(logits, decided)


def _unetr() -> Any:
    # MONAI takes seconds to import, and only this rival pays for it.
    try:
        from monai.networks.nets.unetr import UNETR
    except ImportError as error:
        raise MissingExtraError(
            "cross teaching takes its transformer from MONAI, which is not installed: "
            "pip install 'vpbsd[compare]'"
        ) from error
    return UNETR


def _build(config: RunConfig, guidance: Guidance | None) -> CrossTeaching:
    student = make_student(config)
    partner = TransformerPartner(config.student.channels, config.distill.patch_voxels)
    return CrossTeaching(student, partner, CONSISTENCY_WEIGHT * config.distill.semi_weight)


CROSS_TEACHING = Rival(
    "cross_teaching",
    "the student and a transformer label for each other (Luo et al. 2022)",
    _build,
)
