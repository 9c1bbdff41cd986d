"""Bring a public data set into the form that recipes read.

::

    files ── download, or a folder or archive ──► digests ──► convert ──► OUT/images, OUT/labels
                                                                          OUT/datasets.json
                                                                          OUT/recipe.yaml

Every step can be repeated: what is there and unchanged is not done again.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vpbsd.data.public.convert import Reading, convert_pair
from vpbsd.data.public.description import Description, PublicVolume, SourceFile
from vpbsd.data.public.download import NotThereError, Progress, download, sha256_of
from vpbsd.data.public.manifest import MANIFEST_NAME, Manifest
from vpbsd.data.public.pairs import pair_up
from vpbsd.data.public.recipe import RECIPE_NAME, Parts, deal, write_recipe
from vpbsd.data.public.source import find_file, list_files, opened_source, pattern_of
from vpbsd.errors import ConfigError, DataError, OutputError
from vpbsd.volumes import write_ome_tiff

__all__ = ["FetchOptions", "Fetched", "fetch"]

logger = logging.getLogger(__name__)

_DOWNLOADS = "downloads"
_IMAGES, _LABELS = "images", "labels"
_OURS = {_IMAGES, _LABELS, _DOWNLOADS, MANIFEST_NAME, RECIPE_NAME}


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What a user may say about a data set.

    Attributes
    ----------
    source
        Folder or archive with the files; None downloads them.
    images, labels
        Patterns that name the files, in place of the description's own names.
    labelled, by_volume
        See :func:`vpbsd.data.public.recipe.deal`.
    incomplete
        Go on with the volumes that are there.
    overwrite
        Begin anew, whatever an earlier call left in the folder.
    """

    source: Path | None = None
    images: str | None = None
    labels: str | None = None
    labelled: int | None = None
    by_volume: bool = False
    incomplete: bool = False
    overwrite: bool = False
    reading: Reading = field(default_factory=Reading)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch left: the recipe, the manifest, and who plays which part."""

    recipe: Path
    manifest: Path
    parts: Parts


def fetch(
    description: Description,
    out: Path,
    options: FetchOptions | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Bring a data set into ``out``; a call that was stopped goes on where it was.

    Raises
    ------
    ConfigError
        If the options contradict each other.
    DataError
        If files are missing, damaged, changed, or not what is described.
    OutputError
        If ``out`` holds something else, or cannot be written.
    """
    chosen = options or FetchOptions()
    _check(description, chosen)
    try:
        manifest = _begin(description, out, chosen)
        try:
            description = _brought(description, manifest, chosen, progress)
        finally:
            _leave_nothing_empty(manifest)
        parts = deal(
            description, description.volumes, labelled=chosen.labelled, by_volume=chosen.by_volume
        )
        recipe = write_recipe(description, manifest, parts)
    except OSError as error:
        raise OutputError(
            f"cannot read or write '{error.filename or out}': {error.strerror}; make room or "
            "choose another folder, then run the same command again"
        ) from error
    return Fetched(recipe, out / MANIFEST_NAME, parts)


def _brought(
    description: Description, manifest: Manifest, options: FetchOptions, progress: Progress | None
) -> Description:
    if options.source is not None:
        return _converted(description, options.source, manifest, options)
    description = _downloaded(description, manifest, options, progress)
    return _converted(description, manifest.folder / _DOWNLOADS, manifest, options)


def _leave_nothing_empty(manifest: Manifest) -> None:
    """Remove what marks the folder as ours, where nothing came of it."""
    if manifest.volumes:
        return
    with contextlib.suppress(OSError):  # somebody's files in it: all of it stays
        (manifest.folder / _IMAGES).rmdir()
        (manifest.folder / _LABELS).rmdir()
        (manifest.folder / MANIFEST_NAME).unlink()
        manifest.folder.rmdir()


def _check(description: Description, options: FetchOptions) -> None:
    if (options.images is None) != (options.labels is None):
        raise ConfigError("--images and --labels belong together: give both patterns, or none")
    if options.source is not None:
        return
    if options.images is not None:
        raise ConfigError("--images and --labels name files of your own: say where with --from")
    if not description.is_downloadable:
        raise ConfigError(
            f"{description.name} cannot be downloaded by this program: {description.how} "
            f"({description.home}), then give its folder with --from"
        )


def _begin(description: Description, out: Path, options: FetchOptions) -> Manifest:
    _refuse_foreign(out)
    if options.overwrite and (out / MANIFEST_NAME).exists():
        for name in (_IMAGES, _LABELS):
            shutil.rmtree(out / name, ignore_errors=True)
        (out / RECIPE_NAME).unlink(missing_ok=True)
        (out / MANIFEST_NAME).unlink()
    reading = options.reading
    settings = {
        "axes": reading.axes or description.axes,
        "voxel_size_um": reading.voxel_size_um,
        "vessel_above": reading.vessel_above,
        "patterns": [options.images, options.labels],
    }
    manifest = Manifest.load(out, description.name, settings)
    for name in (_IMAGES, _LABELS):
        (out / name).mkdir(parents=True, exist_ok=True)
    manifest.save(description)  # marks the folder as ours
    return manifest


def _refuse_foreign(out: Path) -> None:
    """Refuse a folder that was not begun by us; downloads in it are welcome.

    Raises
    ------
    OutputError
        If ``out`` is a file, or holds anything that a fetch does not write.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"'{out}' is a file; name a folder for the data set")
    present = {path.name for path in out.iterdir()} if out.is_dir() else set()
    ours = _OURS if MANIFEST_NAME in present else {_DOWNLOADS}
    others = sorted(name for name in present - ours if not name.startswith("."))
    if others:
        raise OutputError(
            f"'{out}' holds more than a data set (first: {others[0]}); name another folder"
        )


def _downloaded(
    description: Description, manifest: Manifest, options: FetchOptions, progress: Progress | None
) -> Description:
    """Download what is not there yet; return the description of what could be had."""
    there: list[PublicVolume] = []
    for volume in description.volumes:
        try:
            # The files of ours are enough: downloads may have been removed since.
            if not manifest.has(volume.name):
                for file in (volume.image, volume.label):
                    _download(file, manifest.folder / _DOWNLOADS, progress)
            there.append(volume)
        except NotThereError as error:
            if not options.incomplete:
                raise
            logger.warning("%s is left out: %s", volume.name, error)
    return replace(description, volumes=tuple(there))


def _download(file: SourceFile, folder: Path, progress: Progress | None) -> None:
    if file.url is None:
        raise NotThereError(f"no address is known for {file.key}")
    download(file.url, folder / file.key, sha256=file.sha256, progress=progress)


def _converted(
    description: Description, source: Path, manifest: Manifest, options: FetchOptions
) -> Description:
    """Convert what is not there yet; return the description of what is there."""
    if options.source is None and all(manifest.has(v.name) for v in description.volumes):
        _require_some(description)
        return description
    with opened_source(source, _is_wanted(description, options), manifest.folder) as folder:
        files = list_files(folder)
        if options.images is not None and options.labels is not None:
            description = pair_up(description, files, options.images, options.labels)
        pairs = _find_pairs(description, files, manifest, options)
        description = replace(description, volumes=tuple(volume for volume, _ in pairs))
        _require_some(description)
        for volume, pair in pairs:
            if pair is not None:
                _convert(description, volume, [folder / path for path in pair], manifest, options)
    return description


def _require_some(description: Description) -> None:
    if not description.volumes:
        raise DataError(
            f"none of the files of {description.name} is there: {description.how} "
            f"({description.home})"
        )


def _is_wanted(description: Description, options: FetchOptions) -> Callable[[str], bool]:
    if options.images is not None and options.labels is not None:
        paths = [options.images, options.labels]
    else:
        paths = [p for v in description.volumes for f in (v.image, v.label) for p in f.paths]
    patterns = [pattern_of(path) for path in paths]
    return lambda name: any(pattern.search(name) for pattern in patterns)


def _find_pairs(
    description: Description, files: list[str], manifest: Manifest, options: FetchOptions
) -> list[tuple[PublicVolume, list[str] | None]]:
    """Return each volume with the paths of image and label; None where ours are enough."""
    pairs: list[tuple[PublicVolume, list[str] | None]] = []
    missing: list[str] = []
    for volume in description.volumes:
        paths = [find_file(files, volume.image), find_file(files, volume.label)]
        found = [path for path in paths if path is not None]
        if len(found) == 2:
            pairs.append((volume, found))
        elif manifest.has(volume.name):
            pairs.append((volume, None))
        else:
            wanted = (volume.image, volume.label)
            lacking = [f.key for f, path in zip(wanted, paths, strict=True) if path is None]
            missing.append(" and ".join(lacking))
    if missing and not options.incomplete:
        raise DataError(
            f"{len(missing)} of {len(description.volumes)} volumes of {description.name} lack "
            f"files (first: {missing[0]}): get the rest from {description.home}, or go on with "
            "those that are there by --incomplete"
        )
    for lack in missing:
        logger.warning("left out, since files are missing: %s", lack)
    return pairs


def _convert(
    description: Description,
    volume: PublicVolume,
    pair: list[Path],
    manifest: Manifest,
    options: FetchOptions,
) -> None:
    """Write one volume in our form, unless it is there from the same bytes."""
    kinds = dict(zip(("image", "label"), pair, strict=True))
    published = {"image": volume.image, "label": volume.label}
    digests = {
        kind: manifest.check_source(volume.name, kind, path, published[kind].sha256)
        for kind, path in kinds.items()
    }
    if manifest.has(volume.name):
        return
    done = convert_pair(description, volume, pair[0], pair[1], options.reading)
    if done.voxel_size_um is None:
        logger.warning("%s: voxel size unknown; --voxel-size Z Y X gives it", volume.name)
    entry: dict[str, Any] = {
        "specimen": volume.specimen,
        "shape_zyx": list(done.image.shape),
        "dtype": done.image.dtype.name,
        "voxel_size_um": None if done.voxel_size_um is None else list(done.voxel_size_um.zyx_um),
        "vessel_share": float(done.label.mean()),
    }
    for kind, array, folder in (("image", done.image, _IMAGES), ("label", done.label, _LABELS)):
        file = f"{folder}/{volume.name}.ome.tif"
        write_ome_tiff(manifest.folder / file, array, done.voxel_size_um)
        entry[kind] = {
            "source": published[kind].key,
            "source_sha256": digests[kind],
            "published": published[kind].sha256 is not None,
            "file": file,
            "sha256": sha256_of(manifest.folder / file),
        }
    manifest.put(volume.name, entry)
    manifest.save(description)
    logger.info("%s: %s voxels, %.1f %% vessel", volume.name, "x".join(map(str, done.image.shape)),
                100 * entry["vessel_share"])  # fmt: skip
