"""The graph of one mask as users of skan make it: thinning, distances, a table of branches.

A process of its own, for ``graph.py``: reads the mask, thins it with scikit-image (Lee), looks up
distances to the background as radii, and writes one row a branch as Parquet. Tells number and
length of the branches as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import edt
import numpy as np
import skan
from skimage.morphology import skeletonize

from vpbsd.geometry import Box
from vpbsd.volumes import open_volume


def main() -> None:
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    with open_volume(source) as volume:
        array = volume.read(Box.whole(volume.shape_zyx))[0] != 0
        size = volume.require_voxel_size().zyx_um
    thin = skeletonize(array, method="lee") != 0
    radius = edt.edt(array, anisotropy=size, black_border=False, parallel=1)
    skeleton = skan.Skeleton(
        np.where(thin, radius, 0).astype(np.float32), spacing=size, keep_images=False
    )
    table = skan.summarize(skeleton, separator="_")
    table.to_parquet(out)
    told = {"branches": len(table), "length_mm": float(table["branch_distance"].sum()) / 1000}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
