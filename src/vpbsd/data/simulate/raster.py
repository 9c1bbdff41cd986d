"""From a vessel network to voxels: exact mask, partial volume, and which vessel is where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpbsd.data.simulate.capsules import Capsules, Grid, distance_to_capsules
from vpbsd.data.simulate.network import VesselKind, VesselNetwork
from vpbsd.geometry import VoxelSize, as_triplet

__all__ = ["Parts", "Raster", "occupancy", "rasterise"]


@dataclass(frozen=True, eq=False)
class Parts:
    """Short pieces of vessel; each voxel near a vessel belongs to one.

    Attributes
    ----------
    position_um
        (K, 3) middle, (z, y, x).
    radius_um
        (K,) mean radius.
    vessel
        (K,) which vessel the piece is of.
    """

    position_um: NDArray[np.float32]
    radius_um: NDArray[np.float32]
    vessel: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Raster:
    """Vessels on a voxel grid, all arrays (z, y, x).

    Attributes
    ----------
    mask
        uint8; 1 where the voxel's centre lies inside a vessel.
    occupancy
        float32 in 0..1; share of the voxel inside a vessel.
    distance_um
        float32; signed distance of the voxel's centre to the nearest wall, negative inside, cut
        off about one voxel outside.
    part
        int32; index into ``parts`` of the nearest vessel piece, -1 far from vessels.
    parts
        The vessel pieces, by which a microscope sets brightness.
    """

    mask: NDArray[np.uint8]
    occupancy: NDArray[np.float32]
    distance_um: NDArray[np.float32]
    part: NDArray[np.int32]
    parts: Parts


def occupancy(distance_um: NDArray[np.float32], width_um: float) -> NDArray[np.float32]:
    """Return the share (0..1) of a voxel of ``width_um`` that lies behind a flat wall."""
    share: NDArray[np.float32] = distance_um * np.float32(-1.0 / width_um)
    share += np.float32(0.5)
    np.clip(share, 0.0, 1.0, out=share)
    return share


def rasterise(
    network: VesselNetwork,
    shape: Sequence[int],
    voxel_size: VoxelSize,
    origin_um: Sequence[float] = (0.0, 0.0, 0.0),
) -> Raster:
    """Draw a network as round tubes.

    Thick planes are cut into an odd number of thinner ones for the partial volume; the mask is
    that of the middle one, which is exact at voxel centres.

    Parameters
    ----------
    network
        Vessels in micrometres.
    shape
        (z, y, x) voxels.
    voxel_size
        Voxel size, of any anisotropy.
    origin_um
        Position of the centre of voxel (0, 0, 0).
    """
    z, y, x = as_triplet(shape)
    oz, oy, ox = (float(v) for v in origin_um)
    vz, vy, vx = voxel_size.zyx_um
    layers = _sublayers(vz, min(vy, vx))
    thin = vz / layers
    grid = Grid((z * layers, y, x), (thin, vy, vx), (oz - thin * (layers // 2), oy, ox))
    start = network.segment_start
    capsules = Capsules(
        network.points_um[start],
        network.points_um[start + 1],
        network.radii_um[start],
        network.radii_um[start + 1],
    )
    width = float(np.cbrt(thin * vy * vx))
    distance, part = distance_to_capsules(grid, capsules, 0.75 * max(thin, vy, vx))
    share = occupancy(distance, width)
    if layers > 1:
        distance, part, share = _merge_layers(distance, part, share, layers)
    parts = Parts(
        ((capsules.a_um + capsules.b_um) / 2).astype(np.float32),
        ((capsules.radius_a_um + capsules.radius_b_um) / 2).astype(np.float32),
        _vessels(network)[start],
    )
    return Raster((distance < 0).astype(np.uint8), share, distance, part, parts)


def _vessels(network: VesselNetwork) -> NDArray[np.int64]:
    """Return the vessel of each point: its edge; all arterioles are one, and all venules."""
    thick = network.kinds != VesselKind.CAPILLARY
    vessel = np.where(thick, len(network.edges) + network.kinds, np.arange(len(network.edges)))
    return vessel[network.point_edge]


def _sublayers(plane_um: float, pixel_um: float) -> int:
    ratio = plane_um / pixel_um
    return 1 if ratio < 1.9 else 3 if ratio < 4.0 else 5


def _merge_layers(
    distance: NDArray[np.float32],
    part: NDArray[np.int32],
    share: NDArray[np.float32],
    layers: int,
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    split = (distance.shape[0] // layers, layers, *distance.shape[1:])
    stacked = distance.reshape(split)
    closest = stacked.argmin(axis=1)[:, None]
    part = np.take_along_axis(part.reshape(split), closest, axis=1)[:, 0]
    middle = np.ascontiguousarray(stacked[:, layers // 2])
    return middle, part, share.reshape(split).mean(axis=1, dtype=np.float32)
