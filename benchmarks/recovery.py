"""How much of the exact networks of simulated volumes their graphs find.

Volumes are simulated by seed, and the graph is made of the exact mask, so that what is lost is lost
by voxels, thinning and cleaning, not by a net. A table in Markdown goes to stdout. Vessels have a
radius of 1 to 2.5 voxels there and lie close: walls of neighbours touch in the mask.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from vpbsd.config import SimulateConfig
from vpbsd.data.simulate import write_simulated
from vpbsd.data.simulate.network import VesselNetwork
from vpbsd.graph import GraphOptions, build_graph
from vpbsd.graph.files import read_graph
from vpbsd.graph.recovery import Recovery, recovery

KINDS = {
    "isotropic, 2 µm": ((96, 128, 128), (2.0, 2.0, 2.0)),
    "isotropic, 1 µm": ((128, 160, 160), (1.0, 1.0, 1.0)),
    "4 x 1 x 1 µm": ((40, 160, 160), (4.0, 1.0, 1.0)),
}
LARGE = "isotropic, 2 µm, 26 megavoxels"
"""One volume of it: a piece of a brain in which borders count for little."""
QUICK_KINDS = {"isotropic, 2 µm": ((32, 40, 48), (2.0, 2.0, 2.0))}
TOLERANCE_VOXELS = 2.0
COLUMNS = (
    *("mask", "volume", "branch points", "recall", "precision", "edges", "way, recall"),
    *("way, precision", "ends, recall", "length", "radius", "loops"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=3, help="volumes of each small kind")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tiny volume, only to see it work")
    arguments = parser.parse_args()
    sys.stdout.write("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|\n")
    count = 1 if arguments.quick else arguments.count
    kinds = QUICK_KINDS if arguments.quick else KINDS | {LARGE: ((256, 320, 320), (2.0, 2.0, 2.0))}
    for kind, (shape, voxel_size_um) in kinds.items():
        volumes = 1 if kind == LARGE else count
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / "volumes"
            config = SimulateConfig(
                shape_voxels=shape, voxel_size_um=voxel_size_um, zoom=(1.0, 1.0)
            )
            write_simulated(folder, config, arguments.seed, volumes)
            for index in range(volumes):
                row = [kind, str(index), *cells(found(folder / f"volume_{index:03d}"))]
                sys.stdout.write("| " + " | ".join(row) + " |\n")
                sys.stdout.flush()


def found(stem: Path) -> Recovery:
    """Return what the graph of a simulated mask finds of its network."""
    out = stem.with_name(f"{stem.name}_graph")
    build_graph(f"{stem}_label.ome.tif", out, GraphOptions(progress=False))
    graph = read_graph(out)
    tolerance_um = TOLERANCE_VOXELS * max(graph.voxel_size.zyx_um)
    return recovery(VesselNetwork.load(Path(f"{stem}_network.npz")), graph, tolerance_um)


def cells(result: Recovery) -> list[str]:
    """Return a row of the table."""
    return [
        f"{result.found_branch_points} of {result.exact_branch_points}",
        _share(result.branch_point_recall),
        _share(result.branch_point_precision),
        f"{result.found_edges} of {result.exact_edges}",
        _share(result.edge_recall_by_way),
        _share(result.edge_precision_by_way),
        _share(result.edge_recall_by_ends),
        "" if result.length_error is None else f"{100 * result.length_error:+.1f} %",
        "" if result.radius_error_um is None else f"{result.radius_error_um:+.2f} µm",
        f"{result.found_loops} of {result.exact_loops}",
    ]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
