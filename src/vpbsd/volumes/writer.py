"""Write a volume as OME-Zarr 0.5, shard by shard, and show it only when it is complete.

::

    OUT.ome.zarr/             group: "ome" (version 0.5, multiscales), "vpbsd" (provenance)
      0  1  2 …               zarr v3 arrays, (z, y, x) or (c, z, y, x), coarser by 2 each

A mask is an ordinary image group of integers, which every viewer opens; shown as labels, it is
dragged into a labels layer. (A ``labels`` group would have to lie inside the image's own
folder, which is the user's and is never written to.)
"""

from __future__ import annotations

import math
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError, OutputError, VolumeFormatError
from vpbsd.geometry import Box, Triplet, as_triplet, tile
from vpbsd.volumes.layout import OutputLayout
from vpbsd.volumes.pyramid import downsample, level_shape, pyramid_factors
from vpbsd.volumes.volume import READ_ERRORS, damaged

__all__ = ["OmeZarrWriter", "read_attributes"]

_ATTRIBUTES_KEY = "vpbsd"


class OmeZarrWriter:
    """One output, written into a hidden folder beside it and renamed at the end.

    Use it as a context: on leaving, :meth:`finish` is called, or, after an exception,
    :meth:`abort`. Several processes may write (a writer can be pickled), as long as each box is
    written by one of them; only one may finish.
    """

    def __init__(self, path: Path, partial: Path, layout: OutputLayout, name: str) -> None:
        self.path = path
        self.layout = layout
        self.name = name
        self._partial = partial
        self._attributes: dict[str, Any] = {}
        self._overwrite = False
        self._open = True
        self._finest: Any = None

    @classmethod
    def create(
        cls,
        path: str | Path,
        layout: OutputLayout,
        *,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> OmeZarrWriter:
        """Start an output; nothing appears at ``path`` until :meth:`finish`.

        Parameters
        ----------
        path : str or Path
            Ends in ``.zarr``, by custom ``.ome.zarr``.
        layout : OutputLayout
            Shape, type, voxel size and cut.
        name : str, optional
            What viewers call it; the file's name by default.
        attributes : mapping, optional
            Provenance that JSON can hold, read back by :func:`read_attributes`.
        overwrite : bool
            Replace an earlier zarr output, at :meth:`finish`; it stays until then.

        Raises
        ------
        OutputError
            If the output exists, or cannot be written.
        """
        target = Path(path)
        _refuse_existing(target, overwrite)
        partial = target.parent / f".{target.name}.partial"
        writer = cls(target, partial, layout, name or target.name.split(".")[0] or "volume")
        writer._attributes = dict(attributes or {})
        writer._overwrite = overwrite
        with writer._writing():
            # What lies there was left by a run that was killed: unfinished by definition.
            _remove(partial)
            target.parent.mkdir(parents=True, exist_ok=True)
            writer._finest = writer._create_level(0, layout.shape_zyx)
        return writer

    def write(self, box: Box, array: NDArray[Any]) -> None:
        """Write whole shards.

        Parameters
        ----------
        box : Box
            Starts at a shard's start on every axis and ends at a shard's end or the volume's:
            two writers in one shard would silently lose each other's voxels.
        array : ndarray, (z, y, x) or (c, z, y, x)
            The box's values, all channels.

        Raises
        ------
        DataError
            If the box cuts a shard, lies outside, or does not fit the array.
        OutputError
            If the disk is full or the folder cannot be written.
        """
        self._refuse_closed()
        self._check_box(box)
        expected = (*self.layout.lead, *box.shape)
        if array.shape != expected:
            raise DataError(f"box {box} needs an array of shape {expected}, got {array.shape}")
        dtype = np.dtype(self.layout.dtype)
        both_real = array.dtype.kind == dtype.kind == "f"
        if not both_real and not np.can_cast(array.dtype, dtype, "safe"):
            raise DataError(
                f"values of type {array.dtype} do not fit into '{self.path}' of type {dtype} "
                "without loss; convert them explicitly first"
            )
        with self._writing():
            self._finest[(..., *box.slices)] = array.astype(dtype, copy=False)

    def finish(self) -> Path:
        """Add the coarser levels and the metadata, check them, and move it all to its name.

        Calling it again does nothing.

        Returns
        -------
        Path
            Where the output is.

        Raises
        ------
        OutputError
            If the disk is full, or something else appeared at the path meanwhile.
        """
        if not self._open:
            return self.path
        import zarr
        from ome_zarr_models.v05 import Image

        factors = pyramid_factors(self.layout.shape_zyx, self.layout.voxel_size_um)
        with self._writing():
            for level in range(1, len(factors)):
                self._write_level(level, factors[level - 1], factors[level])
            group = zarr.open_group(self._partial, mode="a", zarr_format=3)
            group.attrs["ome"] = self._multiscales(factors)
            if self._attributes:
                group.attrs[_ATTRIBUTES_KEY] = self._attributes
            Image.from_zarr(zarr.open_group(self._partial, mode="r"))
            _refuse_existing(self.path, self._overwrite)
            _swap(self._partial, self.path)
        self._open = False
        return self.path

    def abort(self) -> None:
        """Remove what was written so far; an earlier output at the path stays."""
        if self._open:
            self._open = False
            _remove(self._partial)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.abort()
            return
        try:
            self.finish()
        finally:
            self.abort()

    def _refuse_closed(self) -> None:
        if not self._open:
            raise OutputError(f"'{self.path}' is finished or aborted already; create it anew")

    def _check_box(self, box: Box) -> None:
        edges = zip(box.start, box.stop, self.layout.shape_zyx, self.layout.shard, strict=True)
        for start, stop, size, shard in edges:
            if not 0 <= start < stop <= size:
                raise DataError(f"box {box} is not inside the output {self.layout.shape_zyx}")
            if start % shard or (stop % shard and stop != size):
                raise DataError(
                    f"box {box} cuts a shard of {tuple(self.layout.shard)} voxels: two writers "
                    "in one shard lose data; let each block cover whole shards"
                )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(_disk_message(self.path, error)) from error

    def _create_level(self, level: int, shape: Triplet) -> Any:
        import zarr
        from zarr.codecs import BloscCodec

        layout = self.layout
        ones = (1,) * len(layout.lead)
        shard = [
            min(s, math.ceil(n / c) * c)
            for s, c, n in zip(layout.shard, layout.chunk, shape, strict=True)
        ]
        return zarr.create_array(
            self._partial / str(level),
            shape=(*layout.lead, *shape),
            dtype=np.dtype(layout.dtype),
            chunks=(*ones, *layout.chunk),
            shards=(*ones, *shard),
            compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
            fill_value=0,
            dimension_names=self._axes(),
            zarr_format=3,
        )

    def _axes(self) -> list[str]:
        return [*("c" for _ in self.layout.lead), "z", "y", "x"]

    def _write_level(self, level: int, finer: Triplet, factor: Triplet) -> None:
        """Make one level from the one before, holding one shard and a few chunks in memory."""
        import zarr

        source = zarr.open_array(self._partial / str(level - 1), mode="r")
        source_shape = as_triplet(source.shape[-3:])
        shape = level_shape(self.layout.shape_zyx, factor)
        target = self._create_level(level, shape)
        step = as_triplet([f // g for f, g in zip(factor, finer, strict=True)])
        for shard in tile(shape, self.layout.shard):
            values = np.empty((*self.layout.lead, *shard.shape), target.dtype)
            for piece in tile(shard.shape, self.layout.chunk):
                coarse = piece.shift(shard.start)
                start = [a * f for a, f in zip(coarse.start, step, strict=True)]
                stop = [b * f for b, f in zip(coarse.stop, step, strict=True)]
                box = Box(as_triplet(start), as_triplet(stop)).clip(source_shape)
                fine = np.asarray(source[(..., *box.slices)])
                values[(..., *piece.slices)] = downsample(fine, step, self.layout.kind)
            target[(..., *shard.slices)] = values

    def _multiscales(self, factors: Sequence[Triplet]) -> dict[str, Any]:
        """Return the ``ome`` attribute (OME-NGFF 0.5, section multiscales)."""
        lead = [1.0] * len(self.layout.lead)
        nowhere = [0.0] * len(self.layout.lead)
        voxel = self.layout.voxel_size_um
        datasets = []
        for level, factor in enumerate(factors):
            # Scaling keeps the first voxel's centre; a window's centre lies (f - 1) / 2 further.
            shift = [(f - 1) / 2 * u for f, u in zip(factor, voxel.zyx_um, strict=True)]
            transforms = [
                {"type": "scale", "scale": [*lead, *voxel.scaled(factor).zyx_um]},
                {"type": "translation", "translation": [*nowhere, *shift]},
            ]
            datasets.append({"path": str(level), "coordinateTransformations": transforms})
        axes: list[dict[str, str]] = [{"name": "c", "type": "channel"} for _ in self.layout.lead]
        axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
        how = "majority" if self.layout.kind == "mask" else "mean"
        return {
            "version": "0.5",
            "multiscales": [{"name": self.name, "axes": axes, "datasets": datasets, "type": how}],
        }


def read_attributes(path: str | Path) -> dict[str, Any]:
    """Return the provenance that an output was written with; empty where there is none.

    Raises
    ------
    VolumeFormatError
        If there is no zarr group at ``path``.
    """
    import zarr

    if not Path(path).is_dir():
        raise VolumeFormatError(f"'{path}' is not a zarr folder; check the path")
    try:
        attributes = zarr.open_group(path, mode="r").attrs.asdict()
    except READ_ERRORS as error:
        raise damaged(str(path), error) from error
    stored = attributes.get(_ATTRIBUTES_KEY, {})
    return dict(stored) if isinstance(stored, Mapping) else {}


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if not path.exists():
        return
    if not overwrite:
        raise OutputError(
            f"'{path}' exists already; pass --overwrite to replace it, or choose another name"
        )
    # A mistyped output must never cost the user a folder of something else.
    if not any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray")):
        raise OutputError(
            f"'{path}' is not a zarr folder, so --overwrite does not touch it; "
            "choose another name, or remove it yourself"
        )


def _swap(partial: Path, path: Path) -> None:
    """Put ``partial`` at ``path``; whatever was there goes only after it has been replaced."""
    if not path.exists():
        partial.rename(path)
        return
    old = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.old"
    try:
        path.rename(old)
        partial.rename(path)
    except BaseException:
        # Ctrl-C between the two must not hide the earlier output either.
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)


def _disk_message(path: Path, error: OSError) -> str:
    folder = next(p for p in (path.absolute().parent, *path.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    return (
        f"'{path}' cannot be written: {error.strerror or error}; {free:,} bytes are free in "
        f"'{folder}': make room, check the permissions, or choose another folder"
    )
