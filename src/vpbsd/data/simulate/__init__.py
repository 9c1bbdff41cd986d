"""Simulated vessel volumes with exact truth, deterministic by seed.

In pipeline order: ``grow`` (``trees``, ``mesh``, ``chains``) makes a ``network``, which ``crop``
cuts to the field; ``raster`` (``capsules``) draws it, or ``geometry`` takes real shapes from a
label volume; ``imaging`` takes its picture with a ``microscope`` (``fields``, ``distractors``);
``sampler`` makes an endless list of such volumes and ``write`` puts some on disk.

``brain`` continues one ``specimen`` through a whole brain of any size (``outline``, ``trunks``,
``grain``), computed where it is read.
"""

from __future__ import annotations

from vpbsd.data.simulate.brain import BrainVolume
from vpbsd.data.simulate.network import VesselKind, VesselNetwork
from vpbsd.data.simulate.sampler import SimulatedVolume, SimulatedVolumes, simulate_volume
from vpbsd.data.simulate.write import write_simulated

__all__ = [
    "BrainVolume",
    "SimulatedVolume",
    "SimulatedVolumes",
    "VesselKind",
    "VesselNetwork",
    "simulate_volume",
    "write_simulated",
]
