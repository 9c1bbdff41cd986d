"""Dice and clDice of any choice of a volume's sub-blocks, from counts kept for each of them.

For statistics that draw sub-blocks again and again (a paired bootstrap) without the masks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import ConfigError, DataError
from vpbsd.geometry import Box, Triplet, as_triplet, tile
from vpbsd.metrics.centreline import centreline
from vpbsd.metrics.masks import mask_pair
from vpbsd.metrics.matches import Matches
from vpbsd.metrics.overlap import Overlap

__all__ = ["BlockCounts", "block_counts"]

Counts = NDArray[np.int64]
Selection = Sequence[int] | NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class BlockCounts:
    """Counts in the sub-blocks of one volume, or of several; all arrays are (blocks,).

    Sub-blocks tile the volume from its origin, z slowest; those at its far sides may be smaller.

    Raises
    ------
    DataError
        If the arrays are not counts of one length, or count more matches than voxels.
    """

    edge_voxels: Triplet
    true_positive: Counts
    false_positive: Counts
    false_negative: Counts
    line_predicted: Counts
    """Voxels of the predicted centreline."""

    line_predicted_inside: Counts
    """Those inside the true mask."""

    line_true: Counts
    """Voxels of the true centreline."""

    line_true_inside: Counts
    """Those inside the predicted mask."""

    def __post_init__(self) -> None:
        arrays = self._arrays()
        for name, counts in arrays.items():
            if counts.shape != self.true_positive.shape or counts.ndim != 1 or (counts < 0).any():
                raise DataError(
                    f"'{name}' must hold one count of 0 or more for each of "
                    f"{self.true_positive.size} sub-blocks; these counts are damaged or of "
                    "different volumes"
                )
        for line in ("line_predicted", "line_true"):
            if (arrays[f"{line}_inside"] > arrays[line]).any():
                raise DataError(
                    f"'{line}_inside' counts more voxels than '{line}' in some sub-block; these "
                    "counts are damaged or of different volumes"
                )

    def __len__(self) -> int:
        """Return the number of sub-blocks."""
        return self.true_positive.size

    def __add__(self, other: BlockCounts) -> BlockCounts:
        """Return the sub-blocks of two volumes side by side.

        Raises
        ------
        ConfigError
            If the two have sub-blocks of different edges.
        """
        if self.edge_voxels != other.edge_voxels:
            raise ConfigError(
                f"sub-blocks of {self.edge_voxels} and of {other.edge_voxels} voxels (z, y, x) "
                "cannot be pooled: count both volumes with one edge"
            )
        theirs = other._arrays()
        joined = {name: np.concatenate([a, theirs[name]]) for name, a in self._arrays().items()}
        return BlockCounts(self.edge_voxels, **joined)

    def overlap(self, selection: Selection | None = None) -> Overlap:
        """Return the voxel overlap of the chosen sub-blocks together.

        Parameters
        ----------
        selection
            Indices of sub-blocks, each as often as it is to count, or a boolean for each sub-block;
            all of them by default.
        """
        return Overlap(
            _sum(self.true_positive, selection),
            _sum(self.false_positive, selection),
            _sum(self.false_negative, selection),
        )

    def lines(self, selection: Selection | None = None) -> Matches:
        """Return how much of the centrelines in the chosen sub-blocks lies inside the masks."""
        return Matches(
            _sum(self.line_predicted, selection),
            _sum(self.line_predicted_inside, selection),
            _sum(self.line_true, selection),
            _sum(self.line_true_inside, selection),
        )

    def dice(self, selection: Selection | None = None) -> float:
        """Return the Dice of the chosen sub-blocks together; nothing in either mask: 1."""
        return self.overlap(selection).dice

    def cldice(self, selection: Selection | None = None) -> float:
        """Return the clDice of the chosen sub-blocks together; no centreline of either mask: 1.

        Of all sub-blocks it is that of `vpbsd.metrics.cldice`, to the last digit.
        """
        return self.lines(selection).f1

    def to_dict(self) -> dict[str, list[int]]:
        """Return edges and counts as lists, fit for JSON."""
        lists = {name: counts.tolist() for name, counts in self._arrays().items()}
        return {"edge_voxels": list(self.edge_voxels), **lists}

    @classmethod
    def from_dict(cls, noted: Mapping[str, Any]) -> BlockCounts:
        """Return what `to_dict` noted.

        Raises
        ------
        DataError
            If a name is missing or unknown, or the values are not counts.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if set(noted) != names:
            raise DataError(
                f"counts of sub-blocks hold {sorted(names)}, but "
                f"{sorted(names ^ set(noted))} are missing or too many: they were written by "
                "another version or are damaged"
            )
        arrays = {name: _counts(name, noted[name]) for name in names}
        edge = arrays.pop("edge_voxels")
        if edge.shape != (3,) or (edge < 1).any():
            raise DataError(f"edges of sub-blocks are three lengths of at least 1, got {edge}")
        return cls(as_triplet(edge.tolist()), **arrays)

    def _arrays(self) -> dict[str, Counts]:
        named = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {name: value for name, value in named if name != "edge_voxels"}


def block_counts(
    prediction: NDArray[Any], truth: NDArray[Any], edge_voxels: int | Sequence[int]
) -> BlockCounts:
    """Count overlap and centrelines of two masks in each sub-block.

    Centrelines are those of the whole volume, cut into sub-blocks: no cut changes them, so that
    all sub-blocks together give the scores of the volume.

    Parameters
    ----------
    prediction, truth
        Masks (z, y, x) of one shape.
    edge_voxels
        Edges (z, y, x) of the sub-blocks; one number stands for all three.

    Raises
    ------
    DataError
        If the arrays are not masks of one shape.
    ConfigError
        If an edge is not positive.
    """
    predicted, true = mask_pair(prediction, truth)
    edge = as_triplet(edge_voxels)
    boxes = list(tile(true.shape, edge))
    line_predicted, line_true = centreline(predicted), centreline(true)
    return BlockCounts(
        edge,
        true_positive=_in_each(boxes, predicted & true),
        false_positive=_in_each(boxes, predicted & ~true),
        false_negative=_in_each(boxes, true & ~predicted),
        line_predicted=_in_each(boxes, line_predicted),
        line_predicted_inside=_in_each(boxes, line_predicted & true),
        line_true=_in_each(boxes, line_true),
        line_true_inside=_in_each(boxes, line_true & predicted),
    )


def _in_each(boxes: Sequence[Box], mask: NDArray[np.bool_]) -> Counts:
    return np.array([np.count_nonzero(mask[box.slices]) for box in boxes], dtype=np.int64)


def _sum(counts: Counts, selection: Selection | None) -> int:
    if selection is None:
        return int(counts.sum())
    chosen = np.asarray(selection)
    return int(counts[chosen].sum()) if chosen.size else 0


def _counts(name: str, values: Any) -> Counts:
    whole = isinstance(values, list) and all(type(value) is int for value in values)
    if not whole or any(abs(value) > np.iinfo(np.int64).max for value in values):
        raise DataError(f"'{name}' must be a list of whole numbers: these counts are damaged")
    return np.array(values, dtype=np.int64)
