"""What a 10-terabyte brain takes on machines that are not here: on paper, and by simulation.

The costs of a block (seconds on one core) come from the log of a run that was measured,
``OUT.ome.zarr.log.jsonl``. On paper, a cluster is as fast as the
slowest of its parts: workers, links, storage, and the process that hands out blocks. The
simulation plays the run block by block, with costs drawn from the log: workers compute one block
while they read the next, and whoever reads shares link and storage with everybody who does.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs" / "scale.md"
COSTS = HERE / "block_costs.json"
MARKS = ("<!-- table: begin -->", "<!-- table: end -->")

BRAIN_BYTES = 10e12
BYTES_PER_VOXEL = 2
# What a block costs the process that hands out blocks (benchmarks/engine.py: `engine overhead`).
DRIVER_SECONDS = 3e-3
BLOCKS_A_WORKER = 24
KEPT_BLOCKS = 400


@dataclass(frozen=True, slots=True)
class Cost:
    """One measured block: voxels written, and seconds on one core.

    Its neighbours are read and written meanwhile, on the same core, so that is in the seconds.
    """

    voxels: int
    compute_seconds: float


@dataclass(frozen=True, slots=True)
class Place:
    """A machine or cluster.

    Attributes
    ----------
    workers, nodes
        Processes of one core (or GPU) each, and the machines they are spread over.
    speed
        Of one worker, in cores of the machine that was measured.
    link_bytes, storage_bytes
        Bytes per second into one node, and out of the storage to all.
    """

    name: str
    workers: int
    nodes: int
    speed: float
    link_bytes: float
    storage_bytes: float

    def busy_seconds(self, cost: Cost) -> float:
        """Return what a block takes from a worker, its waiting for bytes not counted."""
        return cost.compute_seconds / self.speed


PLACES = (
    Place("1 workstation, 32 cores, SATA SSD", 32, 1, 1.0, 0.5e9, 0.5e9),
    Place("1 workstation, 32 cores, NVMe", 32, 1, 1.0, 3e9, 3e9),
    Place("1 GPU of 50 Mvoxel/s (assumed), NVMe", 1, 1, 10.0, 3e9, 3e9),
    Place("64 nodes of 32 cores, 10 Gbit/s, storage 5 GB/s", 2048, 64, 1.0, 1.25e9, 5e9),
    Place("64 nodes of 32 cores, 25 Gbit/s, storage 40 GB/s", 2048, 64, 1.0, 3.1e9, 40e9),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--log", type=Path, help="log of a run; keeps its costs for next time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    arguments = parser.parse_args()
    if arguments.log is not None:
        keep_costs(read_log(arguments.log), arguments.seed)
    costs = [Cost(*values) for values in json.loads(COSTS.read_text(encoding="utf-8"))["blocks"]]
    table = "\n".join(lines(costs, arguments.seed))
    sys.stdout.write(table + "\n")
    if arguments.document.exists():
        text = arguments.document.read_text(encoding="utf-8")
        before, _, rest = text.partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        arguments.document.write_text(
            f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}", encoding="utf-8"
        )


def read_log(log: Path) -> list[Cost]:
    """Return the blocks of a log that were computed."""
    costs = []
    for line in log.read_text(encoding="utf-8").splitlines():
        block = json.loads(line)
        if block["status"] != "done":
            continue
        voxels = 1
        for start, stop in zip(block["start"], block["stop"], strict=True):
            voxels *= stop - start
        costs.append(Cost(voxels, block["compute_seconds"]))
    return costs


def keep_costs(costs: Sequence[Cost], seed: int) -> None:
    """Keep some of the blocks, so that anyone can play the simulation."""
    some = random.Random(seed).sample(list(costs), min(KEPT_BLOCKS, len(costs)))
    rows = [[c.voxels, round(c.compute_seconds, 4)] for c in some]
    COSTS.write_text(json.dumps({"blocks": rows}) + "\n", encoding="utf-8")


def lines(costs: Sequence[Cost], seed: int) -> Iterator[str]:
    """Yield the table."""
    yield "| where | hours on paper | simulated | Gvoxel/s | read, GB/s | limited by |"
    yield "|---|---|---|---|---|---|"
    voxels = BRAIN_BYTES / BYTES_PER_VOXEL
    for place in PLACES:
        rates = on_paper(costs, place)
        limit = min(rates, key=lambda name: rates[name])
        played = simulate(costs, place, seed)
        yield (
            f"| {place.name} | {voxels / rates[limit] / 3600:.1f} | "
            f"{voxels / played / 3600:.1f} | {played / 1e9:.3f} | "
            f"{played * bytes_per_voxel(costs) / 1e9:.2f} | {limit} |"
        )


def bytes_per_voxel(costs: Sequence[Cost]) -> float:
    """Return bytes read per voxel written: stored uncompressed, with the halo of a block."""
    edge = (sum(c.voxels for c in costs) / len(costs)) ** (1 / 3)
    return BYTES_PER_VOXEL * ((edge + 64) / edge) ** 3


def on_paper(costs: Sequence[Cost], place: Place) -> dict[str, float]:
    """Return what each part could do alone, in voxels per second."""
    voxels = sum(c.voxels for c in costs)
    busy = sum(place.busy_seconds(c) for c in costs)
    each = bytes_per_voxel(costs)
    return {
        "workers": place.workers * voxels / busy,
        "links": place.nodes * place.link_bytes / each,
        "storage": place.storage_bytes / each,
        "driver": voxels / len(costs) / DRIVER_SECONDS,
    }


def simulate(costs: Sequence[Cost], place: Place, seed: int) -> float:
    """Play some blocks for every worker; returns voxels per second once all are under way.

    A worker has one block read ahead at most. All readers get the same bytes per second: what the
    storage gives divided by their number, or their share of their node's link.
    """
    draw = random.Random(seed)
    cap = place.link_bytes * place.nodes / place.workers
    per_voxel = bytes_per_voxel(costs)
    total = BLOCKS_A_WORKER * place.workers
    played = _Play(place, cap)
    for worker in range(place.workers):
        played.read(worker, draw.choice(costs), per_voxel)
    started = place.workers
    done: list[tuple[float, int]] = []
    while played.busy:
        worker, finished, may_read = played.step()
        if finished is not None:
            done.append((played.now, finished.voxels))
        if may_read and started < total:
            played.read(worker, draw.choice(costs), per_voxel)
            started += 1
    # The first and the last tenth, when not everybody works, are left out.
    middle = done[len(done) // 10 : -len(done) // 10]
    return sum(voxels for _, voxels in middle[1:]) / (middle[-1][0] - middle[0][0])


class _Play:
    """Time, who reads, who computes, and who waits with a block in hand."""

    def __init__(self, place: Place, cap: float) -> None:
        self.now = 0.0
        self._place = place
        self._cap = cap
        self._served = 0.0  # bytes that each reader has got since the start
        self._reading: list[tuple[float, int, Cost]] = []
        self._computing: list[tuple[float, int, Cost]] = []
        self._waiting: dict[int, Cost] = {}
        self._at_work: set[int] = set()

    @property
    def busy(self) -> bool:
        return bool(self._reading or self._computing)

    def read(self, worker: int, cost: Cost, bytes_per_voxel: float) -> None:
        entry = (self._served + cost.voxels * bytes_per_voxel, worker, cost)
        heapq.heappush(self._reading, entry)

    def step(self) -> tuple[int, Cost | None, bool]:
        """Go to the next event: (worker, block that is finished, whether it may read another)."""
        rate = min(self._cap, self._place.storage_bytes / max(len(self._reading), 1))
        read_at = (
            self.now + (self._reading[0][0] - self._served) / rate
            if self._reading
            else float("inf")
        )
        computed_at = self._computing[0][0] if self._computing else float("inf")
        then = min(read_at, computed_at)
        if self._reading:
            self._served += (then - self.now) * rate
        self.now = then
        if read_at <= computed_at:
            _, worker, cost = heapq.heappop(self._reading)
            if worker in self._at_work:
                self._waiting[worker] = cost
                return worker, None, False
            self._compute(worker, cost)
            return worker, None, True
        _, worker, finished = heapq.heappop(self._computing)
        self._at_work.discard(worker)
        waiting = self._waiting.pop(worker, None)
        if waiting is None:
            return worker, finished, False
        self._compute(worker, waiting)
        return worker, finished, True

    def _compute(self, worker: int, cost: Cost) -> None:
        self._at_work.add(worker)
        finished_at = self.now + self._place.busy_seconds(cost)
        heapq.heappush(self._computing, (finished_at, worker, cost))


if __name__ == "__main__":
    main()
