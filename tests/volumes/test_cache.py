from __future__ import annotations

import itertools
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vpbsd.errors import DataError, VolumeFormatError
from vpbsd.geometry import Box, Triplet, VoxelSize, tile
from vpbsd.volumes import ArrayVolume, CachedVolume, decode_factor, open_volume


class Chunked(ArrayVolume):
    """An array that says it is chunked, and notes which boxes were asked for."""

    def __init__(self, array: NDArray, chunk: Triplet | None) -> None:
        super().__init__(array, VoxelSize(5, 2, 1), source="brain")
        self.chunk = chunk
        self.asked: list[Box] = []

    @property
    def chunk_voxels(self) -> Triplet | None:
        return self.chunk

    def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray:
        self.asked.append(box)
        return super()._read(box, channels)


def _numbered(shape: tuple[int, ...]) -> NDArray:
    return np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)


def _halo_boxes(shape: Triplet, block: int, halo: int) -> list[Box]:
    return [box.grow(halo).clip(shape) for box in tile(shape, block)]


# 64 * 64 * 64 voxels in 8 chunks of 32: each chunk is a cell of its own, of 131,072 bytes.
CHUNK = (32, 32, 32)
CELL_BYTES = 32**3 * 4


@st.composite
def _cases(draw: st.DrawFn) -> tuple[tuple[int, ...], Triplet, int, list[tuple[Box, list[int]]]]:
    channels = draw(st.integers(1, 2))
    shape = draw(st.tuples(*[st.integers(1, 90)] * 3))
    chunk = draw(st.tuples(*[st.integers(1, 70)] * 3))
    limit_bytes = draw(st.sampled_from([0, 200_000, 400_000, 3_000_000]))
    reads = []
    for _ in range(draw(st.integers(1, 4))):
        edges = [sorted(draw(st.tuples(*[st.integers(0, n)] * 2))) for n in shape]
        (z0, z1), (y0, y1), (x0, x1) = edges
        chosen = draw(st.lists(st.integers(0, channels - 1), min_size=1, max_size=2))
        reads.append((Box((z0, y0, x0), (z1, y1, x1)), chosen))
    return (channels, *shape), chunk, limit_bytes, reads


@given(_cases())
def test_any_sequence_of_reads_equals_the_plain_volume(
    case: tuple[tuple[int, ...], Triplet, int, list[tuple[Box, list[int]]]],
) -> None:
    shape, chunk, limit_bytes, reads = case
    array = _numbered(shape)
    cached = CachedVolume(Chunked(array, chunk), limit_bytes)
    assert cached.capacity_bytes <= limit_bytes
    for box, channels in reads:
        block = cached.read(box, channels)
        np.testing.assert_array_equal(block, array[channels][(slice(None), *box.slices)])
        block[:] = 0  # the block is the caller's, and what is cached must not change with it


def test_a_chunk_is_decoded_once_while_it_is_held() -> None:
    plain = Chunked(_numbered((64, 64, 64)), CHUNK)
    cached = CachedVolume(plain, 8 * CELL_BYTES)
    cached.read(Box((0, 0, 0), (32, 32, 33)))
    assert plain.asked == [Box((0, 0, 0), (32, 32, 64))]  # one call, along the chunks
    assert cached.decoded_voxels == 2 * 32**3
    cached.read(Box((1, 2, 3), (30, 30, 64)))
    assert cached.decoded_voxels == 2 * 32**3
    cached.read(Box((0, 0, 0), (64, 64, 64)))
    # Six of eight chunks are missing: those with y = 1, then the two below the first two.
    assert plain.asked[1:] == [Box((0, 32, 0), (64, 64, 64)), Box((32, 0, 0), (64, 32, 64))]
    assert cached.decoded_voxels == 64**3


def test_the_chunks_used_last_are_kept() -> None:
    plain = Chunked(_numbered((32, 32, 128)), CHUNK)
    cached = CachedVolume(plain, 2 * CELL_BYTES + 1)
    assert cached.capacity_bytes == 2 * CELL_BYTES
    at = [Box((0, 0, x), (32, 32, x + 32)) for x in (0, 32, 64, 96)]
    for i in (0, 1, 0, 2, 0, 1):
        cached.read(at[i])
    assert plain.asked == [at[0], at[1], at[2], at[1]]


def test_small_chunks_are_held_together() -> None:
    plain = Chunked(_numbered((4, 256, 256)), (1, 2, 256))
    cached = CachedVolume(plain, 10**7)
    cached.read(Box((1, 5, 0), (2, 6, 10)))
    # Strips of 512 voxels would cost more to keep than to decode: here 4 planes of 32 rows.
    assert plain.asked == [Box((0, 0, 0), (4, 32, 256))]


def test_a_large_read_is_fetched_in_parts_of_bounded_size() -> None:
    broad = np.broadcast_to(np.uint8(7), (128, 1024, 1024))
    plain = Chunked(broad, (64, 64, 64))
    CachedVolume(plain, 1 << 20).read(Box.whole((128, 1024, 1024)))
    assert sum(box.size_voxels for box in plain.asked) == 128 * 1024 * 1024
    assert max(box.size_voxels for box in plain.asked) == 64 << 20


@pytest.mark.parametrize(("chunk", "limit_bytes"), [(None, 10**9), (CHUNK, CELL_BYTES - 1)])
def test_where_nothing_can_be_gained_reads_go_straight_through(
    chunk: Triplet | None, limit_bytes: int
) -> None:
    plain = Chunked(_numbered((64, 64, 64)), chunk)
    cached = CachedVolume(plain, limit_bytes)
    assert cached.capacity_bytes == 0
    box = Box((1, 2, 3), (33, 20, 20))
    for _ in range(2):
        np.testing.assert_array_equal(cached.read(box), plain.read(box))
    assert set(plain.asked) == {box}
    assert cached.decoded_voxels == 2 * (box.size_voxels if chunk is None else 2 * 32**3)


def test_it_is_the_same_volume_to_its_users(written: Path) -> None:
    with open_volume(written / "ome_05.zarr") as volume:
        cached = CachedVolume(volume, 10**6)
        assert (cached.shape, cached.dtype) == (volume.shape, volume.dtype)
        assert cached.voxel_size_um == volume.voxel_size_um
        assert cached.chunk_voxels == volume.chunk_voxels
        assert cached.fingerprint() == volume.fingerprint()
        level = cached.coarser(60)
        assert level is not None and level[0].shape == (2, 5, 3, 4)
        with pytest.raises(DataError, match="not inside"):
            cached.read(Box((0, 0, 0), (9, 9, 9)))


def test_pickled_it_starts_empty_and_reads_the_same(written: Path, array: NDArray) -> None:
    cached = CachedVolume(open_volume(written / "array_v3.zarr"), 10**6)
    whole = Box.whole((5, 6, 7))
    cached.read(whole)
    other = pickle.loads(pickle.dumps(cached))
    assert len(pickle.dumps(cached)) < 5000
    assert other.decoded_voxels == 0
    np.testing.assert_array_equal(other.read(whole), array)
    other.close()
    np.testing.assert_array_equal(other.read(whole), array)
    assert other.decoded_voxels == 2 * array.size


def test_a_damaged_chunk_is_reported_and_not_kept() -> None:
    class Damaged(Chunked):
        broken = True

        def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray:
            if self.broken and box.stop[2] > 32:
                raise OSError("bad chunk")
            return super()._read(box, channels)

    plain = Damaged(_numbered((32, 32, 64)), CHUNK)
    cached = CachedVolume(plain, 10**6)
    with pytest.raises(VolumeFormatError, match=r"brain.*bad chunk"):
        cached.read(Box.whole((32, 32, 64)))
    cached.read(Box.whole((32, 32, 32)))
    plain.broken = False
    np.testing.assert_array_equal(cached.read(Box.whole((32, 32, 64)))[0], plain._array[0])


def test_threads_share_what_either_has_decoded() -> None:
    class Slow(Chunked):
        def _read(self, box: Box, channels: tuple[int, ...]) -> NDArray:
            time.sleep(0.02)
            return super()._read(box, channels)

    plain = Slow(_numbered((64, 64, 64)), CHUNK)
    cached = CachedVolume(plain, 8 * CELL_BYTES)
    start = threading.Barrier(2)

    def read(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        start.wait()
        same = True
        for _ in range(20):
            edges = np.sort(rng.integers(0, 65, (3, 2)), axis=1)
            box = Box(tuple(edges[:, 0].tolist()), tuple(edges[:, 1].tolist()))
            same &= np.array_equal(cached.read(box), plain._array[(slice(None), *box.slices)])
        return same

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(read, (0, 1)))
    assert cached.decoded_voxels == 64**3


def test_threads_with_too_small_a_cache_still_read_right() -> None:
    plain = Chunked(_numbered((64, 64, 64)), CHUNK)
    cached = CachedVolume(plain, 2 * CELL_BYTES)

    def read(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        same = True
        for _ in range(40):
            edges = np.sort(rng.integers(0, 65, (3, 2)), axis=1)
            box = Box(tuple(edges[:, 0].tolist()), tuple(edges[:, 1].tolist()))
            same &= np.array_equal(cached.read(box), plain._array[(slice(None), *box.slices)])
        return same

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(read, (0, 1)))


# ----------------------------------------------------------------------------------- decode_factor


@pytest.mark.parametrize(
    ("limit_cells", "expected"),
    [
        # 128 voxels in blocks of 64 with a halo of 1: each block touches 3 of 4 chunks an axis.
        (0, 27 * 8 / 64),
        (64, 1.0),
        # Only the last block is held: of its chunks the next along x needs all but 9, the next
        # row all but 15, the next plane all but 19.
        (27, (27 + 9 + 15 + 9 + 19 + 9 + 15 + 9) / 64),
    ],
)
def test_decode_factor_by_hand(limit_cells: int, expected: float) -> None:
    volume = Chunked(np.broadcast_to(np.uint32(0), (128, 128, 128)), CHUNK)
    boxes = _halo_boxes((128, 128, 128), 64, 1)
    assert decode_factor(volume, boxes, limit_cells * CELL_BYTES) == expected


def test_planes_decoded_for_every_block() -> None:
    volume = Chunked(np.broadcast_to(np.uint16(0), (64, 1024, 1024)), (1, 1024, 1024))
    boxes = list(tile((64, 1024, 1024), 256))
    assert decode_factor(volume, boxes, 10**6) == 16.0  # 2 MB a plane: none fits
    assert decode_factor(volume, boxes, 10**9) == 1.0
    whole = Chunked(np.broadcast_to(np.uint16(0), (64, 1024, 1024)), (64, 1024, 1024))
    assert decode_factor(whole, boxes, 10**6) == 16.0


def test_without_chunks_the_halo_is_all_that_counts() -> None:
    volume = Chunked(np.broadcast_to(np.uint16(0), (64, 64, 128)), None)
    boxes = _halo_boxes((64, 64, 128), 64, 8)
    assert decode_factor(volume, boxes, 0) == 2 * 72 / 128


@given(_cases(), st.integers(8, 64), st.integers(0, 9))
def test_the_simulation_agrees_with_the_cache(
    case: tuple[tuple[int, ...], Triplet, int, list[tuple[Box, list[int]]]], block: int, halo: int
) -> None:
    shape, chunk, limit_bytes, _ = case
    volume = Chunked(np.zeros(shape, np.uint32), chunk)
    boxes = _halo_boxes(volume.shape_zyx, block, halo)
    cached = CachedVolume(volume, limit_bytes)
    for box in itertools.islice(boxes, 40):
        cached.read(box)
    predicted = decode_factor(volume, boxes[:40], limit_bytes) * np.prod(shape)
    # The simulation counts chunks that the volume's end cuts off as whole ones.
    whole = np.prod([-(-n // c) * c for n, c in zip(shape[1:], chunk, strict=True)]) * shape[0] * 4
    if limit_bytes == 0 or whole <= limit_bytes:
        assert cached.decoded_voxels == pytest.approx(predicted)
    else:  # in a full cache the order within one block decides what goes
        assert cached.decoded_voxels == pytest.approx(predicted, rel=0.5)


def test_ten_thousand_blocks_are_simulated_in_seconds() -> None:
    shape = (2560, 5632, 11264)
    volume = Chunked(np.broadcast_to(np.uint16(0), shape), (64, 64, 64))
    boxes = _halo_boxes(shape, 256, 32)
    assert len(boxes) == 9680
    start = time.perf_counter()
    factor = decode_factor(volume, boxes, 4 << 30)
    assert time.perf_counter() - start < 15
    assert 1.0 <= factor < 2.0

    strips = Chunked(np.broadcast_to(np.uint16(0), shape), (1, 8, 11264))
    start = time.perf_counter()
    factor = decode_factor(strips, boxes, 20 << 30)
    assert time.perf_counter() - start < 15
    assert 1.0 <= factor < 2.0
