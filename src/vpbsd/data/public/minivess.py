"""MiniVess: 70 in-vivo two-photon stacks of rodent cortex with proofread masks (Poon et al. 2023).

Evidence
--------
* ctpn/minivess README: the home page at EBRAINS, 70 volumes with segmentations; its
  ``convert_oibr_to_nifti_ometif_publish2.py``: axes x, y, z, sizes in the header in µm.
* minivess-mlops/minivess-mlops ``src/minivess/data/downloader.py`` and its note on data access:
  names in the archive (``raw/mv01.nii.gz``, ``seg/mv01_y.nii.gz`` to 70), addresses at EBRAINS'
  data proxy without registration, images uint16, masks uint8 and binary, planes of 512 x 512,
  and a licence file named CC BY-NC-SA in the archive (a later note of theirs says CC BY 4.0).
* No list of the animals behind the volumes was found.
"""

from __future__ import annotations

from vpbsd.data.public.description import Description, PublicVolume, SourceFile, Split

__all__ = ["MINIVESS"]

_BASE = "https://data-proxy.ebrains.eu/api/v1/datasets/bf268b89-1420-476b-b428-b85a913eb523"


def _names(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"mv{number:02d}" for number in range(first, last + 1))


def _file(path: str) -> SourceFile:
    return SourceFile((path,), f"{_BASE}/{path}")


MINIVESS = Description(
    name="minivess",
    title="MiniVess (in-vivo two-photon, rodent cortex)",
    home="https://search.kg.ebrains.eu/instances/bf268b89-1420-476b-b428-b85a913eb523",
    licence="CC BY-NC-SA by the licence file in the archive",
    how="downloaded from EBRAINS (0.9 GB), or --from the archive that its page offers",
    volumes=tuple(
        PublicVolume(
            name=name,
            image=_file(f"raw/{name}.nii.gz"),
            label=_file(f"seg/{name}_y.nii.gz"),
            shape_zyx=(None, 512, 512),
        )
        for name in _names(1, 70)
    ),
    split=Split(
        by="volume",
        train=_names(1, 50),
        validation=_names(51, 56),
        test=_names(57, 70),
        why="the animals behind the volumes are not published; this is a split by runs of volume "
        "numbers, and an animal may be on two sides",
    ),
    voxel_size_source="the header of each file, in µm",
    evidence=(
        "https://github.com/ctpn/minivess README.md, convert_oibr_to_nifti_ometif_publish2.py",
        "https://github.com/minivess-mlops/minivess-mlops src/minivess/data/downloader.py",
        "https://doi.org/10.1038/s41597-023-02048-8",
    ),
    settings={
        "simulate": {
            "shape_voxels": [16, 224, 224], "voxel_size_um": [5.0, 1.0, 1.0], "zoom": [0.7, 1.7],
        },
        "teacher": {"downsampling": [[1, 2, 2], [2, 2, 2], [2, 2, 2]]},
        "student": {"downsampling": [[1, 2, 2], [2, 2, 2], [2, 2, 2]]},
        "pretrain": {"patch_voxels": [12, 80, 80]},
        "finetune": {"patch_voxels": [12, 80, 80]},
        "distill": {"patch_voxels": [12, 80, 80]},
    },
)  # fmt: skip
