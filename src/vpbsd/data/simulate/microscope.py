"""What turns vessels into an image: optics, dye, tissue and detector; and a wide sampler of them.

Brightness is relative: the empty tissue has 1. Lengths are micrometres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpbsd.geometry import VoxelSize

__all__ = ["Distractors", "Microscope", "sample_microscope"]


@dataclass(frozen=True)
class Distractors:
    """Bright things that are not vessels; densities per field of a million voxels.

    Attributes
    ----------
    puncta, cells, fibres
        How many.
    brightness
        Median brightness over background, as a share of the median vessel's.
    cell_radius_um
        Median radius of cells.
    """

    puncta: float = 0.0
    cells: float = 0.0
    fibres: float = 0.0
    brightness: float = 0.5
    cell_radius_um: float = 5.0


@dataclass(frozen=True)
class Microscope:
    """One instrument looking at one specimen.

    Attributes
    ----------
    instrument
        Family it was drawn from.
    psf_z_um, psf_yx_um
        Deviations of the Gaussian point spread function.
    contrast
        Brightness over background of the median vessel, after blur.
    size_exponent
        Brightness grows with radius to this power.
    dimmest, brightest
        Limits of a vessel's brightness over background.
    vessel_spread
        Deviation of the logarithm of brightness between vessels.
    fading, fading_um
        The same along vessels, and the distance over which it varies.
    gaps
        Share of vessel length that is nearly dark.
    dye_share
        Share of the outlined radius that the dye fills: below 1 the truth is generous, as the
        labels of annotators are.
    hollow, wall_um
        Share of brightness missing inside vessels with a stained wall, and the wall's thickness.
    texture
        Relative deviation of brightness within vessels (flowing cells).
    depth_loss
        Logarithm of the loss of brightness from the first plane to the last.
    haze, haze_um
        Deviation of the background, and the distance over which it varies.
    mottle
        Deviation of the background over a tenth of that distance.
    glow, glow_um
        Light from out of focus, as a share of vessel brightness, and how far it spreads.
    edge
        Brightness of the background outside the tissue; 1 without an edge in the field.
    illumination
        Deviation of the illumination.
    tile_step
        Relative steps between tiles.
    stripes, stripe_um, rings
        Deviation and width of stripes, and whether they are rings (micro-CT).
    distractors
        Bright things that are not vessels.
    snr
        Median vessel brightness over background, by the noise of the background.
    read_noise
        Share of the background's noise that does not depend on light.
    streaks
        Correlation of the noise along x in voxels (0 for none).
    denoise
        Deviation in voxels of a final smoothing (0 for none).
    gamma
        Exponent of the detector's response.
    black
        Share of the background that is cut off.
    white
        Share of the detector's range that the brightest 0.3 % of voxels reach; above 1 saturates.
    bits
        8 or 16.
    """

    instrument: str = "light_sheet"
    psf_z_um: float = 3.0
    psf_yx_um: float = 1.5
    contrast: float = 1.0
    size_exponent: float = 0.5
    dimmest: float = 0.2
    brightest: float = 15.0
    vessel_spread: float = 0.3
    fading: float = 0.2
    fading_um: float = 80.0
    gaps: float = 0.0
    dye_share: float = 1.0
    hollow: float = 0.0
    wall_um: float = 2.0
    texture: float = 0.0
    depth_loss: float = 0.0
    haze: float = 0.05
    haze_um: float = 80.0
    mottle: float = 0.0
    glow: float = 0.1
    glow_um: float = 30.0
    edge: float = 1.0
    illumination: float = 0.0
    tile_step: float = 0.0
    stripes: float = 0.0
    stripe_um: float = 4.0
    rings: bool = False
    distractors: Distractors = Distractors()
    snr: float = 10.0
    read_noise: float = 0.2
    streaks: float = 0.0
    denoise: float = 0.0
    gamma: float = 1.0
    black: float = 0.0
    white: float = 0.8
    bits: int = 16


def sample_microscope(rng: np.random.Generator, voxel_size: VoxelSize) -> Microscope:
    """Draw a light-sheet, two-photon or micro-CT-like instrument.

    Cameras sample near their resolution, so blur is drawn relative to ``voxel_size``; all else is
    drawn from ranges wider than the instruments they stand for.
    """
    kind = str(rng.choice(["light_sheet", "two_photon", "micro_ct"], p=[0.55, 0.33, 0.12]))
    draw = {"light_sheet": _light_sheet, "two_photon": _two_photon, "micro_ct": _micro_ct}[kind]
    pixel = float(np.sqrt(voxel_size.y_um * voxel_size.x_um))
    plane = voxel_size.z_um
    values: dict[str, object] = {
        "instrument": kind,
        "fading": _uniform(rng, 0.0, 0.5),
        "fading_um": pixel * _log_uniform(rng, 20, 120),
        "gaps": _sometimes(rng, 0.2, 0.02, 0.08),
        "dye_share": _uniform(rng, 0.65, 1.0),
        "haze_um": pixel * _log_uniform(rng, 20, 100),
        "mottle": _sometimes(rng, 0.4, 0.01, 0.05),
        "glow_um": pixel * _log_uniform(rng, 6, 30),
        "illumination": _uniform(rng, 0.0, 0.2),
        "tile_step": _sometimes(rng, 0.15, 0.03, 0.15),
        "stripe_um": pixel * _log_uniform(rng, 1.5, 8),
        "wall_um": pixel * _uniform(rng, 0.8, 1.6),
        "read_noise": _uniform(rng, 0.0, 0.7),
        "gamma": _sometimes(rng, 0.2, 0.6, 1.3, otherwise=1.0),
        "distractors": _distractors(rng),
    }
    values.update(draw(rng, plane, pixel))
    return Microscope(**values)  # type: ignore[arg-type]


def _light_sheet(rng: np.random.Generator, plane: float, pixel: float) -> dict[str, object]:
    blur = _log_uniform(rng, 0.4, 2.2)
    contrast = _log_uniform(rng, 0.35, 4.0)
    return {
        "psf_yx_um": pixel * blur,
        "psf_z_um": min(plane * _uniform(rng, 0.5, 1.6), pixel * 4) * float(np.sqrt(blur)),
        "contrast": contrast,
        "size_exponent": _uniform(rng, 0.0, 2.2),
        "dimmest": _uniform(rng, 0.12, 0.3) * min(contrast, 1.5),
        "brightest": contrast + _log_uniform(rng, 3, 20),
        "vessel_spread": _uniform(rng, 0.05, 0.6),
        "hollow": _sometimes(rng, 0.15, 0.3, 0.8),
        "depth_loss": float(rng.normal(0.0, 0.25)),
        "haze": _uniform(rng, 0.02, 0.12) * min(1.0, 0.5 + contrast),
        "glow": _uniform(rng, 0.05, 0.6),
        "edge": _sometimes(rng, 0.15, 0.3, 0.8, otherwise=1.0),
        "stripes": _sometimes(rng, 0.35, 0.01, 0.1),
        "snr": _log_uniform(rng, 4.5, 40),
        "denoise": _sometimes(rng, 0.25, 0.4, 0.8),
        "white": _log_uniform(rng, 0.1, 1.3),
        "bits": 16 if rng.random() < 0.7 else 8,
    }


def _two_photon(rng: np.random.Generator, plane: float, pixel: float) -> dict[str, object]:
    contrast = _log_uniform(rng, 0.8, 20)
    return {
        "psf_yx_um": pixel * _log_uniform(rng, 0.35, 1.3),
        "psf_z_um": min(plane, 4 * pixel) * _uniform(rng, 0.25, 0.7),
        "contrast": contrast,
        "size_exponent": _uniform(rng, 0.0, 1.2),
        "dimmest": _uniform(rng, 0.1, 0.3) * min(contrast, 2.0),
        "brightest": contrast * _uniform(rng, 2, 8),
        "vessel_spread": _uniform(rng, 0.1, 0.6),
        "hollow": _sometimes(rng, 0.15, 0.2, 0.7),
        "texture": _sometimes(rng, 0.7, 0.05, 0.5),
        "depth_loss": float(rng.normal(0.3, 0.9)),
        "haze": _uniform(rng, 0.02, 0.15),
        "glow": _uniform(rng, 0.0, 0.15),
        "snr": _log_uniform(rng, 3.5, 30),
        "streaks": _sometimes(rng, 0.25, 0.4, 1.3),
        "denoise": _sometimes(rng, 0.65, 0.4, 1.1),
        "black": _uniform(rng, 0.0, 1.1),
        "white": _uniform(rng, 0.5, 1.3),
        "bits": 8 if rng.random() < 0.8 else 16,
    }


def _micro_ct(rng: np.random.Generator, plane: float, pixel: float) -> dict[str, object]:
    blur = _log_uniform(rng, 0.5, 1.3)
    contrast = _log_uniform(rng, 0.3, 3.0)
    return {
        "psf_yx_um": pixel * blur,
        "psf_z_um": max(plane, pixel) * blur,
        "contrast": contrast,
        "size_exponent": _uniform(rng, 0.0, 0.8),
        "dimmest": 0.3 * contrast,
        "brightest": 4 * contrast,
        "vessel_spread": _uniform(rng, 0.0, 0.2),
        "haze": _uniform(rng, 0.01, 0.1),
        "glow": _uniform(rng, 0.0, 0.1),
        "stripes": _sometimes(rng, 0.7, 0.01, 0.06),
        "rings": bool(rng.random() < 0.7),
        "snr": _log_uniform(rng, 4, 20),
        "read_noise": 1.0,
        "denoise": _sometimes(rng, 0.5, 0.4, 0.8),
        "white": _uniform(rng, 0.2, 1.0),
        "bits": 16 if rng.random() < 0.5 else 8,
    }


def _distractors(rng: np.random.Generator) -> Distractors:
    return Distractors(
        puncta=_log_uniform(rng, 5, 400) if rng.random() < 0.35 else 0.0,
        cells=_log_uniform(rng, 3, 300) if rng.random() < 0.35 else 0.0,
        fibres=_sometimes(rng, 0.2, 3, 25),
        brightness=_log_uniform(rng, 0.1, 1.5),
        cell_radius_um=_uniform(rng, 3.5, 7.0),
    )


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _sometimes(
    rng: np.random.Generator, chance: float, low: float, high: float, otherwise: float = 0.0
) -> float:
    value = rng.uniform(low, high)
    return float(value) if rng.random() < chance else otherwise
