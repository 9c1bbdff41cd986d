"""OpenVINO: the results of torch, in any crop, and int8 for which they are nearly so."""

from __future__ import annotations

import builtins
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vpbsd.config import StudentConfig
from vpbsd.errors import ConfigError, DataError, MissingExtraError
from vpbsd.geometry import Box
from vpbsd.models import Student
from vpbsd.segment import RuntimeSpec, TorchRuntime
from vpbsd.segment.runtimes import OpenVinoRuntime, int8_loss, make_runtime, quantise

LEVELS: dict[str, Any] = {"widths": (16, 16), "downsampling": ((2, 2, 2), (2, 2, 2))}
FLAT: dict[str, Any] = {"widths": (8, 16), "downsampling": ((1, 2, 2), (2, 2, 2)), "channels": 2}


def student(**settings: Any) -> Student:
    torch.manual_seed(3)
    net = Student(StudentConfig(**settings)).train()
    with torch.no_grad():
        net(torch.randn(2, net.config.channels, 16, 16, 16))
    return net.eval()


def block(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --------------------------------------------------------------------------------- with the extra


@pytest.fixture(autouse=True)
def _openvino(request: pytest.FixtureRequest) -> None:
    if "without" not in request.node.name:
        pytest.importorskip("openvino")


@pytest.mark.parametrize("preset", ["fast", "fine"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2)])
@pytest.mark.parametrize("levels", [LEVELS, FLAT], ids=["isotropic", "anisotropic"])
def test_the_results_of_torch(
    preset: str, precision: str, tolerance: float, levels: dict[str, Any]
) -> None:
    net = student(preset=preset, **levels)
    runtime = make_runtime(net, RuntimeSpec("openvino", precision, threads=1))
    assert (runtime.name, runtime.precision) == ("openvino", precision)
    assert runtime.halo_voxels == net.halo_voxels
    image = block(net.config.channels, 24, 24, 32)
    expected = TorchRuntime(net).logits(image)
    assert expected.std() > 0.005
    # Every kind of block has a graph of its own; the first comes again, after the others.
    crops = [Box((8, 8, 8), (15, 16, 24)), Box((0, 8, 8), (16, 24, 23)), None]
    for crop in (*crops, crops[0]):
        found = runtime.logits(image, crop)
        wanted = expected if crop is None else expected[crop.slices]
        np.testing.assert_allclose(found, wanted, atol=tolerance)
    np.testing.assert_allclose(
        runtime.predict(image), TorchRuntime(net).predict(image), atol=tolerance
    )


def test_a_result_outlives_the_next_block() -> None:
    runtime = OpenVinoRuntime(student(**LEVELS), threads=1)
    first = runtime.logits(block(1, 8, 8, 8))
    kept = first.copy()
    assert not np.array_equal(runtime.logits(block(1, 8, 8, 8, seed=1)), kept)
    np.testing.assert_array_equal(first, kept)


def test_blocks_that_do_not_fit_are_refused() -> None:
    runtime = OpenVinoRuntime(student(**LEVELS), threads=1)
    with pytest.raises(DataError, match="multiples of the net's stride"):
        runtime.logits(block(1, 8, 8, 6))


def test_other_nets_are_refused(small_net: type) -> None:
    with pytest.raises(ConfigError, match="evaluates students, got a SmallNet"):
        OpenVinoRuntime(small_net())


# ------------------------------------------------------------------------------------------- int8


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Student, Path]:
    pytest.importorskip("nncf")
    net = student(preset="fine", **LEVELS)
    out = tmp_path_factory.mktemp("int8") / "new" / "net.xml"
    assert quantise(net, [block(1, 24, 24, 32)], out) == out
    return net, out


def test_int8_is_near_fp32_in_any_crop(quantised: tuple[Student, Path]) -> None:
    net, path = quantised
    runtime = make_runtime(net, RuntimeSpec("openvino", "int8", threads=1, int8_path=path))
    image = block(1, 32, 24, 24, seed=5)
    exact, whole = TorchRuntime(net).logits(image), runtime.logits(image)
    # Eight bits: of the range that the logits span, they miss a few parts in a hundred.
    assert 0 < np.abs(whole - exact).max() < 0.1 * np.ptp(exact)
    for crop in (Box((8, 8, 8), (24, 16, 16)), Box((0, 8, 8), (20, 24, 16))):
        off = np.abs(runtime.logits(image, crop) - whole[crop.slices])
        # What is not int8 is bf16, and summed in an order of its own in each graph.
        assert np.count_nonzero(off) < 0.05 * off.size
        assert off.max() < 0.02


def test_quantising_leaves_the_handlers_of_others_alone(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    handler = logging.StreamHandler()
    logging.getLogger("nncf").addHandler(handler)
    try:
        quantise(student(**LEVELS), [block(1, 8, 8, 8)], tmp_path / "net.xml")
    finally:
        logging.getLogger("nncf").removeHandler(handler)
    assert handler.level == logging.NOTSET


def test_int8_of_other_weights_is_refused(quantised: tuple[Student, Path], tmp_path: Path) -> None:
    net, path = quantised
    other = student(preset="fine", **LEVELS)
    with torch.no_grad():
        other.out.bias += 1.0  # type: ignore[operator]
    with pytest.raises(ConfigError, match="quantised from other weights"):
        OpenVinoRuntime(other, "int8", int8_path=path)
    with pytest.raises(ConfigError, match="no quantised net at"):
        OpenVinoRuntime(net, "int8", int8_path=tmp_path / "none.xml")
    (tmp_path / "torn.xml").write_text(path.read_text()[:500])
    with pytest.raises(ConfigError, match="or a damaged one"):
        OpenVinoRuntime(net, "int8", int8_path=tmp_path / "torn.xml")


def test_quantisation_needs_blocks_and_a_name(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    with pytest.raises(ConfigError, match="at least one block"):
        quantise(student(**LEVELS), [], tmp_path / "net.xml")
    with pytest.raises(ConfigError, match=r"\.xml file"):
        quantise(student(**LEVELS), [block(1, 8, 8, 8)], tmp_path / "net.bin")


class Copy(nn.Module):
    """Logits that are the image."""

    stride = (1, 1, 1)
    halo_voxels = (0, 0, 0)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 1)
        nn.init.ones_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Told:
    """A runtime that gives what it was told."""

    def __init__(self, *results: np.ndarray) -> None:
        self.results = list(results)

    def logits(self, _block: np.ndarray, _crop: Box | None = None) -> np.ndarray:
        return self.results.pop(0)


def line(length: int) -> np.ndarray:
    logits = np.full((1, 5, 5, 12), -1.0, np.float32)
    logits[0, 2, 2, 1 : 1 + length] = 1.0
    return logits


@pytest.mark.parametrize(
    ("exact", "found", "points"),
    [
        ([10], [10], 0.0),
        # Precision 1, sensitivity 5 / 10: clDice is 2 / 3.
        ([10], [5], 100 / 3),
        # Counted together: 15 of 20 voxels, 2 * 0.75 / 1.75 = 6 / 7.
        ([10, 10], [10, 5], 100 / 7),
        ([10], [0], 100.0),
        ([0], [0], 0.0),
    ],
)
def test_int8_loss_by_hand(exact: list[int], found: list[int], points: float) -> None:
    told: Any = Told(*(line(n)[0] for n in found))
    assert int8_loss(Copy(), told, [line(n) for n in exact], 0.5) == pytest.approx(points)


def test_int8_loss_uses_the_threshold() -> None:
    # Logits of 1 are probabilities of 0.73.
    told: Any = Told(line(10)[0])
    assert int8_loss(Copy(), told, [line(5)], 0.74) == 0.0


# ------------------------------------------------------------------------------ without the extra


@pytest.mark.parametrize(("missing", "needed"), [("openvino", "OpenVINO"), ("nncf", "NNCF")])
def test_without_the_extra_the_command_is_named(
    missing: str, needed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == missing:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    if missing == "nncf":
        pytest.importorskip("openvino")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=f"{needed}.*pip install 'vpbsd\\[openvino\\]'"):
        quantise(student(**LEVELS), [block(1, 8, 8, 8)], tmp_path / "net.xml")
