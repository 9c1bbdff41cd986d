"""All fragments of a mask: every block once, damaged ones again, disagreeing ones with more halo.

What is done again, and with which halo, is noted in the work folder before it is begun
(``redo.json``), so that a run that is killed meanwhile goes on to the same result.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpbsd.blockwise import Ledger, run_blocks
from vpbsd.blockwise.execute import Executor
from vpbsd.errors import OutputError, VpbsdError
from vpbsd.geometry import Triplet, as_triplet
from vpbsd.graph.fragments.agreement import disagreeing, with_halo
from vpbsd.graph.fragments.fragment import DamagedFragmentError, Fragment
from vpbsd.graph.job import GraphJob
from vpbsd.provenance import write_json_atomic

__all__ = ["Skeleton", "complete_skeleton"]

logger = logging.getLogger(__name__)

_REDO = "redo.json"
_MOST_ROUNDS = 3
_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """The fragments of a mask, and what their blocks counted together.

    Attributes
    ----------
    kept
        Blocks that have a fragment.
    redone, widened
        Blocks done again with more halo, and blocks that took more than the plan's by themselves.
    vessel_voxels, cavities, cavity_voxels, largest_radius_um
        As in :class:`vpbsd.graph.fragments.fragment.Counts`.
    """

    job: GraphJob
    kept: tuple[int, ...]
    redone: int
    widened: int = 0
    vessel_voxels: int = 0
    cavities: int = 0
    cavity_voxels: int = 0
    largest_radius_um: float = 0.0

    def fragments(self) -> Iterator[Fragment]:
        """Yield the fragments, one at a time in memory."""
        return (self.job.store.read(index) for index in self.kept)


def complete_skeleton(job: GraphJob, executor: Executor) -> Skeleton:
    """Return the fragments of a run all of whose blocks are finished, once they agree.

    Raises
    ------
    VpbsdError
        If blocks go on to disagree: naming their boxes.
    OutputError
        If a fragment is damaged again after it was computed again.
    ConfigError
        If more halo takes more memory than is allowed.
    """
    rounds = _Rounds(job, executor)
    rounds.go_on()
    rounds.mend()
    while pairs := disagreeing(job.plan, rounds.kept(), job.store.read):
        rounds.begin(pairs)
    redone = {index for one in rounds.done for index in one.blocks}
    return _counted(job, rounds.kept(), len(redone))


@dataclass(frozen=True, slots=True)
class _Round:
    """Blocks that are done again, and the halo."""

    halo: Triplet
    blocks: tuple[int, ...]


class _Rounds:
    """What has been done again so far."""

    def __init__(self, job: GraphJob, executor: Executor) -> None:
        self.job = job
        self.executor = executor
        self.path = job.work.path / _REDO
        self.done = _read(self.path)

    def ledger(self, number: int) -> Ledger:
        return Ledger(self.job.work.path / f"redo_{number}")

    def kept(self) -> tuple[int, ...]:
        """Return the blocks that have a fragment."""
        store, found = self.job.store, set()
        found.update(store.kept(self.job.work.ledger, len(self.job.plan)))
        for number, one in enumerate(self.done, 1):
            local = store.kept(self.ledger(number), len(one.blocks))
            found.update(one.blocks[i] for i in local)
        return tuple(sorted(found))

    def go_on(self) -> None:
        """Do what an earlier run has begun to do again."""
        for number in range(1, len(self.done) + 1):
            self._run(number)

    def begin(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Do both blocks of each pair again, with twice the halo that they had."""
        blocks = tuple(sorted({index for pair in pairs for index in pair}))
        if len(self.done) == _MOST_ROUNDS:
            raise _still_disagreeing(self.job, pairs, max(self.done[-1].halo))
        halo = self._doubled(blocks)
        logger.info(
            "%d blocks see another skeleton than their neighbours and are done again with a halo "
            "of %s voxels", len(blocks), halo,
        )  # fmt: skip
        self.done.append(_Round(halo, blocks))
        rounds = [{"halo": list(one.halo), "blocks": list(one.blocks)} for one in self.done]
        write_json_atomic(self.path, {"rounds": rounds})
        self._run(len(self.done))

    def mend(self) -> None:
        """Do the blocks again whose fragments are damaged; once."""
        damaged = [index for index in self.kept() if not self._readable(index)]
        for halo in {self._halo_of(index) for index in damaged}:
            chosen = [index for index in damaged if self._halo_of(index) == halo]
            logger.warning("the files of blocks %s are damaged and made again", chosen)
            run_blocks(
                with_halo(self.job.plan, halo, chosen), self.job.operation, workers=self.executor
            )
        for index in damaged:
            try:
                self.job.store.read(index)
            except DamagedFragmentError as error:
                raise OutputError(
                    f"{error}, also after it was written again: the disk of "
                    f"'{self.job.work.path}' is not to be trusted; choose another (--work)"
                ) from error

    def _readable(self, index: int) -> bool:
        try:
            self.job.store.read(index)
        except DamagedFragmentError:
            return False
        return True

    def _halo_of(self, index: int) -> Triplet:
        halos = [one.halo for one in self.done if index in one.blocks]
        return halos[-1] if halos else self.job.plan.halo

    def _doubled(self, blocks: Sequence[int]) -> Triplet:
        there = set(self.kept())
        had = [self.job.store.read(i).counts.halo_voxels for i in blocks if i in there]
        sizes = self.job.voxel_size.zyx_um
        most_um = max(had) * min(sizes)
        reached = zip(self.job.plan.halo, sizes, strict=True)
        return as_triplet([2 * max(h, math.ceil(most_um / size)) for h, size in reached])

    def _run(self, number: int) -> None:
        one = self.done[number - 1]
        run_blocks(
            with_halo(self.job.plan, one.halo, one.blocks),
            self.job.operation,
            ledger=self.ledger(number),
            workers=self.executor,
        )


def _read(path: Path) -> list[_Round]:
    try:
        noted: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot read '{path}': {error}; remove it to start anew") from error
    return [_Round(as_triplet(one["halo"]), tuple(one["blocks"])) for one in noted["rounds"]]


def _still_disagreeing(
    job: GraphJob, pairs: Sequence[tuple[int, int]], halo_voxels: int
) -> VpbsdError:
    named = "; ".join(f"{job.plan[a].write} and {job.plan[b].write}" for a, b in pairs[:_NAMED])
    more = f" and {len(pairs) - _NAMED} pairs more" if len(pairs) > _NAMED else ""
    return VpbsdError(
        f"blocks still see different skeletons of the voxels that they share with a halo of "
        f"{halo_voxels} voxels: {named}{more}; look at the mask there (a large solid body, or "
        "noise?), or take larger blocks (--block-voxels)"
    )


def _counted(job: GraphJob, kept: tuple[int, ...], redone: int) -> Skeleton:
    counts = [job.store.read(index).counts for index in kept]
    return Skeleton(
        job=job,
        kept=kept,
        redone=redone,
        widened=sum(one.halo_voxels > max(job.plan.halo) for one in counts),
        vessel_voxels=sum(one.vessel_voxels for one in counts),
        cavities=sum(one.cavities for one in counts),
        cavity_voxels=sum(one.cavity_voxels for one in counts),
        largest_radius_um=max((one.largest_radius_um for one in counts), default=0.0),
    )
