"""What a volume or a model is, in lines of (name, value), without changing anything."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpbsd.errors import CheckpointError, IntensityError
from vpbsd.geometry import Box, Triplet, as_triplet

if TYPE_CHECKING:
    from vpbsd.volumes import Volume

__all__ = ["Line", "describe_model", "describe_segmentation", "describe_volume", "is_model"]

Line = tuple[str, str]

_KINDS = ("student", "teacher")
_SAMPLE_EDGE_VOXELS = 128
_GIB = 2**30


def is_model(path: Path) -> bool:
    """Whether ``path`` is a model file or the folder of a run."""
    if path.is_dir():
        return any((path / name).exists() for name in ("config.yaml", *map(_file, _KINDS)))
    return path.suffix == ".safetensors"


def describe_volume(volume: Volume, *, invert: bool = False) -> Iterator[Line]:
    """Yield what is known of a volume, cheapest first; of its voxels only a sample is read."""
    c, z, y, x = volume.shape
    size = volume.voxel_size_um
    yield "volume", volume.source
    yield "shape", f"z {z}, y {y}, x {x} voxels, {c} channel{'s' if c > 1 else ''}"
    yield "type", str(volume.dtype)
    yield "size", _bytes(c * z * y * x * volume.dtype.itemsize) + " uncompressed"
    if size is None:
        yield "voxel size", "unknown; pass --voxel-size Z Y X in µm to segment or evaluate"
    else:
        extent = [n * v / 1000 for n, v in zip((z, y, x), size.zyx_um, strict=True)]
        yield "voxel size", str(size)
        yield "extent", f"z {extent[0]:.3g}, y {extent[1]:.3g}, x {extent[2]:.3g} mm"
    box = _central_box(as_triplet((z, y, x)))
    for channel in range(c):
        values = volume.read(box, (channel,))
        quantiles = np.percentile(values, (1, 50, 99))
        low, middle, high = (f"{q:g}" for q in quantiles)
        yield (
            f"intensities {channel}",
            f"{low} / {middle} / {high} (1 / 50 / 99 % of the central {box.shape} voxels)",
        )
    yield from _intensity_lines(volume, invert=invert)


def _intensity_lines(volume: Volume, *, invert: bool) -> Iterator[Line]:
    from vpbsd.volumes import estimate_intensity

    try:
        scale = estimate_intensity(volume, invert=invert)
    except IntensityError as error:
        # A mask is a volume too; what would stop a segmentation is news here, no failure.
        yield "as an image", str(error)
        return
    for channel, (centre, spread) in enumerate(zip(scale.centre, scale.spread, strict=True)):
        yield f"background {channel}", f"{centre:g}, spread {spread:g} (of the whole volume)"


def describe_segmentation(volume: Volume, model: Path, *, invert: bool) -> Iterator[Line]:
    """Yield what segmenting ``volume`` with ``model`` takes, measured on a few of its blocks."""
    from vpbsd.cli.blocks import default_workers
    from vpbsd.models import load_model
    from vpbsd.segment import SegmentOptions, estimate_segmentation, prepare_segmentation

    options = SegmentOptions(workers=default_workers(volume.shape_zyx), invert=invert)
    with tempfile.TemporaryDirectory(prefix="vpbsd-info-") as folder:
        out = Path(folder) / "mask.ome.zarr"
        prepared = prepare_segmentation(volume, load_model(model), out, options)
        yield from estimate_segmentation(prepared).lines(prepared)


def describe_model(path: Path) -> Iterator[Line]:
    """Yield what a model file is, or each model in the folder of a run.

    Raises
    ------
    CheckpointError
        If there is no model yet, or a damaged one.
    """
    if path.is_dir():
        yield from _run_lines(path)
        files = [path / _file(kind) for kind in _KINDS if (path / _file(kind)).exists()]
        if not files:
            raise CheckpointError(
                f"the run {path} has no finished model yet: go on with the command that began it"
            )
    else:
        files = [path]
    for file in files:
        yield from _model_lines(file)


def _run_lines(folder: Path) -> Iterator[Line]:
    from vpbsd.config import load_config

    if not (folder / "config.yaml").exists():
        return
    config = load_config(folder / "config.yaml")
    yield "run", f"{config.name}, seed {config.seed}"
    for role in ("labelled", "unlabelled", "validation"):
        volumes = getattr(config.data, role)
        if volumes:
            yield role, ", ".join(str(v.image) for v in volumes)


def _model_lines(file: Path) -> Iterator[Line]:
    from vpbsd.models import Student, cost, load_model

    model = load_model(file, "teacher" if "teacher" in file.name else "student")
    net, about = model.net, model.metadata
    spent = cost(net)
    yield model.kind, str(file)
    yield "weights", f"{spent.parameters:,} parameters, SHA-256 {model.fingerprint[:16]}"
    yield "work", f"{spent.mac_per_voxel:,.0f} multiply-accumulates per voxel"
    if isinstance(net, Student):
        yield "receptive field", f"{_zyx(net.receptive_field_voxels)} voxels to each side"
    else:
        yield "receptive field", "the whole block (attention)"
    yield "halo", f"{_zyx(net.halo_voxels)} voxels, stride {_zyx(net.stride)}"
    yield "input", f"{net.config.channels} channel(s)"
    yield "threshold", f"{model.threshold:g}, chosen on the validation volumes"
    if "stage" in about:
        yield "trained by", f"{about['stage']}, step {about.get('step')}"
    yield from _score_lines(about.get("scores", {}))


def _score_lines(scores: Mapping[str, Any]) -> Iterator[Line]:
    for name, value in scores.items():
        if name != "threshold":
            yield f"  {name}", f"{value:.4f}"


def _central_box(shape: Triplet) -> Box:
    edges = [min(n, _SAMPLE_EDGE_VOXELS) for n in shape]
    return Box.at([(n - e) // 2 for n, e in zip(shape, edges, strict=True)], edges)


def _file(kind: str) -> str:
    return f"{kind}.safetensors"


def _zyx(values: Triplet) -> str:
    return "z {}, y {}, x {}".format(*values)


def _bytes(number: float) -> str:
    return f"{number / _GIB:.1f} GiB" if number >= _GIB else f"{number / 2**20:.1f} MiB"
