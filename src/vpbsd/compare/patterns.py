"""What a codebook has learnt: which codes stand for vessels, and what the image shows there.

A teacher goes over whole volumes; every cell of its code grid gets the code nearest to its
encoding. A code is used for vessels as much as its cells hold of all vessel voxels that the teacher
finds. Its pattern is seen in the image around the cells whose encodings lie nearest to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vpbsd.blockwise import Block, Function, Workers, plan_blocks, run_blocks
from vpbsd.data.collection import TrainingVolume
from vpbsd.errors import CollapseError, ConfigError
from vpbsd.geometry import Box, Triplet, as_triplet
from vpbsd.models import Model, Teacher
from vpbsd.segment import read_padded
from vpbsd.stages.label import TeacherRuntime

__all__ = ["CodePatterns", "PatternOptions", "collect_patterns"]

# Of one code, so many cells are looked at for patches that lie apart.
_CANDIDATES = 4096


@dataclass(frozen=True, slots=True)
class PatternOptions:
    """How many codes and patches are kept.

    Attributes
    ----------
    codes
        The most used for vessels.
    patches
        For each code, from different places.
    patch_voxels
        (z, y, x) edges; cut down to the smallest volume.

    Raises
    ------
    ConfigError
        If a number is below 1.
    """

    codes: int = 12
    patches: int = 8
    patch_voxels: Triplet = (16, 32, 32)

    def __post_init__(self) -> None:
        if min(self.codes, self.patches, *self.patch_voxels) < 1:
            raise ConfigError(f"codes, patches and their edges must be at least 1, got {self}")


@dataclass(frozen=True, eq=False)
class CodePatterns:
    """The most used vessel patterns.

    Attributes
    ----------
    codes
        (N,) indices into the codebook, the most used for vessels first.
    vessel_share
        (N,) share of all vessel voxels that lie in cells of the code.
    cell_share
        (N,) share of all cells that have the code.
    patches
        (N, P, z, y, x) normalised intensities, nearest first; NaN where a code has fewer. Patches
        at the border of a volume count only where a code has no others.
    cells
        (N, P, 3) first voxel of the cell in its patch.
    distances
        (N, P) from encoding to code; NaN where a code has fewer.
    cell_voxels
        (z, y, x) edges of a cell.
    """

    codes: NDArray[np.int64]
    vessel_share: NDArray[np.float64]
    cell_share: NDArray[np.float64]
    patches: NDArray[np.float32]
    cells: NDArray[np.int64]
    distances: NDArray[np.float64]
    cell_voxels: Triplet


@dataclass(frozen=True, eq=False)
class _Grid:
    """What a teacher says of one volume, on its code grid (d, h, w)."""

    codes: NDArray[np.int64]
    distances: NDArray[np.float32]
    vessel_voxels: NDArray[np.int64]


def collect_patterns(
    teacher: Model,
    volumes: Sequence[TrainingVolume],
    runtime: TeacherRuntime,
    options: PatternOptions | None = None,
) -> CodePatterns:
    """Find the codes most used for vessels, and the patches nearest to each.

    Parameters
    ----------
    teacher
        With its threshold.
    volumes
        Any that it can segment; several show more kinds of vessels.
    runtime
        Evaluates the teacher.
    options
        How many codes and patches.

    Raises
    ------
    ConfigError
        If the teacher has no codebook, or no volume is given.
    CollapseError
        If the teacher finds no vessel in any of the volumes.
    """
    options = options or PatternOptions()
    net = cast(Teacher, teacher.net)
    _require_codes_and_volumes(net, volumes)
    table = net.codebook.table.detach().cpu().numpy().astype(np.float32)
    grids = [_encode(volume, runtime, table, net, teacher.threshold) for volume in volumes]
    cells = sum(np.bincount(g.codes.ravel(), minlength=len(table)) for g in grids)
    vessels = sum(
        np.bincount(g.codes.ravel(), g.vessel_voxels.ravel(), minlength=len(table)) for g in grids
    )
    cells, vessels = np.asarray(cells, np.float64), np.asarray(vessels, np.float64)
    if not vessels.any():
        raise CollapseError(
            "the teacher finds no vessel in any of the volumes, so that no code stands for "
            "vessels: give volumes of the kind it was trained on, or train it longer "
            "(finetune.steps)"
        )
    used = int((vessels > 0).sum())
    chosen = np.argsort(-vessels, kind="stable")[: min(options.codes, used)]
    cell = net.config.code_stride
    patches, places, distances = _patches(volumes, grids, chosen, options, cell)
    return CodePatterns(
        codes=chosen,
        vessel_share=vessels[chosen] / vessels.sum(),
        cell_share=cells[chosen] / cells.sum(),
        patches=patches,
        cells=places,
        distances=distances,
        cell_voxels=cell,
    )


def _require_codes_and_volumes(net: Teacher, volumes: Sequence[TrainingVolume]) -> None:
    if net.codebook.config.quantiser == "none":
        raise ConfigError(
            "this teacher has no codebook (codebook.quantiser: none), so that there are no "
            "patterns to show: give one that was trained with codes"
        )
    if not volumes:
        raise ConfigError("patterns are looked for in volumes: give at least one")


def _encode(
    volume: TrainingVolume,
    runtime: TeacherRuntime,
    table: NDArray[np.float32],
    net: Teacher,
    threshold: float,
) -> _Grid:
    cell = net.config.code_stride
    shape = as_triplet([-(-n // s) * s for n, s in zip(volume.shape, net.stride, strict=True)])
    grid = tuple(n // c for n, c in zip(shape, cell, strict=True))
    found = _Grid(np.zeros(grid, np.int64), np.zeros(grid, np.float32), np.zeros(grid, np.int64))
    image = Box.whole(volume.shape)

    def operation(block: Block) -> int:
        p, k, e = runtime.encode(volume.scale.apply(read_padded(volume.image, block.read)))
        vessel = p[block.crop.slices] >= threshold
        # Beyond the volume there is only its mirror image.
        inside = block.write.intersect(image).relative_to(block.write)
        real = np.zeros_like(vessel)
        real[inside.slices] = True
        write, crop = _on_grid(block.write, cell), _on_grid(block.crop, cell)
        codes = k[crop.slices]
        off = e[(slice(None), *crop.slices)] - np.moveaxis(table[codes], -1, 0)
        found.codes[write.slices] = codes
        found.distances[write.slices] = np.sqrt(np.square(off).sum(axis=0))
        found.vessel_voxels[write.slices] = _sum_cells(vessel & real, cell)
        return 0

    plan = plan_blocks(shape, runtime.block, net.halo_voxels, net.stride)
    run_blocks(plan, Function(operation), workers=Workers(lanes=1, retries=0))
    # Cells that begin beyond the volume are padding.
    kept = Box.whole([-(-n // c) for n, c in zip(volume.shape, cell, strict=True)]).slices
    return _Grid(found.codes[kept], found.distances[kept], found.vessel_voxels[kept])


def _patches(
    volumes: Sequence[TrainingVolume],
    grids: Sequence[_Grid],
    chosen: NDArray[np.int64],
    options: PatternOptions,
    cell: Triplet,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    smallest = [min(v.shape[axis] for v in volumes) for axis in range(3)]
    edges = as_triplet([min(e, n) for e, n in zip(options.patch_voxels, smallest, strict=True)])
    count = (len(chosen), options.patches)
    patches = np.full((*count, *edges), np.nan, np.float32)
    places, distances = np.zeros((*count, 3), np.int64), np.full(count, np.nan)
    for row, code in enumerate(chosen):
        for column, (number, place, distance) in enumerate(
            _nearest(volumes, grids, int(code), options.patches, (edges, cell))
        ):
            volume = volumes[number]
            start = _start(place, edges, volume.shape, cell)
            patches[row, column] = volume.intensities(Box.at(start, edges))[0]
            places[row, column] = [p * c - s for p, c, s in zip(place, cell, start, strict=True)]
            distances[row, column] = distance
    return patches, places, distances


def _nearest(
    volumes: Sequence[TrainingVolume],
    grids: Sequence[_Grid],
    code: int,
    count: int,
    geometry: tuple[Triplet, Triplet],
) -> list[tuple[int, Triplet, float]]:
    """Return volume, cell and distance of the nearest cells, no two within half a patch.

    Cells whose patch sticks out of the volume count only where a code has no others.
    """
    edges, cell = geometry
    inside: list[tuple[float, int, Triplet]] = []
    outside: list[tuple[float, int, Triplet]] = []
    for number, grid in enumerate(grids):
        # A code can stand for background too: where the teacher sees vessels, it shows them.
        where = np.argwhere((grid.codes == code) & (grid.vessel_voxels > 0))
        found = grid.distances[tuple(where.T)]
        for index in np.argsort(found, kind="stable")[:_CANDIDATES]:
            place = as_triplet(where[index].tolist())
            start = _middle_of(place, edges, cell)
            fits = start == _start(place, edges, volumes[number].shape, cell)
            (inside if fits else outside).append((float(found[index]), number, place))
    candidates = inside or outside
    apart = [e / 2 / c for e, c in zip(edges, cell, strict=True)]
    taken: list[tuple[int, Triplet, float]] = []
    for distance, number, place in sorted(candidates):
        near = any(
            number == other
            and all(abs(a - b) <= d for a, b, d in zip(place, there, apart, strict=True))
            for other, there, _ in taken
        )
        if not near:
            taken.append((number, place, distance))
        if len(taken) == count:
            break
    return taken


def _start(place: Triplet, edges: Triplet, shape: Triplet, cell: Triplet) -> Triplet:
    """Return the first voxel of the patch around a cell, moved into the volume at its borders."""
    middle = _middle_of(place, edges, cell)
    return as_triplet([min(max(0, m), n - e) for m, n, e in zip(middle, shape, edges, strict=True)])


def _middle_of(place: Triplet, edges: Triplet, cell: Triplet) -> Triplet:
    """Return the first voxel of a patch with the cell in its middle, perhaps outside the volume."""
    return as_triplet([p * c + c // 2 - e // 2 for p, c, e in zip(place, cell, edges, strict=True)])


def _sum_cells(mask: NDArray[Any], cell: Triplet) -> NDArray[np.int64]:
    """Count the voxels of a mask (z, y, x) in each cell."""
    (z, y, x), (cz, cy, cx) = mask.shape, cell
    blocks = mask.reshape(z // cz, cz, y // cy, cy, x // cx, cx)
    return np.asarray(blocks.sum(axis=(1, 3, 5), dtype=np.int64))


def _on_grid(box: Box, cell: Triplet) -> Box:
    def divided(corner: Triplet) -> Triplet:
        return as_triplet([n // c for n, c in zip(corner, cell, strict=True)])

    return Box(divided(box.start), divided(box.stop))
