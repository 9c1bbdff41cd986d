"""``vpbsd view``: results in neuroglancer, from a server on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

__all__ = ["add_view_options", "view"]


def add_view_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``vpbsd view`` takes."""
    parser.add_argument(
        "layers", nargs="+", type=Path, metavar="LAYER.ome.zarr",
        help="images and masks; the first is the lowest, and sets the view",
    )  # fmt: skip
    parser.add_argument("--graph", type=Path, metavar="GRAPH", help="folder of vpbsd graph")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="default: any free one")
    parser.add_argument("--no-browser", action="store_true", help="only print the link")
    parser.add_argument(
        "--neuroglancer", metavar="URL",
        help="page of the viewer (default: https://neuroglancer-demo.appspot.com)",
    )  # fmt: skip


def view(options: argparse.Namespace) -> int:
    """Serve layers to neuroglancer until Ctrl-C."""
    from vpbsd.views.neuroglancer import NEUROGLANCER
    from vpbsd.views.session import view_session

    page = options.neuroglancer or NEUROGLANCER
    with view_session(options.layers, options.graph, page, options.port) as session:
        sys.stdout.write(f"{session.link}\n")
        sys.stdout.flush()
        for note in session.notes:
            sys.stderr.write(f"{note}\n")
        sys.stderr.write("the link works until this command ends: Ctrl-C\n")
        if not options.no_browser:
            import webbrowser

            if not webbrowser.open(session.link):
                sys.stderr.write("no browser could be started; open the link yourself\n")
        try:
            session.server.wait()
        except KeyboardInterrupt:
            sys.stderr.write("stopped\n")
    return 0
