"""What a folder holds that can be reported: training runs, masks, graphs, a demo.

::

    RUN/config.yaml + RUN/STAGE/metrics.jsonl     a training run
    GRAPH/nodes.parquet + GRAPH/edges.parquet     the graph of a mask
    *.zarr                                        a mask, whole or unfinished (*.zarr.work)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vpbsd.errors import DataError
from vpbsd.volumes import read_attributes

__all__ = [
    "STAGES",
    "MaskSource",
    "Sources",
    "find_sources",
    "is_graph",
    "is_run",
    "mask_source",
    "merged",
    "noted_company",
]

STAGES = ("pretrain", "finetune", "distill")
_WORK = ".work"
_IMAGE, _LABEL = "_image.ome.tif", "_label.ome.tif"


@dataclass(frozen=True, slots=True)
class MaskSource:
    """A mask with the image it was made of and the truth, where they are known.

    Attributes
    ----------
    path
        Of the mask; it need not be there yet where ``unfinished``.
    image, truth
        Of the same field.
    done, failed
        Blocks in its log.
    unfinished
        Whether blocks are missing.
    """

    path: Path
    image: Path | None = None
    truth: Path | None = None
    done: int = 0
    failed: int = 0
    unfinished: bool = False

    @property
    def name(self) -> str:
        """The name without what tells the format."""
        name = self.path.name
        for suffix in (".gz", ".zarr", ".tiff", ".tif", ".nii", ".ome"):
            name = name.removesuffix(suffix)
        return name or self.path.name


@dataclass(frozen=True, slots=True)
class Sources:
    """What is reported, in order."""

    runs: tuple[Path, ...] = ()
    masks: tuple[MaskSource, ...] = ()
    graphs: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.runs or self.masks or self.graphs)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a training run."""
    return (folder / "config.yaml").is_file() and any((folder / s).is_dir() for s in STAGES)


def is_graph(folder: Path) -> bool:
    """Whether a folder is that of a graph."""
    return (folder / "edges.parquet").is_file() and (folder / "nodes.parquet").is_file()


def find_sources(path: Path) -> Sources:
    """Return what ``path`` is, or what lies in it.

    Raises
    ------
    DataError
        If there is nothing to report.
    """
    if not path.exists() and not path.with_name(path.name + _WORK).exists():
        raise DataError(
            f"there is no '{path}': name the folder of a training run, a graph or a demo, or a mask"
        )
    if path.is_file() or path.name.endswith((".zarr", _WORK)):
        return Sources(masks=(mask_source(path),))
    found = _of_folder(path)
    for child in sorted(path.iterdir()):
        if child.name.endswith((".zarr", ".zarr" + _WORK)):
            found = merged(found, Sources(masks=(mask_source(child),)))
        elif child.is_dir():
            found = merged(found, _of_folder(child))
    if not found:
        raise DataError(
            f"'{path}' holds nothing to report: no training run (config.yaml with a folder "
            "pretrain, finetune or distill), no graph (nodes.parquet, edges.parquet) and no mask "
            "(*.zarr), neither itself nor in its folders; name the folder that holds them"
        )
    return found


def _of_folder(folder: Path) -> Sources:
    return Sources(
        runs=(folder,) if is_run(folder) else (), graphs=(folder,) if is_graph(folder) else ()
    )


def merged(first: Sources, second: Sources) -> Sources:
    """Return all of both, each once."""
    masks = {m.path: m for m in second.masks} | {m.path: m for m in first.masks}
    both = [m.path for m in (*first.masks, *second.masks)]
    return Sources(
        runs=tuple(dict.fromkeys((*first.runs, *second.runs))),
        masks=tuple(masks[p] for p in dict.fromkeys(both)),
        graphs=tuple(dict.fromkeys((*first.graphs, *second.graphs))),
    )


def mask_source(path: Path, image: Path | None = None, truth: Path | None = None) -> MaskSource:
    """Return a mask with what its log says of its blocks."""
    path = path.with_name(path.name.removesuffix(_WORK))
    last: dict[int, str] = {}
    for block, status in _log(path.with_name(path.name + ".log.jsonl")):
        last[block] = status
    done = sum(status == "done" for status in last.values())
    unfinished = path.with_name(path.name + _WORK).is_dir()
    return MaskSource(path, image, truth, done, len(last) - done, unfinished)


def _log(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            # A killed process may leave half a line.
            if line.endswith("\n"):
                record = json.loads(line)
                yield int(record["block"]), str(record["status"])


def noted_company(mask: MaskSource) -> MaskSource:
    """Add the image that a mask notes it was made of, and the truth of a simulated image.

    The two are added where they are there: `vpbsd segment` notes its input, and `vpbsd simulate`
    writes ``NAME_label.ome.tif`` beside ``NAME_image.ome.tif``.
    """
    if mask.image is not None or not (mask.path / "zarr.json").is_file():
        return mask
    noted = read_attributes(mask.path).get("input", {}).get("source")
    image = None if noted is None else Path(str(noted))
    if image is None or not image.exists():
        return mask
    label = image.with_name(image.name.replace(_IMAGE, _LABEL))
    simulated = image.name.endswith(_IMAGE) and label.is_file()
    return replace(mask, image=image, truth=mask.truth or (label if simulated else None))
