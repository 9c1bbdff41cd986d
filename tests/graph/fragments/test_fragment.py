"""A fragment on disk is what was written, or is known to be damaged."""

from __future__ import annotations

import numpy as np
import pytest

from vpbsd.errors import OutputError
from vpbsd.graph.fragments.fragment import (
    Counts,
    DamagedFragmentError,
    Fragment,
    read_fragment,
    trace,
    write_fragment,
)

from ..skeletons import drawn

# Two blocks of (1, 3, 3) side by side; this is the left one with its rim: a line that leaves it
# at the right, beside a voxel of the rim that it does not touch.
LEFT = np.pad(drawn("....", "####", "...."), ((1, 1), (1, 1), (1, 0)))


def left() -> Fragment:
    radii = np.arange(1, 5, dtype=np.float32)
    return trace(LEFT, radii, (0, 0, 0), (1, 3, 6), Counts(vessel_voxels=7, cavities=2))


def test_a_block_tells_its_voxels_its_rim_and_its_skin() -> None:
    fragment = left()
    # In the volume of (1, 3, 6) the middle row starts at voxel 6.
    assert fragment.node_voxel.tolist() == [6]
    assert fragment.node_branches.tolist() == [False]
    assert fragment.chain_voxel.tolist() == [8, 7]
    assert fragment.chain_radius_um.tolist() == [3, 2]
    assert fragment.chain_offsets.tolist() == [0, 2]
    assert fragment.chain_outside.tolist() == [[9, 6]]
    assert fragment.rim.tolist() == [9]
    # One voxel deep, all of the block lies at a face.
    assert fragment.skin.tolist() == [6, 7, 8]
    assert fragment.pairs.shape == (0, 2)
    assert fragment.skeleton_voxels == 3


def test_skin_is_one_voxel_deep() -> None:
    skeleton = np.zeros((7, 7, 7), bool)  # a block of 5 x 5 x 5 with its rim
    skeleton[3, 3, 1:6] = True
    fragment = trace(skeleton, np.ones(5, np.float32), (0, 0, 0), (5, 5, 5))
    # Along x through the middle (z = y = 2): of voxels 60 to 64 only the outer two.
    assert fragment.skin.tolist() == [60, 64]


def test_a_file_gives_back_what_was_written(tmp_path) -> None:
    path = tmp_path / "deep" / "one.fragment"
    size = write_fragment(path, left())
    assert size == path.stat().st_size
    back = read_fragment(path)
    assert back.counts == Counts(vessel_voxels=7, cavities=2)
    for name in Fragment.__slots__:
        if name != "counts":
            one, two = getattr(left(), name), getattr(back, name)
            assert one.dtype == two.dtype
            assert one.tolist() == two.tolist()
    assert [p.name for p in path.parent.iterdir()] == ["one.fragment"]


def test_an_empty_fragment_goes_through_a_file(tmp_path) -> None:
    write_fragment(tmp_path / "f", Fragment.empty(Counts(vessel_voxels=3)))
    back = read_fragment(tmp_path / "f")
    assert back.skeleton_voxels == 0
    assert back.counts.vessel_voxels == 3
    assert back.chain_offsets.tolist() == [0]


@pytest.mark.parametrize("keep", [0, 5, 20, 27, 100, -1])
def test_a_file_cut_short_is_found(tmp_path, keep: int) -> None:
    path = tmp_path / "f"
    write_fragment(path, left())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedFragmentError, match="cut short or damaged"):
        read_fragment(path)


def test_every_changed_byte_is_found(tmp_path) -> None:
    path = tmp_path / "f"
    write_fragment(path, left())
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(DamagedFragmentError):
            read_fragment(path)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(DamagedFragmentError, match="gone"):
        read_fragment(tmp_path / "gone")


def test_a_folder_that_cannot_be_written_is_an_error_of_output(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_fragment(tmp_path / "file" / "f", left())
