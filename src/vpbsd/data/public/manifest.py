"""``datasets.json``: what was read, from which bytes, into which files; compared the next time.

It is written after each volume, so that a call that was stopped goes on behind the last one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vpbsd.data.public.description import Description
from vpbsd.data.public.download import sha256_of
from vpbsd.errors import DataError, OutputError
from vpbsd.provenance import write_json_atomic

__all__ = ["MANIFEST_NAME", "Manifest"]

MANIFEST_NAME = "datasets.json"
_FORMAT = 1


@dataclass
class Manifest:
    """What is in the folder of a data set.

    Attributes
    ----------
    settings
        What the files were read with; other settings need other files.
    volumes
        By name: ``specimen``, ``shape_zyx``, ``voxel_size_um``, ``vessel_share``, and for
        ``image`` and ``label`` the published file (``source``, ``source_sha256``) and ours
        (``file``, ``sha256``).
    """

    folder: Path
    name: str
    settings: dict[str, Any]
    volumes: dict[str, dict[str, Any]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def load(cls, folder: Path, name: str, settings: Mapping[str, Any]) -> Manifest:
        """Read the manifest of an earlier call, or begin one.

        Raises
        ------
        OutputError
            If the folder holds something else, another data set, or files that were read with
            other settings.
        """
        wanted = json.loads(json.dumps(dict(settings)))
        path = folder / MANIFEST_NAME
        if not path.exists():
            return cls(folder, name, wanted)
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            found, before, volumes = tree["name"], tree["settings"], dict(tree["volumes"])
            version = tree["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"'{path}' cannot be read ({error}): remove it, or choose another folder"
            ) from error
        if version != _FORMAT or found != name:
            raise OutputError(
                f"'{folder}' holds the data set {found} (format {version}), not {name}: choose "
                "another folder"
            )
        if before != wanted:
            changed = [key for key in wanted if before.get(key) != wanted[key]]
            raise OutputError(
                f"'{folder}' was made with other settings ({', '.join(changed)}): choose another "
                "folder, or --overwrite"
            )
        return cls(folder, name, wanted, volumes)

    def save(self, description: Description) -> None:
        """Write the manifest, old or new but never in part.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        tree = {
            "format": _FORMAT,
            "name": self.name,
            "title": description.title,
            "home": description.home,
            "licence": description.licence,
            "voxel_size_source": description.voxel_size_source,
            "overlaps": list(description.overlaps),
            "settings": self.settings,
            "volumes": self.volumes,
        }
        write_json_atomic(self.folder / MANIFEST_NAME, tree)

    def check_source(self, name: str, kind: str, path: Path, published: str | None) -> str:
        """Return the SHA-256 of a published file, which must be the one it was before.

        Parameters
        ----------
        name, kind
            Of the volume, and ``"image"`` or ``"label"``.
        published
            The digest that its authors or others name, where one is known.

        Raises
        ------
        DataError
            If the digest is not the published one, or not that of an earlier call.
        """
        found = sha256_of(path)
        before = self.volumes.get(name, {}).get(kind, {}).get("source_sha256")
        for digest, who in ((published, "as published"), (before, "as when it was first read")):
            if digest is not None and found != digest:
                raise DataError(
                    f"the {kind} of {name}, '{path.name}', has SHA-256 {found}, not {digest} "
                    f"{who}: it is damaged or another version; download it again, or, if the "
                    "change is meant, choose another output folder"
                )
        return found

    def put(self, name: str, entry: dict[str, Any]) -> None:
        """Note a volume whose files were just written."""
        self.volumes[name] = entry
        self._seen.add(name)

    def has(self, name: str) -> bool:
        """Whether both files of a volume are there as they were written."""
        if name in self._seen:  # hashed once already
            return True
        entry = self.volumes.get(name)
        if entry is None:
            return False
        for kind in ("image", "label"):
            path = self.folder / entry[kind]["file"]
            if not path.is_file() or sha256_of(path) != entry[kind]["sha256"]:
                return False
        self._seen.add(name)
        return True
