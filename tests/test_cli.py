"""The command line as a user meets it: verbs, overrides, output, exit codes."""

from __future__ import annotations

import argparse
import errno
import io
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import vpbsd
from vpbsd import cli
from vpbsd.cli import failure
from vpbsd.cli.failure import LOG_NAME, guarded
from vpbsd.cli.options import read_recipe, settings, simulate_config, split_overrides
from vpbsd.cli.progress import TrainingProgress, log_to
from vpbsd.config import find_recipe, shipped_recipes
from vpbsd.errors import CollapseError, ConfigError
from vpbsd.volumes import open_volume, read_attributes

VERBS = (
    *("info", "fetch", "simulate", "pretrain", "finetune", "distill", "train"),
    *("convert", "segment", "evaluate", "graph", "report", "doctor", "demo"),
)

RECIPE = """
name: tiny
data:
  labelled: [{image: sim/volume_000_image.ome.tif, label: sim/volume_000_label.ome.tif}]
  validation: [{image: sim/volume_001_image.ome.tif, label: sim/volume_001_label.ome.tif}]
teacher: {widths: [8, 16, 16, 24]}
pretrain: {steps: 2, patch_voxels: [16, 32, 32], simulated_share: 0}
finetune: {steps: 2, patch_voxels: [16, 32, 32], simulated_share: 0}
distill: {steps: 2, patch_voxels: [16, 32, 32], simulated_share: 0}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two simulated volumes, a recipe and a run of a few steps."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shape = ("--shape", "32", "48", "48", "--voxel-size", "2", "2", "2")
        assert cli.main(["simulate", "sim", "--count", "2", "--seed", "3", *shape]) == 0
        Path("tiny.yaml").write_text(RECIPE, encoding="utf-8")
        assert cli.main(["train", "tiny.yaml", "-o", "run", "--quiet"]) == 0
    return folder


@pytest.fixture
def in_trained(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


# ------------------------------------------------------------------------------- verbs and settings


def test_help_lists_the_verbs_in_pipeline_order(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(["--help"])
    assert leaving.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split()[0] for line in lines if line.startswith("    ") and line.split()]
    assert [word for word in shown if word in VERBS] == list(VERBS)


def test_module_and_console_script_answer_alike() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vpbsd", "--version"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == f"vpbsd {vpbsd.__version__}\n"


def test_training_help_shows_every_setting_with_its_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(["train", "--help"])
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    assert "--seed 0\n" in shown
    assert "--pretrain.patch_voxels [48, 64, 64]\n" in shown
    assert "--distill.target code_vectors\n" in shown
    assert "Weight of L_cb in L_pre" in shown


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["segmnt"],
        ["info"],
        ["segment", "a.tif", "-o", "b.ome.zarr"],
        ["segment", "a.tif", "--model", "m", "-o", "b.ome.zarr", "--modle", "n"],
        ["evaluate", "a.tif", "b.tif", "--voxel-size", "1", "2"],
        ["train", "demo", "-o", "run", "--seed"],
        ["train", "demo"],
        ["segment", "a.tif", "--model", "m"],
        ["segment", "a.tif", "--model", "m", "-o", "b.ome.zarr", "--workers", "two"],
        ["segment", "a.tif", "--model", "m", "-o", "b.ome.zarr", "--precision", "fp64"],
        ["graph", "a.tif"],
        ["graph", "a.tif", "-o", "g", "--spur-factor", "long"],
        ["convert", "a.tif"],
        ["convert", "a.tif", "-o", "b.ome.zarr", "--ngff", "0.6"],
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(words)
    assert leaving.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_overrides_are_parted_from_the_other_words() -> None:
    words = ["train", "--seed", "2", "my.yaml", "-o", "run", "--pretrain.steps=10", "--quiet"]
    assert split_overrides(words) == (
        ["train", "my.yaml", "-o", "run", "--quiet"],
        {"seed": "2", "pretrain.steps": "10"},
    )
    # A value may start with one dash, and an option of the verb keeps its own value.
    words = ["distill", "--config", "a", "--teacher", "t", "--x.y", "-1", "--machine.threads", "3"]
    assert split_overrides(words) == (
        ["distill", "--config", "a", "--teacher", "t"],
        {"x.y": "-1", "machine.threads": "3"},
    )
    assert split_overrides(["train", "--distill.patch-voxels", "[8, 8, 8]"])[1] == {
        "distill.patch_voxels": "[8, 8, 8]"
    }


@pytest.mark.parametrize("words", [["--seed"], ["--seed", "--quiet"]])
def test_setting_without_a_value_is_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="--seed needs a value"):
        split_overrides(words)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["train", "a.yaml", "-o", "--quiet", "--out=r"])),
            st.tuples(st.sampled_from(["--x.y=3", "--seed=--"])),
            st.tuples(st.sampled_from(["--x.y", "--seed"]), st.sampled_from(["3", "-1", "a=b"])),
        )
    )
)
def test_splitting_keeps_every_other_word_in_its_order(pieces: list[tuple[str, ...]]) -> None:
    rest, found = split_overrides([word for piece in pieces for word in piece])
    kept = ("train", "a.yaml", "-o", "--quiet", "--out=r")
    assert rest == [piece[0] for piece in pieces if piece[0] in kept]
    assert set(found) <= {"x.y", "seed"}
    assert set(found.values()) <= {"3", "-1", "a=b", "--"}


def test_overrides_reach_the_configuration_as_yaml() -> None:
    given_words = {"seed": "7", "distill.steps": "11", "student.widths": "[16, 32, 48]"}
    config = read_recipe("demo", None, given_words)
    assert (config.seed, config.distill.steps, config.student.widths) == (7, 11, (16, 32, 48))
    assert config.pretrain.steps == 150
    assert read_recipe(None, "demo", {}).seed == 0


@pytest.mark.parametrize(("recipe", "config"), [(None, None), ("demo", "demo")])
def test_exactly_one_recipe_is_named(recipe: str | None, config: str | None) -> None:
    with pytest.raises(ConfigError, match="name one recipe"):
        read_recipe(recipe, config, {})


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ({"pretrain.step": "3"}, "did you mean pretrain.steps?"),
        ({"sed": "3"}, "did you mean seed?"),
        ({"pretrian.steps": "3"}, "did you mean pretrain?"),
    ],
)
def test_unknown_setting_is_refused_with_the_near_one(wrong: dict[str, str], near: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_recipe("demo", None, wrong)
    assert str(refused.value).endswith(near)


def test_settings_are_those_of_the_stages() -> None:
    defaults = {key: default for key, default, _ in settings()}
    assert defaults["distill.learning_rate"] == 3e-3
    assert defaults["codebook.size"] == 128
    assert "pretrain" not in defaults


def test_shipped_recipes_are_found_by_name(tmp_path: Path) -> None:
    assert {"demo", "lightsheet_few_shot", "twophoton_few_shot"} <= set(shipped_recipes())
    assert find_recipe("demo").name == "demo.yaml"
    own = tmp_path / "demo"
    own.write_text("seed: 1", encoding="utf-8")
    assert find_recipe(own) == own
    with pytest.raises(ConfigError, match=r"no recipe file 'none'.*demo, lightsheet_few_shot"):
        find_recipe("none")


def test_given_voxel_size_of_a_simulation_is_kept() -> None:
    config = simulate_config([16, 32, 32], [5, 1, 1])
    assert (config.shape_voxels, config.voxel_size_um) == ((16, 32, 32), (5, 1, 1))
    assert config.zoom == (1, 1)
    assert simulate_config(None, None).zoom == (0.6, 1.8)


# ----------------------------------------------------------------------------------- the pipeline


def test_simulate_writes_image_label_network_and_settings(trained: Path) -> None:
    kinds = ("_image.ome.tif", "_label.ome.tif", "_network.npz", ".json")
    wanted = {f"volume_00{i}{kind}" for i in (0, 1) for kind in kinds}
    assert {p.name for p in (trained / "sim").iterdir()} == wanted
    record = json.loads((trained / "sim" / "volume_001.json").read_text(encoding="utf-8"))
    assert record["seed"] == 3
    assert record["voxel_size_um"] == [2.0, 2.0, 2.0]


def test_simulate_replaces_only_what_it_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--shape", "8", "16", "16"]
    out = tmp_path / "sim"
    assert cli.main(["simulate", str(out), *small]) == 0
    assert cli.main(["simulate", str(out), *small]) == 2
    assert cli.main(["simulate", str(out), *small, "--overwrite"]) == 0
    (out / "thesis.doc").write_text("years of work", encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["simulate", str(out), *small, "--overwrite"]) == 2
    assert "thesis.doc" in capsys.readouterr().err
    assert (out / "thesis.doc").read_text(encoding="utf-8") == "years of work"


@pytest.mark.slow
def test_a_simulated_brain_is_image_and_truth_and_goes_on_where_it_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # One process: starting others for so few voxels is what takes the time.
    monkeypatch.setattr("vpbsd.machine.usable_cores", lambda: 1)
    words = ["simulate", str(tmp_path), "--brain", "--shape", "64", "64", "96", "--quiet"]
    assert cli.main(words) == 0
    for name, kind, dtype in (("image", "image", "uint16"), ("truth", "labels", "uint8")):
        with open_volume(tmp_path / f"{name}.ome.zarr") as volume:
            assert volume.shape == (1, 64, 64, 96)
            assert volume.dtype == dtype
            assert volume.require_voxel_size().zyx_um == (2, 2, 2)
        assert read_attributes(tmp_path / f"{name}.ome.zarr")["kind"] == kind
    capsys.readouterr()
    assert cli.main(words) == 2
    assert "image.ome.zarr' exists already; pass --overwrite" in capsys.readouterr().err
    # As if killed before the truth was there: only that is made, and the image is kept.
    made = (tmp_path / "image.ome.zarr").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "truth.ome.zarr")
    assert cli.main(words) == 0
    assert (tmp_path / "image.ome.zarr").stat().st_mtime_ns == made
    assert (tmp_path / "truth.ome.zarr").is_dir()


def test_info_tells_what_a_volume_is(in_trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "sim/volume_000_image.ome.tif", "--model", "run"]) == 0
    shown = capsys.readouterr().out
    assert "z 32, y 48, x 48 voxels, 1 channel" in shown
    assert "z 2, y 2, x 2 µm" in shown
    assert "z 0.064, y 0.096, x 0.096 mm" in shown
    assert "1 of (32, 48, 48) voxels, read as (32, 48, 48)" in shown
    assert "1.00 times the voxels of the volume are read" in shown
    assert "computed by            this process; torch " in shown
    for name, unit in (("memory", "iB a worker"), ("disk", "are free)"), ("time", "Mvoxel/s")):
        assert any(line.startswith(name) and unit in line for line in shown.splitlines())


def test_a_dry_run_tells_what_it_will_take_and_leaves_nothing(
    in_trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["segment", "sim/volume_001_image.ome.tif", "--model", "run", "--dry-run"]
    before = {path: path.stat().st_mtime_ns for path in in_trained.rglob("*")}
    out = tmp_path / "mask.ome.zarr"
    assert cli.main([*words, "-o", str(out), "--block-voxels", "16", "24", "48"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    # A halo of 32 takes the whole of so small a volume into every block.
    assert lines["blocks"] == "4 of (16, 24, 48) voxels, read as (32, 48, 48)"
    assert lines["halo"] == "4.00 times the voxels of the volume are read"
    assert {"memory", "disk", "time", "computed"} <= lines.keys()
    assert list(tmp_path.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in in_trained.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "code"), [(100.0, 0), (-100.0, 2)])
def test_neither_a_dry_run_nor_a_refusal_leaves_a_quantised_net(
    in_trained: Path,
    tmp_path: Path,
    student_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limit: float,
    code: int,
) -> None:
    pytest.importorskip("nncf")
    monkeypatch.setattr("vpbsd.segment.pick.MAX_INT8_LOSS_POINTS", limit)
    words = ["segment", "sim/volume_001_image.ome.tif", "--model", str(student_file)]
    out = ["-o", str(tmp_path / "mask.ome.zarr"), "--precision", "int8", "--dry-run"]
    assert cli.main([*words, *out]) == code
    shown = capsys.readouterr()
    assert ("openvino int8, which loses" in shown.out) == (code == 0)
    assert ("int8 would lose" in shown.err) == (code == 2)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_what_the_memory_cannot_hold_shows_the_numbers_first(
    in_trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("vpbsd.segment.estimate.available_memory_bytes", lambda: 2**30 // 10)
    words = ["segment", "sim/volume_001_image.ome.tif", "--model", "run", "--workers", "2"]
    out = ["-o", str(tmp_path / "mask.ome.zarr")]
    assert cli.main([*words, *out, "--dry-run"]) == 2
    shown = capsys.readouterr()
    assert "(102 MiB are free)" in shown.out
    refusal = shown.err.splitlines()[-1]
    assert refusal.startswith("vpbsd segment: 2 processes would need ")
    assert "but only 0.1 GiB of memory are free; choose fewer workers (--workers), " in refusal
    assert cli.main([*words, *out]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == refusal
    assert list(tmp_path.iterdir()) == []


def test_info_on_a_mask_says_that_it_is_none_to_segment(
    in_trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["info", "sim/volume_000_label.ome.tif"]) == 0
    assert "looks like a mask" in capsys.readouterr().out


def test_info_on_a_run_tells_both_nets(
    in_trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["info", "run"]) == 0
    shown = capsys.readouterr().out
    assert "tiny, seed 0" in shown
    for name in ("student", "teacher", "parameters", "multiply-accumulates per voxel", "halo"):
        assert name in shown
    # 16 + 32 + 64 features at stride 8: read from the default student by hand.
    assert "z 32, y 32, x 32 voxels to each side" in shown


def test_stages_one_by_one_resume_where_train_stopped(
    in_trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (in_trained / "run" / "student.safetensors").read_bytes()
    for verb in ("pretrain", "finetune", "distill"):
        assert cli.main([verb, "--config", "tiny.yaml", "-o", "run"]) == 0
    shown = capsys.readouterr()
    assert "for 2 steps" in shown.out
    assert "Traceback" not in shown.err
    assert (in_trained / "run" / "student.safetensors").read_bytes() == before


def test_distill_takes_a_teacher_from_elsewhere(
    in_trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["distill", "tiny.yaml", "-o", str(tmp_path / "other"), "--distill.steps", "1"]
    assert cli.main([*words, "--quiet"]) == 2
    assert "no model at" in capsys.readouterr().err
    assert cli.main([*words, "--teacher", "run", "--student.preset", "fast"]) == 0
    assert "distill 1/1, loss" in capsys.readouterr().err
    assert (tmp_path / "other" / "student.safetensors").exists()


def test_segment_and_evaluate(
    in_trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, truth = str(tmp_path / "mask.ome.zarr"), "sim/volume_001_label.ome.tif"
    image = "sim/volume_001_image.ome.tif"
    assert cli.main(["segment", image, "--model", "run", "-o", out, "--probability"]) == 0
    shown = capsys.readouterr()
    assert "voxel size z 2, y 2, x 2 µm (from the file)" in shown.err
    assert "mask_probability.ome.zarr" in shown.out
    assert cli.main(["evaluate", out, truth, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert 0 <= scores["dice"] <= 1
    assert scores["voxel_size_um"] == [2, 2, 2]
    assert cli.main(["evaluate", str(tmp_path / "mask_probability.ome.zarr"), truth]) == 2
    assert "holds probabilities" in capsys.readouterr().err


def test_evaluate_gives_the_scores_worked_out_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, mask = np.zeros((1, 4, 8), np.uint8), np.zeros((1, 4, 8), np.float32)
    truth[0, 1, :4] = 255  # 4 voxels; a mask of 6 voxels holds 3 of them: Dice 6 / 10
    mask[0, 1, 1:7] = 1.0
    np.save(tmp_path / "truth.npy", truth)
    np.save(tmp_path / "mask.npy", mask)
    words = ["evaluate", str(tmp_path / "mask.npy"), str(tmp_path / "truth.npy")]
    assert cli.main([*words, "--voxel-size", "4", "2", "1", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["dice"] == pytest.approx(0.6)
    assert scores["precision"] == pytest.approx(0.5)
    assert scores["recall"] == pytest.approx(0.75)
    assert cli.main([*words, "--voxel-size", "4", "2", "1"]) == 0
    shown = capsys.readouterr()
    assert "dice                           0.6000\n" in shown.out
    assert shown.err == "voxel size z 4, y 2, x 1 µm (as given)\n"


def test_evaluate_reads_a_bare_zarr_array(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros((2, 4, 4), np.uint8)
    mask[0, 1:3] = 1
    zarr.save_array(tmp_path / "mask.zarr", mask, zarr_format=3)
    words = ["evaluate", *2 * [str(tmp_path / "mask.zarr")], "--voxel-size", "1", "1", "1"]
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dice"] == 1


def test_info_on_a_volume_with_nan_names_the_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.ones((2, 10, 10), np.float32)
    values[0, 0, 0] = np.nan
    np.save(tmp_path / "nan.npy", values)
    assert cli.main(["info", str(tmp_path / "nan.npy")]) == 0
    assert "0.50% of the sampled voxels" in capsys.readouterr().out


def test_doctor_prints_its_checks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vpbsd import doctor

    found = [doctor.Check("disk", "ok", "12 GB free"), doctor.Check("torch", "fail", "is too old")]
    monkeypatch.setattr(doctor, "diagnose", lambda: found)
    assert cli.main(["doctor"]) == 1
    assert "12 GB free" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "diagnose", lambda: found[:1])
    assert cli.main(["doctor"]) == 0


# --------------------------------------------------------------------------------- ways of failing


def _options(folder: Path) -> argparse.Namespace:
    return argparse.Namespace(verb="info", out=folder, command=["vpbsd", "info"])


def _raises(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def action(_: argparse.Namespace) -> int:
        raise error

    return action


def test_degenerate_result_is_exit_code_1_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(_raises(CollapseError("the codebook collapsed")), _options(tmp_path)) == 1
    assert capsys.readouterr().err == "vpbsd info: the codebook collapsed\n"
    assert list(tmp_path.iterdir()) == []


def test_fault_of_ours_leaves_its_traceback_in_a_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        guarded(_raises(ZeroDivisionError("by zero")), _options(tmp_path))
    assert leaving.value.code == 1
    log = tmp_path / LOG_NAME
    assert capsys.readouterr().err == (
        f"vpbsd info: unexpected ZeroDivisionError: by zero; this is a fault of vpbsd, traceback "
        f"in {log}\n"
    )
    assert "Traceback (most recent call last)" in log.read_text(encoding="utf-8")


def test_log_lies_beside_an_output_that_does_not_exist_yet(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        guarded(_raises(ZeroDivisionError()), _options(tmp_path / "mask.ome.zarr"))
    assert [p.name for p in tmp_path.iterdir()] == [LOG_NAME]


def test_outputs_may_be_named_by_a_string_or_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    for out, log in (("results/mask.ome.zarr", "results"), ("s3://bucket/mask.ome.zarr", ".")):
        options = argparse.Namespace(verb="segment", out=out, command=["vpbsd", "segment"])
        with pytest.raises(SystemExit) as leaving:
            guarded(_raises(ZeroDivisionError()), options)
        assert leaving.value.code == 1
        assert f"traceback in {Path(log) / LOG_NAME}" in capsys.readouterr().err
        assert (tmp_path / log / LOG_NAME).exists()


def test_ctrl_c_is_exit_code_130(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from vpbsd.stages import StopRequested

    stop = StopRequested("finetune", 3, 10)
    assert guarded(_raises(stop), _options(tmp_path)) == 130
    assert capsys.readouterr().err == (
        "vpbsd info: stopped finetune at step 3 of 10; the same command goes on from there\n"
    )
    assert guarded(_raises(KeyboardInterrupt()), _options(tmp_path)) == 130
    assert "stopped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "cannot be written: No space left on device; make room"),
        (errno.EDQUOT, "make room"),
        (errno.EACCES, "Permission denied; check the permissions"),
    ],
)
def test_full_or_locked_disk_is_the_users_to_mend(
    code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = RuntimeError("some library failed")
    broken.__cause__ = OSError(code, os.strerror(code), "x.bin")
    with pytest.raises(SystemExit) as leaving:
        guarded(_raises(broken), _options(tmp_path))
    assert leaving.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("vpbsd info: 'x.bin'")
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_full_memory_is_the_users_to_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(_raises(MemoryError()), _options(tmp_path)) == 2
    assert "smaller blocks" in capsys.readouterr().err


def test_log_goes_where_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    missing = _options(tmp_path / "no" / "such" / "folder")
    assert failure._write_log(missing, "text") == Path(LOG_NAME)


# --------------------------------------------------------------------------------------- progress


def test_without_a_terminal_a_line_is_logged_every_tenth() -> None:
    text = io.StringIO()
    console = Console(file=text, width=80)
    with log_to(console), TrainingProgress(console) as progress:
        for step in range(1, 21):
            progress("finetune", step, 20, {"loss": 0.5})
    lines = text.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("finetune 2/20, loss 0.5000, 0:00 left")
    assert lines[-1] == "finetune 20/20, loss 0.5000"


def test_quiet_shows_warnings_only() -> None:
    text = io.StringIO()
    console = Console(file=text, width=80)
    with log_to(console, quiet=True), TrainingProgress(console, quiet=True) as progress:
        progress("finetune", 1, 1, {"loss": 0.5})
        logging.getLogger("vpbsd.test").info("news")
        logging.getLogger("vpbsd.test").warning("[red]beware[/red]")
    assert text.getvalue() == "[red]beware[/red]\n"


def test_other_ranks_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    text = io.StringIO()
    with log_to(Console(file=text)):
        logging.getLogger("vpbsd.test").info("news")
    assert text.getvalue() == ""


def test_bar_shows_stage_step_and_loss_on_a_terminal() -> None:
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=True, no_color=True)
    with log_to(console), TrainingProgress(console) as progress:
        progress("pretrain", 3, 4, {"loss": 0.25})
        progress("distill", 4, 4, {"loss": 0.125})
    shown = text.getvalue()
    for words in ("pretrain", "3/4", "loss 0.2500", "distill", "4/4", "loss 0.1250"):
        assert words in shown


def test_logging_is_left_as_it_was_found() -> None:
    root = logging.getLogger("vpbsd")
    before = (root.level, list(root.handlers))
    with log_to(Console(file=io.StringIO())):
        assert root.level == logging.INFO
    assert (root.level, list(root.handlers)) == before
