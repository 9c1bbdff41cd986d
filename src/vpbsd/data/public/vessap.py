"""VesSAP: the annotated pair in its repository; the rest is behind its access guide.

Evidence
--------
* vessap/vessap, commit 7f93e77: ``inputs.txt`` names ``data/1.nii.gz``, ``labels.txt`` names
  ``data/label.nii.gz``, which is in the tree; README: "an exemplary testing/training dataset and
  corresponding ground truth annotations". One volume of one animal, of a size not stated there.
* https://discotechnologies.org/VesSAP: whole brains and training data, by a guide to request
  access, CC BY-NC 4.0 (as reported by users of it). What lies behind it could not be seen, so
  its folders are not described here: name the files with ``--images`` and ``--labels``.
* Its annotated patches were published once more as the vessel class of SELMA3D, with open
  addresses: see ``selma3d``.
"""

from __future__ import annotations

from vpbsd.data.public.description import Description, PublicVolume, SourceFile, Split

__all__ = ["VESSAP"]

_BASE = (
    "https://raw.githubusercontent.com/vessap/vessap/7f93e772fb501f2f170261edf41c12c97c2c2a40/data"
)

VESSAP = Description(
    name="vessap",
    title="VesSAP, the annotated example of its repository (light sheet, cleared mouse brain)",
    home="https://discotechnologies.org/VesSAP",
    licence="CC BY-NC 4.0 for the data portal; the repository states none for its example",
    how="the example is downloaded from github.com/vessap/vessap; for the portal's data request "
    "access there, then --from FOLDER --images PATTERN --labels PATTERN",
    volumes=(
        PublicVolume(
            name="vessap_example",
            image=SourceFile(("data/1.nii.gz", "1.nii.gz"), f"{_BASE}/1.nii.gz"),
            label=SourceFile(("data/label.nii.gz", "label.nii.gz"), f"{_BASE}/label.nii.gz"),
            specimen="example",
            voxel_size_um=(3.0, 1.625, 1.625),
        ),
    ),
    split=Split(
        by="specimen",
        train=(),
        validation=(),
        test=("example",),
        why="a single volume: it can only be tested on",
    ),
    voxel_size_source="acquisition of VesSAP (Todorov et al. 2020); the files do not state it",
    evidence=(
        "https://github.com/vessap/vessap inputs.txt, labels.txt, README.md",
        "https://discotechnologies.org/VesSAP",
    ),
    overlaps=("selma3d",),
    settings={"simulate": {"voxel_size_um": [2.5, 1.8, 1.8]}},
)
