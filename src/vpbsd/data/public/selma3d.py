"""SELMA3D, class vessel: 24 annotated light-sheet patches of cleared mouse brain (VesSAP).

Evidence
--------
* https://selma3d.grand-challenge.org/data: sources, CC BY-NC; the vessel images are VesSAP's
  (Todorov et al., Nature Methods 2020).
* splineops/splineops ``scripts/benchmark_selma3d_vessels.py`` and its protocol: the address at
  EMBL-EBI (BioImage Archive S-BIAD1196), names, 24 patches numbered from 000, shape
  500 x 500 x 50 (x, y, z), channel 0000 as wheat germ agglutinin, SHA-256 of patches 006 to 023,
  "the deposit does not expose specimen identity", and that archive (CC BY 4.0) and challenge
  (CC BY-NC) contradict each other on the licence.
* constantinpape/torch-em, its SELMA3D loader: the NIfTI axes are x, y, z.
* https://huggingface.co/datasets/MedOtter/SELMA3D: values of the labels, {0, 255} in patches 001
  to 004, {0, 95, 255} in 000, {0, 1} from 005 on. What 95 means is said nowhere; other loaders
  take every value above 0 as vessel, and so do we.
* AdinaScheinfeld/lsm_fm_public_repo: the other folder names, those of the challenge's own copy.

The voxel size is not in the files: 3 µm in z and 1.625 µm in x and y is how VesSAP acquired.
"""

from __future__ import annotations

from vpbsd.data.public.description import Description, PublicVolume, SourceFile, Split

__all__ = ["SELMA3D"]

_BASE = (
    "https://ftp.ebi.ac.uk/biostudies/fire/S-BIAD/196/S-BIAD1196/Files/"
    "SELMA3D_training_annotated/VessAP_vessel"
)

# Patch number -> SHA-256 of the image (channel 0000) and of the label.
_SHA256 = {
    6: (
        "b163136d154d3355f56fd96ef30505de48b70a446c3ce6ccb7207ea85989d78b",
        "fe7f87450aad5eb1354541c443f1bf66ff2a6d44dcef13a28f86f348b489a270",
    ),
    7: (
        "e7f559ab3cb9881cae2d3027307a7a854669dd7525b43bc1aa00c5133a25b660",
        "3bd73d006aaac5c24997513902feeccb98380fc9518fe6c4ea103fe48c23c5e9",
    ),
    8: (
        "35e75de1734aa79288e26cee92b9730f65da948e8002dc2253c37dbee0d12c1b",
        "47bdc8a93d3e3a6b9966c9e9889367a61be44393fdc854aacaf8f11e637d3b87",
    ),
    9: (
        "baae9bb83d10cf5245bf4897f683ad319e621c75591db24d737f9666cdb37959",
        "3aed4ad9b1b265287a4a0e2c6ed6f50da751ee879221cadf3b338eb2f88d22e6",
    ),
    10: (
        "c0ced366d5e2131fdbe35a7933a5904765b79bde1945ce45a876fea3d9fe8bf8",
        "c005b0af10f047a33d56ee5e78974650b248346105e107d856c702fc2bc0d205",
    ),
    11: (
        "e4a814cb073eb509c7d40ebefdd94a59b33cafcf178b0eca8df8e9e60c2da2f2",
        "ab5f702d549bf1aecb9305417fc4525d05a6b052b7965f55ffa4fcb5ea350d04",
    ),
    12: (
        "505680523ee5ae51d726c2bc200efdf465642a063ef969991320fe1a139eb42a",
        "6bd5eed2d2cb06ebe73f248eb8c21764b4f1e7906790d97610af58918ed968ef",
    ),
    13: (
        "f0c53ba36f2bfadff0458d2a93ae1a23545a1b48dd8c10d026a83c48e5e74843",
        "019069f8d37c721eca8aeab93641ae2057d1dce79c0792f769d2b3358813e4ed",
    ),
    14: (
        "f16682d3fe62b43684716a7fb4544fd59155ea058aede6484a1cd1fbdf60759b",
        "a3eaa498398d5d2f29e45f3820581e35c170ec5efe2b13dfc8fe31adcfcb08eb",
    ),
    15: (
        "ee054dca06539d89b1b5715df69186fec9da7d2fd781b509db5ad5604717047f",
        "1bf501dba8ff5b5fde802983533e61392273c9dd296684a164afba909b3f67e8",
    ),
    16: (
        "6dc5bacb5e72382f9bf7d2409c1c75632dd1bc1a99a194b5f023c89feb4610e8",
        "12695b31af9a17d1647437df933f82819ed8d16c30fbacad771397df63a6a76c",
    ),
    17: (
        "2153a6709d2fcd458c08e7db6694808d3237e9ba653782e6ba1075183f29321c",
        "5763227a220cbb45465dc90b9c534094b38b0f149d78c59bed4be7714efc44cf",
    ),
    18: (
        "d12c92b441af26f6a2f89e784520fbc2ca07036dbf0b2a2d93ae60c6db66b443",
        "1a23b4393965fb6d15230465aa04616c7787133802ef4f7067d4e9a4f86608e6",
    ),
    19: (
        "ee4bbee8939913ac3e8329e1969a019befa089b34ff8dc1f33c06b5acd9b622d",
        "7036a3594ed8c539482fb17110788ddf3b75383125ea2f3ee693909761a0d611",
    ),
    20: (
        "3fa3afb069715406ff18c57256290357b601eb649325357b1021fbb753583fb7",
        "df6b8fe68d92982c0f88f6be1b5d715bc2c0e96cd715e67a2368f836a62d5301",
    ),
    21: (
        "0b6b67926698e11700a1ce91307c8a0fe1ea437a55c10a4b1d276522858783ff",
        "49460f4e4103ff03f904befaa5e517eee185755f5116c638917125c44add5cd4",
    ),
    22: (
        "103fc18bbbbb4097230bb93e66b1df548c38229a0d57cd406ecd799ded0d0857",
        "1fc3f5c071f6d723b66d46812254735d87a3b2a2ca0600a6e38656041f85d172",
    ),
    23: (
        "ac2bfa0b47f65db4ef8f859efcad1cceb04da64c2a6b3c3edb0492b898dd6da6",
        "4da2c1e827a1e156aa5ca6b22cd2f1d45ad2e54c288bea7649013d30b8138692",
    ),
}
_PATCHES = 24


def _names(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"patchvolume_{number:03d}" for number in range(first, last + 1))


def _file(path: str, sha256: str | None) -> SourceFile:
    # The other classes use the same names in other folders, so that the longer end goes first.
    return SourceFile((f"VessAP_vessel/{path}", path), f"{_BASE}/{path}", sha256)


def _volume(number: int) -> PublicVolume:
    name = f"patchvolume_{number:03d}"
    image, label = _SHA256.get(number, (None, None))
    return PublicVolume(
        name=name,
        image=_file(f"raw/{name}_0000.nii.gz", image),
        label=_file(f"gt/{name}.nii.gz", label),
        shape_zyx=(50, 500, 500),
        voxel_size_um=(3.0, 1.625, 1.625),
    )


SELMA3D = Description(
    name="selma3d",
    title="SELMA3D challenge, annotated vessel patches (light sheet, cleared mouse brain)",
    home="https://selma3d.grand-challenge.org/data",
    licence="CC BY-NC by the challenge, CC BY 4.0 by the archive: keep to the stricter",
    how="downloaded from BioImage Archive S-BIAD1196, or --from a copy of it",
    volumes=tuple(_volume(number) for number in range(_PATCHES)),
    split=Split(
        by="volume",
        train=_names(0, 15),
        validation=_names(16, 18),
        test=_names(19, 23),
        why="the archive does not tell which patches come from one mouse; this is a split by "
        "runs of patch numbers, and an animal may be on two sides",
    ),
    voxel_size_source="acquisition of VesSAP (Todorov et al. 2020); the files do not state it",
    evidence=(
        "https://selma3d.grand-challenge.org/data",
        "https://www.ebi.ac.uk/bioimage-archive/galleries/ai/analysed-dataset/S-BIAD1196/",
        "https://github.com/splineops/splineops scripts/benchmark_selma3d_vessels.py",
        "https://huggingface.co/datasets/MedOtter/SELMA3D",
    ),
    vessel_values=(1, 95, 255),
    overlaps=("vessap",),
    settings={"simulate": {"voxel_size_um": [2.5, 1.8, 1.8]}},
)
