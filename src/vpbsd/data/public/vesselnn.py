"""vesselNN: 12 in-vivo two-photon stacks of rodent brain and tumour (Teikari et al. 2016).

Evidence
--------
* petteriTeikari/vesselNN ``configs/ZNN_configs/datasetPaths/dataset_forVD2D.spec``: the twelve
  pairs of image (``denoised/``) and label (``labels/``), labels binary.
* petteriTeikari/vesselNN_dataset, commit 0925564: the files; README: 8-bit multi-layer TIFF,
  denoised with BM4D, "open-source" without a named licence (a later project lists MIT), three
  groups of authors, and that both ``santos2015_*lowContrast*`` stacks are from one acquisition.
* ``metadata/*.xml.txt`` there (OME-XML of the full acquisitions): planes of 512 x 512 (320 x 320
  for ``lowerRes``) and the voxel sizes; none for ``poon2015_BBB_Leakage`` and the two
  ``santos2015_*lowContrast*``. ``noisySparseVessels`` was acquired in 9 planes: a tenth plane in
  the file is the first of the next time point.

Which stacks come from one animal is not told, but the three studies are of different people and
years; a whole study on one side keeps every animal on one side.
"""

from __future__ import annotations

from vpbsd.data.public.description import Description, PublicVolume, SourceFile, Split

__all__ = ["VESSELNN"]

_BASE = (
    "https://raw.githubusercontent.com/petteriTeikari/vesselNN_dataset/"
    "0925564766f7fd658a792a8e26ebefa50f8844ac"
)


def _file(path: str) -> SourceFile:
    return SourceFile((path,), f"{_BASE}/{path}")


def _volume(
    name: str,
    label: str,
    voxel_size_um: tuple[float, float, float] | None = (5.0, 0.994, 0.994),
    shape_zyx: tuple[int | None, int, int] = (None, 512, 512),
    planes: int | None = None,
) -> PublicVolume:
    return PublicVolume(
        name=name,
        image=_file(f"denoised/{name}_BM4D_denoised.tif"),
        label=_file(f"labels/{name}_{label}.tif"),
        specimen=name.partition("_")[0],
        shape_zyx=shape_zyx,
        voxel_size_um=voxel_size_um,
        planes=planes,
    )


VESSELNN = Description(
    name="vesselnn",
    title="vesselNN (in-vivo two-photon, rodent brain and tumour, BM4D-denoised)",
    home="https://github.com/petteriTeikari/vesselNN_dataset",
    licence="none named (README: open-source)",
    how="downloaded from GitHub at commit 0925564, or --from a clone or its zip",
    volumes=(
        _volume("burgess2014_bbbDisruption", "labels_v1"),
        _volume("burgess2014_lowerRes_hiSNR", "labels_v1", (5.0, 1.59, 1.59), (None, 320, 320)),
        _volume("burgess2014_noisySparseVessels", "labels_v1", planes=9),
        _volume("burgess2014_tgMouse", "labels_v1"),
        _volume("poon2015_BBB_Leakage", "manualLabels_v2", None),
        _volume("poon2015_BBB_noLeakage", "manualLabel_v2"),
        _volume("poon2015_mixedSize1", "manualLabel_v2"),
        _volume("poon2015_mixedSize2", "labels_v1"),
        _volume("poon2015_plaqueVessels", "label_underSegmented", (5.0, 2.485, 2.485)),
        _volume("santos2015_lowContrastVessels", "labelsMarc", None),
        _volume("santos2015_mixedSizelowContrastVessels", "labelsMarc", None),
        _volume("santos2015_tumor", "initLabel_v1", (5.0, 0.621, 0.621)),
    ),
    split=Split(
        by="specimen",
        train=("burgess2014",),
        validation=("santos2015",),
        test=("poon2015",),
        why="animals are not told apart within a study, so a whole study is on one side",
    ),
    voxel_size_source="OME-XML in metadata/ of the repository; three stacks have none",
    evidence=(
        "https://github.com/petteriTeikari/vesselNN_dataset README.md, metadata/",
        "https://github.com/petteriTeikari/vesselNN configs/ZNN_configs/datasetPaths/",
        "https://arxiv.org/abs/1606.02382",
    ),
    settings={
        "simulate": {
            "shape_voxels": [16, 224, 224], "voxel_size_um": [5.0, 1.5, 1.5], "zoom": [0.7, 1.7],
        },
        "teacher": {"downsampling": [[1, 2, 2], [2, 2, 2], [2, 2, 2]]},
        "student": {"downsampling": [[1, 2, 2], [2, 2, 2], [2, 2, 2]]},
        "pretrain": {"patch_voxels": [12, 80, 80]},
        "finetune": {"patch_voxels": [12, 80, 80]},
        "distill": {"patch_voxels": [12, 80, 80]},
    },
)  # fmt: skip
