"""The fragments of a run on disk, one file a block that holds any vessel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpbsd.blockwise import MISSING, Ledger
from vpbsd.graph.fragments.fragment import Fragment, read_fragment, write_fragment

__all__ = ["FragmentStore"]

# Listing a folder of a million files takes seconds.
_PER_FOLDER = 1000


@dataclass(frozen=True, slots=True)
class FragmentStore:
    """Fragments by the index of their block; picklable, any number of processes may write.

    Attributes
    ----------
    folder
        Where they lie.
    """

    folder: Path

    def path(self, index: int) -> Path:
        """Return the file of a block."""
        return self.folder / f"{index // _PER_FOLDER:05d}" / f"{index:09d}.fragment"

    def write(self, index: int, fragment: Fragment | None) -> int:
        """Keep a fragment; returns its bytes, 0 for none.

        Raises
        ------
        OutputError
            If the disk is full or the folder cannot be written.
        """
        return 0 if fragment is None else write_fragment(self.path(index), fragment)

    def read(self, index: int) -> Fragment:
        """Return the fragment of a block that has one.

        Raises
        ------
        DamagedFragmentError
            If it is missing, cut short or changed.
        """
        return read_fragment(self.path(index))

    def kept(self, ledger: Ledger, total: int) -> list[int]:
        """Return the blocks that have a fragment, ascending: the others hold no vessel."""
        counts = ledger.counts(total)
        return [int(i) for i in np.flatnonzero((counts != MISSING) & (counts > 0))]

    def each(self, indices: list[int]) -> Iterator[Fragment]:
        """Yield the fragments of blocks, one at a time."""
        for index in indices:
            yield self.read(index)
