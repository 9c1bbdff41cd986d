"""Write a volume as OME-Zarr, shard by shard, and show it only when it is complete.

::

    create(path) ──► write(box, array) … ──► write_coarse(level, box) … ──► finish()
                     level 0, any process     level 1, 2, …, any process    metadata, then the name

    OUT.ome.zarr/             group: pyramid, image-label (masks), provenance
      0  1  2 …               (z, y, x) or (c, z, y, x), each coarser than the one before

A mask's group is an image that is marked as labels. It stands on its own, or, as
``IMAGE.ome.zarr/labels/NAME``, inside the image that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vpbsd.errors import DataError, OutputError
from vpbsd.geometry import Box, Triplet, as_triplet, tile
from vpbsd.volumes import durable, levels
from vpbsd.volumes.labels import LabelledImage, image_of
from vpbsd.volumes.layout import OutputLayout
from vpbsd.volumes.metadata import Frame, ome_attributes, put_attributes, require_valid
from vpbsd.volumes.pyramid import level_shape, pyramid_factors
from vpbsd.volumes.refusal import cannot_write, refuse_existing, refuse_foreign
from vpbsd.volumes.store import Location, is_url, local_path, open_store, remove, store_errors

__all__ = ["OmeZarrWriter"]


@dataclass(frozen=True, slots=True)
class _Target:
    """Where an output goes, and what is said about it.

    ``folder`` is where it grows: beside ``location``, or, for a URL, ``location`` itself.
    """

    location: Location
    folder: Location
    name: str
    attributes: Mapping[str, Any]
    overwrite: bool


class OmeZarrWriter:
    """One output, written into a folder of its own and renamed at the end.

    Several processes may write at once (a writer can be pickled, or made again by
    :meth:`attach`), as long as each box is written by one of them; only one may finish. Use it
    as a context where one process does it all: on leaving, the coarser levels are made and the
    output is finished, or, after an exception, removed.

    An object store knows no renaming: there the output grows under its own URL, and becomes an
    image only by its attributes, which come last.
    """

    def __init__(self, layout: OutputLayout, target: _Target, image: LabelledImage | None) -> None:
        """Describe an output without touching it; :meth:`create` or :meth:`attach` start one."""
        self.path = target.location
        self.name = target.name
        self.layout = layout
        self.factors: list[Triplet] = (
            pyramid_factors(layout.shape_zyx, layout.voxel_size_um)
            if image is None
            else image.factors
        )
        self._target = target
        self._image = image
        self._open = True
        self._arrays: dict[int, Any] = {}

    @classmethod
    def create(
        cls,
        path: Location,
        layout: OutputLayout,
        *,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        partial: Path | None = None,
    ) -> OmeZarrWriter:
        """Start an output with all its levels, still empty; what was begun before is removed.

        Parameters
        ----------
        path : str or Path
            A folder or URL; ends in ``.zarr``, by custom ``.ome.zarr``, or is
            ``IMAGE.ome.zarr/labels/NAME``.
        layout : OutputLayout
            Shape, type, voxel size and cut. Labels inside an image take version, levels, units,
            scale and translation from the image instead.
        name : str, optional
            What viewers call it; the file's name by default.
        attributes : mapping, optional
            Provenance that JSON can hold, read back by ``read_attributes``.
        overwrite : bool
            Replace an earlier zarr output: on disk at :meth:`finish`, until when it stays; in an
            object store now.
        partial : Path, optional
            Folder in which the output grows, on the disk of ``path``; a hidden one beside
            ``path`` by default, and of no meaning for a URL.

        Raises
        ------
        OutputError
            If the output exists, cannot be written, or does not fit the image it lies in.
        MissingExtraError
            If the package that speaks a URL's protocol is not installed.
        """
        writer = cls._describe(
            path, layout, partial, name=name, attributes=attributes, overwrite=overwrite
        )
        target = writer._target
        with writer._writing():
            refuse_existing(target.location, overwrite)
            if partial is not None and not is_url(target.folder):
                refuse_foreign(partial)
            # What lies there was left by a run that was killed: unfinished by definition.
            remove(target.folder)
            store = open_store(target.folder, read_only=False)
            levels.create_levels(store, writer.layout, writer._shapes())
            _sync_metadata(target.folder)
        return writer

    @classmethod
    def attach(
        cls,
        path: Location,
        layout: OutputLayout,
        *,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        partial: Path | None = None,
    ) -> OmeZarrWriter:
        """Go on with an output that :meth:`create` began with the same arguments.

        Raises
        ------
        OutputError
            If nothing was begun there, or with another shape, type or cut.
        """
        writer = cls._describe(
            path, layout, partial, name=name, attributes=attributes, overwrite=overwrite
        )
        folder = writer._target.folder
        with writer._writing():
            store = open_store(folder, read_only=True)
            differs = levels.difference(store, writer.layout, writer._shapes())
        if differs is not None:
            raise OutputError(
                f"'{writer.path}' cannot be continued from '{folder}': {differs}; go on with the "
                "settings that it was begun with, or begin anew"
            )
        return writer

    @classmethod
    def _describe(
        cls, path: Location, layout: OutputLayout, partial: Path | None, **about: Any
    ) -> OmeZarrWriter:
        local = local_path(path)
        location: Location = str(path).rstrip("/") if local is None else local
        image = image_of(location)
        if image is not None:
            image.require_shape(layout.shape_zyx)
            layout = replace(layout, ngff=image.ngff)
        base = str(location).rpartition("/")[2] if local is None else local.name
        target = _Target(
            location=location,
            folder=location if local is None else partial or _hidden(local, image),
            name=about["name"] or base.split(".")[0] or "volume",
            attributes=dict(about["attributes"] or {}),
            overwrite=about["overwrite"],
        )
        return cls(layout, target, image)

    def level_shape(self, level: int) -> Triplet:
        """Return the size in voxels of a level along (z, y, x)."""
        return level_shape(self.layout.shape_zyx, self.factors[level])

    def level_shard(self, level: int) -> Triplet:
        """Return what is written of a level at once along (z, y, x)."""
        return levels.shard_of(self.layout, self.level_shape(level))

    def write(self, box: Box, array: NDArray[Any]) -> None:
        """Write whole shards of the finest level; they are on the disk on return.

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
        self._check_box(0, box)
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
        values = array.astype(dtype, copy=False)
        for shard in self._shards(0, box):
            self._put(0, shard, values[(..., *shard.relative_to(box).slices)])

    def write_coarse(self, level: int, box: Box) -> None:
        """Make whole shards of a coarser level from the one before, which must be there.

        One shard and 16 MB of the finer level are held in memory at a time.

        Parameters
        ----------
        level : int
            From 1 on.
        box : Box
            Of whole shards, as in :meth:`write`, in voxels of that level.

        Raises
        ------
        DataError
            If there is no such level, or the box cuts a shard or lies outside.
        OutputError
            If the disk is full or the folder cannot be written.
        """
        self._refuse_closed()
        if not 1 <= level < len(self.factors):
            raise DataError(f"'{self.path}' has coarser levels 1 to {len(self.factors) - 1}")
        self._check_box(level, box)
        for shard in self._shards(level, box):
            with self._writing():
                values = self._coarsened(level, shard)
            self._put(level, shard, values)

    def build_levels(self) -> None:
        """Make all coarser levels in this process, one after the other."""
        for level in range(1, len(self.factors)):
            for box in tile(self.level_shape(level), self.level_shard(level)):
                self.write_coarse(level, box)

    def finish(self) -> Location:
        """Add the metadata, check them, and give the output its name; the levels must be there.

        Calling it again does nothing.

        Returns
        -------
        Path or str
            Where the output is.

        Raises
        ------
        OutputError
            If the disk is full, or something else appeared at the path meanwhile.
        """
        if not self._open:
            return self.path
        import zarr

        target, image = self._target, self._image
        frame = Frame.of(self.layout.voxel_size_um) if image is None else image.frame
        inside = image is not None
        ome = ome_attributes(self.layout, self.name, self.factors, frame, inside_image=inside)
        with self._writing():
            group = zarr.open_group(open_store(target.folder, read_only=False), mode="r+")
            put_attributes(group, self.layout.ngff, ome, target.attributes)
            require_valid(group, self.layout)
            self._move()
        self._open = False
        return self.path

    def abort(self) -> None:
        """Remove what was written so far; on disk, an earlier output at the path stays."""
        if self._open:
            self._open = False
            remove(self._target.folder)

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
            if self._open:
                self.build_levels()
            self.finish()
        finally:
            self.abort()

    def __getstate__(self) -> dict[str, Any]:
        # Open arrays hold connections and locks of this process.
        return {**self.__dict__, "_arrays": {}}

    def _refuse_closed(self) -> None:
        if not self._open:
            raise OutputError(f"'{self.path}' is finished or aborted already; create it anew")

    def _check_box(self, level: int, box: Box) -> None:
        shape, whole = self.level_shape(level), self.level_shard(level)
        for start, stop, size, shard in zip(box.start, box.stop, shape, whole, strict=True):
            if not 0 <= start < stop <= size:
                raise DataError(f"box {box} is not inside the output {shape}")
            if start % shard or (stop % shard and stop != size):
                raise DataError(
                    f"box {box} cuts a shard of {whole} voxels: two writers in one shard lose "
                    "data; let each block cover whole shards"
                )

    def _shards(self, level: int, box: Box) -> Iterator[Box]:
        return (part.shift(box.start) for part in tile(box.shape, self.level_shard(level)))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except store_errors() as error:
            raise OutputError(cannot_write(self.path, error)) from error

    def _move(self) -> None:
        """Give a folder its name; what is in an object store lies there already."""
        folder, path = local_path(self._target.folder), local_path(self.path)
        if folder is None or path is None:
            return
        durable.sweep(folder)
        _sync_metadata(folder)
        refuse_existing(path, self._target.overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.swap(folder, path)
        if self._image is not None:
            self._image.register(path.name)

    def _shapes(self) -> list[Triplet]:
        return [self.level_shape(level) for level in range(len(self.factors))]

    def _coarsened(self, level: int, shard: Box) -> NDArray[Any]:
        finer, coarser = self.factors[level - 1], self.factors[level]
        step = as_triplet([c // f for f, c in zip(finer, coarser, strict=True)])
        source, shape = self._array(level - 1), self.level_shape(level - 1)
        return levels.coarsen(source, shape, shard, step, self.layout.kind)

    def _array(self, level: int) -> Any:
        if level not in self._arrays:
            store = open_store(self._target.folder, read_only=False)
            self._arrays[level] = levels.open_level(store, level)
        return self._arrays[level]

    def _put(self, level: int, shard: Box, values: NDArray[Any]) -> None:
        folder = local_path(self._target.folder)
        place = None if folder is None else folder / str(level)
        with self._writing():
            levels.write_shard(self._array(level), shard, values, place)


def _hidden(path: Path, image: LabelledImage | None) -> Path:
    """Return where an output grows by default: beside it, or beside the image that it lies in."""
    if image is None:
        return path.parent / f".{path.name}.partial"
    return image.path.parent / f".{image.path.name}.labels.{path.name}.partial"


def _sync_metadata(folder: Location) -> None:
    path = local_path(folder)
    if path is not None:
        durable.sync(levels.metadata_files(path), path)
