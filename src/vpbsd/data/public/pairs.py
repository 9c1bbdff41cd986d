"""Volumes by two patterns, for files whose names no description knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vpbsd.data.public.description import Description, PublicVolume, SourceFile, Split
from vpbsd.data.public.source import pattern_of
from vpbsd.errors import ConfigError, DataError

__all__ = ["pair_up"]


def pair_up(
    description: Description, files: Sequence[str], images: str, labels: str
) -> Description:
    """Return the description of the pairs that two patterns find among ``files``.

    A pattern is the end of a path with one ``*``, as in ``raw/*_0000.nii.gz``; image and label
    belong together where the ``*`` stands for the same text, which also names the volume. Of
    which animals they are is unknown, so that there is no split.

    Raises
    ------
    ConfigError
        If a pattern has not exactly one ``*``.
    DataError
        If nothing is found, an image or label has no partner, or two files claim one name.
    """
    found = {"image": _found(files, images), "label": _found(files, labels)}
    lonely = sorted(found["image"].keys() ^ found["label"].keys())
    if lonely:
        has = "image" if lonely[0] in found["image"] else "label"
        lacks = "label" if has == "image" else "image"
        raise DataError(
            f"{found[has][lonely[0]]} has no {lacks} ({len(lonely)} such files): check the "
            f"patterns '{images}' and '{labels}', whose * must stand for the same text"
        )
    if not found["image"]:
        raise DataError(f"no file ends like '{images}': check the pattern and the folder")
    volumes = tuple(
        PublicVolume(
            name=key if key and not key.isdecimal() else f"{description.name}_{key}",
            image=SourceFile((found["image"][key],)),
            label=SourceFile((found["label"][key],)),
        )
        for key in sorted(found["image"])
    )
    split = Split(
        by="volume",
        train=tuple(v.name for v in volumes),
        validation=(),
        test=(),
        why="the files were named by patterns, which say nothing about animals; write validation "
        "and test into the recipe by hand",
    )
    return replace(
        description,
        volumes=volumes,
        split=split,
        voxel_size_source="the header of each file, or --voxel-size",
    )


def _found(files: Sequence[str], pattern: str) -> dict[str, str]:
    if pattern.count("*") != 1:
        raise ConfigError(f"pattern '{pattern}' needs exactly one *, as in raw/*_0000.nii.gz")
    matcher = pattern_of(pattern)
    found: dict[str, str] = {}
    for file in files:
        hit = matcher.search(file)
        if hit is None:
            continue
        key = hit[1]
        if key in found:
            raise DataError(
                f"{found[key]} and {file} both fit '{pattern}' with * = '{key}': make the "
                "pattern longer"
            )
        found[key] = file
    return found
