"""How the axes of a stored array map to (c, z, y, x)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import VolumeFormatError
from vpbsd.geometry import Box, Triplet, as_triplet

__all__ = ["AxisMap", "Stored"]


class Stored(Protocol):
    """An array that is cut by a tuple of slices and numbers: NumPy, zarr and h5py alike."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return the part that ``key`` cuts out."""


@dataclass(frozen=True, slots=True)
class AxisMap:
    """The letters of a stored array's axes, slowest first, and its stored shape.

    Letters: ``t`` time, ``c`` channel, ``s`` colour sample, ``z``, ``y``, ``x``; any other
    letter is allowed for an axis of length 1. Channels and samples are both read as channels.
    """

    letters: str
    stored_shape: tuple[int, ...]

    @classmethod
    def of(cls, letters: str, stored_shape: Sequence[int], source: str) -> AxisMap:
        """Check that the axes make one volume.

        Raises
        ------
        VolumeFormatError
            If z, y or x is missing, time runs over several points, two channel axes are there
            at once or an axis cannot be named.
        """
        axes = cls(letters.lower(), tuple(int(n) for n in stored_shape))
        axes._check(source)
        return axes

    @classmethod
    def default(cls, stored_shape: Sequence[int], source: str) -> AxisMap:
        """Return the map for an array without named axes: (z, y, x) or (c, z, y, x).

        Raises
        ------
        VolumeFormatError
            If the array has neither three nor four axes.
        """
        shape = tuple(int(n) for n in stored_shape)
        if len(shape) not in (3, 4):
            what = "is a 2D image" if len(shape) == 2 else f"has {len(shape)} axes"
            raise VolumeFormatError(
                f"'{source}' {what}, shape {shape}; a volume is (z, y, x) or (c, z, y, x): "
                "put planes into one folder, or cut a longer array apart"
            )
        return cls.of("czyx"[-len(shape) :], shape, source)

    def _check(self, source: str) -> None:
        sizes = dict(zip(self.letters, self.stored_shape, strict=True))
        described = f"axes {self.letters.upper()}, shape {self.stored_shape}"
        if len(sizes) != len(self.stored_shape):
            raise VolumeFormatError(f"'{source}' names an axis twice ({described})")
        if sizes.get("t", 1) > 1:
            raise VolumeFormatError(
                f"'{source}' holds {sizes['t']} time points ({described}); save one time point, "
                "or, if they are planes of a stack, change frames to slices "
                "(Fiji: Image > Properties)"
            )
        for letter in "yx":
            if letter not in sizes:
                raise VolumeFormatError(f"'{source}' has no {letter} axis ({described})")
        if "z" not in sizes:
            raise VolumeFormatError(
                f"'{source}' is a 2D image ({described}); a volume needs a z axis: "
                "put the planes into one folder and open the folder"
            )
        unknown = [a for a, n in sizes.items() if a not in "tcszyx" and n > 1]
        if unknown:
            raise VolumeFormatError(
                f"'{source}' has an axis '{unknown[0]}' that is neither space, channel nor time "
                f"({described}); save the part that is wanted as (c, z, y, x)"
            )
        if sizes.get("c", 1) > 1 and sizes.get("s", 1) > 1:
            raise VolumeFormatError(
                f"'{source}' has channels and colour samples at once ({described}); "
                "save it with one channel axis"
            )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape as (c, z, y, x)."""
        sizes = dict(zip(self.letters, self.stored_shape, strict=True))
        channels = math.prod(sizes.get(letter, 1) for letter in "cs")
        return (channels, sizes["z"], sizes["y"], sizes["x"])

    def zyx(self, stored: Sequence[int]) -> Triplet:
        """Pick what belongs to (z, y, x) out of one number a stored axis."""
        return as_triplet([stored[self.letters.index(letter)] for letter in "zyx"])

    def cut(self, array: Stored, box: Box, channels: Sequence[int]) -> Any:
        """Cut the part out of the stored array, its axes as stored, that spans the channels."""
        return array[self._key(box, channels)[0]]

    def read(self, array: Stored, box: Box, channels: Sequence[int]) -> NDArray[Any]:
        """Cut a box out of the stored array.

        Returns
        -------
        ndarray, (len(channels), z, y, x)
        """
        key, kept = self._key(box, channels)
        block: NDArray[Any] = np.asarray(array[key])
        if "c" not in kept:
            block, kept = block[np.newaxis], "c" + kept
        ordered = block.transpose([kept.index(letter) for letter in "czyx"])
        chosen = [c - min(channels) for c in channels]
        if chosen == list(range(ordered.shape[0])):
            return ordered
        return ordered[chosen]

    def _key(self, box: Box, channels: Sequence[int]) -> tuple[tuple[slice | int, ...], str]:
        """Return the index into the stored array, and the letters of the axes that it keeps."""
        spans = dict(zip("zyx", box.slices, strict=True))
        kept = ""
        key: list[slice | int] = []
        for letter, size in zip(self.letters, self.stored_shape, strict=True):
            if letter in spans:
                key.append(spans[letter])
                kept += letter
            elif letter in "cs" and size > 1:
                # One slice that spans them, so that an interleaved file is read only once.
                key.append(slice(min(channels), max(channels) + 1))
                kept += "c"
            else:
                key.append(0)
        return tuple(key), kept
