"""One block: as much context as its vessels need, and no more memory than planned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vpbsd.blockwise import plan_blocks
from vpbsd.errors import ConfigError
from vpbsd.geometry import VoxelSize
from vpbsd.graph.fragments.block import HaloRule, SkeletonBlock
from vpbsd.graph.fragments.store import FragmentStore

from ..tubes import MICRON, thicket, tubes, volume


def operation(mask: np.ndarray, tmp_path: Path, limit_bytes: int = 2**30) -> SkeletonBlock:
    rule = HaloRule(MICRON, cavity_voxels=0)
    return SkeletonBlock(
        volume=volume(mask),
        voxel_size=MICRON,
        rule=rule,
        store=FragmentStore(tmp_path / "fragments"),
        limit_bytes=limit_bytes,
    )


def test_the_halo_is_twice_the_radius_and_eight_voxels_and_the_longest_cavity() -> None:
    # A ball of 33 voxels has a radius of 1.99 and is 4 voxels long.
    rule = HaloRule(VoxelSize(4.0, 1.0, 2.0), cavity_voxels=33)
    assert rule.longest_cavity == 4
    assert rule.halo(10.0) == (17, 32, 22)
    assert rule.bears((17, 32, 22), 10.0)
    assert not rule.bears((17, 32, 21), 10.0)
    assert not rule.bears((17, 32, 22), 10.1)


def test_a_block_far_from_vessels_leaves_nothing(tmp_path) -> None:
    mask = tubes((20, 20, 60), [((10, 10, 2), (10, 10, 6), 2.0)])
    block = plan_blocks(mask.shape, 20, 10)[2]
    one = operation(mask, tmp_path)
    assert one.compute(block, one.read(block)) is None
    assert one.write(block, None) == 0
    assert not (tmp_path / "fragments").exists()


@pytest.mark.parametrize(("radius_um", "halo"), [(2.0, 12), (6.0, 20)])
def test_a_block_takes_the_context_that_its_vessels_need(tmp_path, radius_um, halo: int) -> None:
    mask = tubes((60, 40, 100), [((30, 20, 0), (30, 20, 99), radius_um)])
    block = plan_blocks(mask.shape, (60, 40, 20), 12)[2]
    one = operation(mask, tmp_path)
    fragment = one.compute(block, one.read(block))
    assert fragment is not None
    # Radii are distances to the centres of background voxels: up to one voxel more.
    assert radius_um <= fragment.counts.largest_radius_um <= radius_um + 1
    assert halo <= fragment.counts.halo_voxels <= halo + 2
    # The axis, voxel by voxel, in the block and one voxel beyond on both sides.
    row = (30 * 40 + 20) * 100
    assert sorted(fragment.chain_voxel.tolist()) == list(range(row + 40, row + 60))
    assert fragment.rim.tolist() == [row + 39, row + 60]
    assert fragment.skin.tolist() == [row + 40, row + 59]


def test_a_vessel_that_only_begins_beside_a_block_counts_with_its_whole_width(tmp_path) -> None:
    # Its axis runs 11 voxels beside the block, its wall 1 voxel inside.
    mask = tubes((60, 60, 40), [((20, 31, 0), (20, 31, 39), 12.0)])
    block = plan_blocks(mask.shape, (60, 20, 40), 12)[0]
    one = operation(mask, tmp_path)
    fragment = one.compute(block, one.read(block))
    assert fragment is not None
    assert fragment.counts.largest_radius_um < 3
    assert fragment.counts.halo_voxels >= 32
    assert fragment.skeleton_voxels == 0


def test_more_than_the_limit_is_refused_before_it_is_taken(tmp_path) -> None:
    mask = thicket((40, 40, 40), 10, 0)
    block = plan_blocks(mask.shape, 20, 12)[0]
    one = operation(mask, tmp_path, limit_bytes=100_000)
    with pytest.raises(ConfigError, match=r"block z\[0:20\].*--memory"):
        one.compute(block, one.read(block))


MEASURED = """
import sys
import numpy as np
from pathlib import Path
from vpbsd.blockwise import plan_blocks
from vpbsd.geometry import VoxelSize
from vpbsd.graph.fragments.block import HaloRule, SkeletonBlock, box_bytes
from vpbsd.graph.fragments.store import FragmentStore
from vpbsd.machine import peak_memory_bytes, resident_bytes
from vpbsd.volumes import open_volume

size = VoxelSize(1.0, 1.0, 1.0)
mask = open_volume(Path(sys.argv[1]), voxel_size_um=size)
rule = HaloRule(size, 64)
one = SkeletonBlock(
    volume=mask, voxel_size=size, rule=rule, store=FragmentStore(Path("f")), limit_bytes=1 << 40
)
small = plan_blocks(mask.shape_zyx, 90, 0)[0]
one.compute(small, one.read(small))  # what is compiled is no part of a block
Path("/proc/self/clear_refs").write_text("5")
before = resident_bytes()
block = plan_blocks(mask.shape_zyx, 1000, 0)[0]
waiting = one.read(block)
one.compute(block, one.read(block))
share = float(np.mean(waiting))
print(peak_memory_bytes() - before, box_bytes(block.read.size_voxels, share))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is Linux's")
@pytest.mark.parametrize("tubes_across", [4, 60])
def test_a_block_takes_no_more_memory_than_projected(tmp_path, tubes_across: int) -> None:
    part = thicket((90, 90, 90), tubes_across, 3)
    np.save(tmp_path / "mask.npy", np.tile(part, (2, 2, 2)))
    told = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "mask.npy")],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    measured, projected = (int(word) for word in told.stdout.split())
    # A projection that is far too high would make blocks needlessly small.
    assert 0.5 * projected < measured <= projected
