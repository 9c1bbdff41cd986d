"""tUbeNet OCTA: the optical coherence tomography angiogram in its repository (Holroyd et al. 2025).

Evidence
--------
* natalie11/tUbeNet: ``OCTA-Data.tif`` (commit 98e0dcd) and ``OCTA-Labels.tif`` (commit 8af2097)
  in the tree; README: "small volumes of OCT-A imaging data and paired manual labels", code MIT.
* https://doi.org/10.5522/04/25715604.v1 (UCL Research Data Repository): the full training data of
  all modalities, CC BY 4.0 as listed by minivess-mlops. The names of its files were not seen:
  fetch it by hand and name them with ``--images`` and ``--labels``.

Neither the voxel size nor the values of the labels are stated: give the size with
``--voxel-size``; a label must have one value beside 0.
"""

from __future__ import annotations

from vpbsd.data.public.description import Description, PublicVolume, SourceFile, Split

__all__ = ["TUBENET_OCTA"]

_BASE = "https://raw.githubusercontent.com/natalie11/tUbeNet"

TUBENET_OCTA = Description(
    name="tubenet_octa",
    title="tUbeNet, its OCTA example (optical coherence tomography angiography)",
    home="https://doi.org/10.5522/04/25715604.v1",
    licence="MIT for the repository; CC BY 4.0 for the full data at UCL",
    how="the example is downloaded from github.com/natalie11/tUbeNet; for the full data --from "
    "FOLDER --images PATTERN --labels PATTERN",
    volumes=(
        PublicVolume(
            name="octa",
            image=SourceFile(
                ("OCTA-Data.tif",),
                f"{_BASE}/98e0dcd8603c8839d7eb2b105f58c3f9bb962c0a/OCTA-Data.tif",
            ),
            label=SourceFile(
                ("OCTA-Labels.tif",),
                f"{_BASE}/8af20972145f9c0f0cb4d7f0dfe5d774c19c778b/OCTA-Labels.tif",
            ),
            specimen="octa",
        ),
    ),
    split=Split(
        by="specimen",
        train=(),
        validation=(),
        test=("octa",),
        why="a single volume: it can only be tested on",
    ),
    voxel_size_source="not stated in the repository: give it with --voxel-size",
    evidence=(
        "https://github.com/natalie11/tUbeNet README.md",
        "https://doi.org/10.1093/biomethods/bpaf087",
    ),
)
