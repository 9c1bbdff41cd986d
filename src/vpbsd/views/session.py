"""Everything of one look at results: layers opened, graph written for the viewer, server, link."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vpbsd.errors import DataError
from vpbsd.views.graph_folder import Polylines, is_graph_folder, read_edges
from vpbsd.views.layer import ZarrLayer, open_layer
from vpbsd.views.mounts import mount_name
from vpbsd.views.neuroglancer import link, skeleton_layer, viewer_state, zarr_layer
from vpbsd.views.precomputed import write_skeletons
from vpbsd.views.server import FolderServer, origin_of

__all__ = ["ViewSession", "view_session"]


@dataclass(frozen=True, slots=True)
class ViewSession:
    """A server that runs, and what to open.

    Attributes
    ----------
    server
        Serves until the session ends.
    state, link
        Of the viewer.
    notes
        What the viewer does not show, in words.
    """

    server: FolderServer
    state: dict[str, Any]
    link: str
    notes: tuple[str, ...]


@contextmanager
def view_session(
    layers: Sequence[Path], graph: Path | None, page: str, port: int = 0
) -> Iterator[ViewSession]:
    """Serve OME-Zarrs, and a graph, to the viewer at ``page``.

    Parameters
    ----------
    layers
        Folders of images and masks, at least one; the first sets position and zoom.
    graph
        Folder that ``vpbsd graph`` left.
    page, port
        As for :class:`FolderServer` and :func:`origin_of`.

    Raises
    ------
    DataError
        If a layer or the graph cannot be shown.
    OutputError
        If the port is taken.
    ConfigError
        If ``page`` is no web page.
    """
    origin = origin_of(page)
    opened = [open_layer(path) for path in layers]
    with TemporaryDirectory(prefix="vpbsd-view-") as scratch:
        skeletons = Path(scratch)
        vessels = None if graph is None else _vessels(graph)
        parts = [] if vessels is None else write_skeletons(vessels, skeletons)
        folders = {mount_name(i, layer.path): layer.path for i, layer in enumerate(opened)}
        if parts:
            folders["graph"] = skeletons
        with FolderServer(folders, origin, port) as server:
            names = _unlike([layer.name for layer in opened] + ["graph"])
            shown = [
                zarr_layer(layer, server.url(mount), name)
                for layer, mount, name in zip(opened, folders, names, strict=False)
            ]
            if vessels is not None and parts:
                url = server.url("graph")
                shown.append(skeleton_layer(url, names[-1], parts, vessels.radius_um))
            first: ZarrLayer = opened[0]
            state = viewer_state(
                shown, first.voxel_size, first.volume.shape_zyx, first.translation_um
            )
            yield ViewSession(server, state, link(page, state), _notes(vessels))


def _vessels(graph: Path) -> Polylines:
    if not is_graph_folder(graph):
        raise DataError(
            f"'{graph}' is not a folder that `vpbsd graph` left: it holds no edges.parquet and "
            "nodes.parquet; check the path"
        )
    return read_edges(graph)


def _notes(vessels: Polylines | None) -> tuple[str, ...]:
    if vessels is None:
        return ()
    if len(vessels.edge) == 0:
        return ("the graph holds no vessel",)
    return (f"of the graph: {vessels.note}",) if vessels.note else ()


def _unlike(names: Sequence[str]) -> list[str]:
    """Return names of which no two are equal: a number follows where one comes again."""
    found: list[str] = []
    for name in names:
        number, chosen = 1, name
        while chosen in found:
            number += 1
            chosen = f"{name} {number}"
        found.append(chosen)
    return found
