"""nnU-Net in an environment of its own: what it is given, what comes back, and what is refused.

A stand-in with one threshold for a net takes the place of nnunetv2; the test at the end runs the
real one where ``VPBSD_NNUNET_PYTHON`` names its Python.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from comparisons import InThisProcess, comparison, settings, write_volumes
from standin_nnunetv2 import VERSION, install

from vpbsd.compare.external import EXTERNAL
from vpbsd.compare.external.nnunet import PYTHON
from vpbsd.compare.external.nnunet_driver import schedule
from vpbsd.compare.methods import choose_methods, known_methods
from vpbsd.compare.results.lines import ResultLine, read_results
from vpbsd.compare.runner import run
from vpbsd.compare.runner.run import run_comparison
from vpbsd.config import MethodConfig, parse_config
from vpbsd.errors import ConfigError, MissingExtraError, WorkerDiedError
from vpbsd.stages import StopRequested
from vpbsd.stages.run import Run

REAL = os.environ.get(PYTHON)
NNUNET = EXTERNAL["nnunet"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    write_volumes(folder)
    return folder


@pytest.fixture(autouse=True)
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "run_tasks", InThisProcess())
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # An environment of ours must not reach the other Python.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "nowhere"))
    (tmp_path / "environment").mkdir()
    monkeypatch.setenv(PYTHON, str(install(tmp_path / "environment")))


def compared(root: Path, out: Path, **changed: Any) -> ResultLine:
    """Run the comparison of nnU-Net alone; returns its one line."""
    done = run_comparison(comparison(root, methods=["nnunet"], **changed), out)
    (line,) = read_results(done.results)
    return line


def test_it_is_trained_cut_and_scored_like_any_other(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = compared(root, out)
    assert (line.method, line.family, line.failure) == ("nnunet", "net", None)
    assert (line.labelled_patches, line.steps, line.seed) == (2, 6, 0)
    assert line.deployed == f"nnU-Net {VERSION}"
    # 1 x 2 x 27 weights and 2 biases; each weight is multiplied with each voxel.
    assert (line.parameters, line.mac_per_voxel) == (56, 54)
    # Background is 200 to 600, tubes 2200 to 2600, half of the probability at the middle, 1400: the
    # first threshold that parts them, on the validation volume.
    assert line.scores["dice"] == 1
    assert line.threshold == 0.25
    assert line.voxels_per_second > 0
    assert line.peak_memory_bytes > 10 * 2**20
    assert line.training_seconds > 0
    assert (out / "tubes/nnunet/seed_0/masks").is_dir()


def test_it_finds_our_volumes_in_its_own_format(root: Path, tmp_path: Path) -> None:
    compared(root, tmp_path / "out")
    work = tmp_path / "out/tubes/nnunet/seed_0/nnunet"
    raw = work / "raw/Dataset001_vessels"
    names = ["labelled_000", "labelled_001", "validation_000"]
    assert sorted(p.name for p in (raw / "imagesTr").glob("*.tif")) == [
        f"{n}_0000.tif" for n in names
    ]
    for name, source in zip(names, ("labelled_a", "labelled_b", "validation"), strict=True):
        image = tifffile.imread(raw / "imagesTr" / f"{name}_0000.tif")
        # As it was taken, not as our nets see it.
        assert np.array_equal(image, tifffile.imread(root / f"{source}.tif"))
        label = tifffile.imread(raw / "labelsTr" / f"{name}.tif")
        assert np.array_equal(label, tifffile.imread(root / f"{source}_label.tif"))
        for place in ("imagesTr", "labelsTr"):
            assert json.loads((raw / place / f"{name}.json").read_text()) == {"spacing": [2, 1, 1]}
    # All labelled volumes are learnt from, and only ours of validation are held out.
    splits = json.loads((work / "preprocessed/Dataset001_vessels/splits_final.json").read_text())
    assert splits == [{"train": names[:2], "val": names[2:]}]
    assert not list((work / "predictions").iterdir())


@pytest.mark.parametrize(
    ("steps", "iterations_and_epochs"),
    [(1, (1, 1)), (6, (1, 6)), (1200, (60, 20)), (6000, (250, 24)), (250_000, (250, 1000))],
)
def test_steps_are_spread_over_epochs(steps: int, iterations_and_epochs: tuple[int, int]) -> None:
    assert schedule(steps) == iterations_and_epochs


# -------------------------------------------------------------------------- stopped, failed, again


def training(root: Path, folder: Path) -> Run:
    return Run(parse_config(settings(root)), folder)


def test_a_stop_ends_it_and_the_same_call_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_SECONDS", "0.3")
    seen: list[int] = []

    def stop_at_3(stage: str, step: int, steps: int, losses: Mapping[str, float]) -> None:
        seen.append(step)
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StopRequested, match=r"stopped nnunet at step \d of 6"):
        NNUNET.train(training(root, tmp_path / "run"), stop_at_3)
    begun = list(seen)
    assert begun[:3] == [1, 2, 3]
    assert begun[-1] < 6
    again: list[int] = []
    steps = NNUNET.train(
        training(root, tmp_path / "run"), lambda stage, step, steps, losses: again.append(step)
    )
    assert steps == 6
    # From the last checkpoint on.
    assert again == list(range(again[0], 7))
    assert again[0] >= 3


def test_a_failure_is_told_with_its_last_words_and_can_be_resumed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_FAILS_AT", "3")
    out = tmp_path / "out"
    failed = compared(root, out)
    assert failed.failure is not None
    assert "it needs 'train tubes/nnunet/seed_0'" in failed.failure
    monkeypatch.delenv("STANDIN_FAILS_AT")
    seen: list[int] = []
    config = training(root, out / "tubes/nnunet/seed_0")
    NNUNET.train(config, lambda stage, step, steps, losses: seen.append(step))
    assert seen == [4, 5, 6]
    assert compared(root, out).scores["dice"] == 1


def test_a_checkpoint_that_was_cut_short_costs_no_more_than_itself(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_FAILS_AT", "3")
    with pytest.raises(WorkerDiedError):
        NNUNET.train(training(root, tmp_path / "run"), lambda *_: None)
    monkeypatch.delenv("STANDIN_FAILS_AT")
    results = tmp_path / "run/nnunet/results/d/fold_0"
    (results / "checkpoint_latest.pth").write_text("[3, 14")
    (results / "checkpoint_best.pth").write_text("[2, 1400.0]")
    seen: list[int] = []
    NNUNET.train(
        training(root, tmp_path / "run"), lambda stage, step, steps, losses: seen.append(step)
    )
    assert seen == [3, 4, 5, 6]
    assert "is damaged (JSONDecodeError" in (tmp_path / "run/nnunet/log.txt").read_text()


def test_the_reason_of_a_failure_is_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_FAILS_AT", "0")
    with pytest.raises(WorkerDiedError, match=r"no memory left for step 0.*log\.txt'"):
        NNUNET.train(training(root, tmp_path / "run"), lambda *_: None)


# ----------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("python", "says"),
    [
        ("", "runs in an environment of its own: make an environment"),
        ("/no/such/python", "No such file"),
        (sys.executable, r"cannot import nnunetv2 \(ModuleNotFoundError"),
    ],
)
def test_a_missing_environment_is_refused_before_anything_is_trained(
    python: str, says: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PYTHON, python)
    config = comparison(root, methods=["supervised_only", "nnunet"])
    with pytest.raises(MissingExtraError, match=says) as caught:
        run_comparison(config, tmp_path / "out")
    assert f"export {PYTHON}=" in str(caught.value)
    assert not (tmp_path / "out/tubes").exists()


def test_a_budget_in_seconds_is_refused(root: Path, tmp_path: Path) -> None:
    config = comparison(root, methods=["nnunet"], budget={"kind": "seconds", "value": 60})
    with pytest.raises(ConfigError, match="give the comparison a budget in steps"):
        run_comparison(config, tmp_path / "out")


def test_it_comes_by_its_name_alone() -> None:
    assert "nnunet" not in [method.name for method in known_methods("net")]
    (method,) = choose_methods([MethodConfig(name="nnunet")])
    assert (method.family, method.how) == ("net", "external")
    with pytest.raises(ConfigError, match="by its name alone: nnunet"):
        choose_methods([MethodConfig(name="nnu_net")])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not REAL, reason=f"{PYTHON} names no Python with nnunetv2")
def test_the_real_one(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON, str(REAL))
    steps = {"name": "tubes", "settings": settings(root), "edge_voxels": [8, 12, 12]}
    steps["settings"]["distill"]["steps"] = 20
    line = compared(root, tmp_path / "out", datasets=[steps])
    assert line.failure is None
    assert line.scores["dice"] > 0.5
