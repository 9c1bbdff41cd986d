"""The demo end to end, with a few steps: what it leaves, and that it goes on where it stood."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tifffile

from vpbsd import cli
from vpbsd.cli import demo
from vpbsd.config import find_recipe, load_config

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished quick demo."""
    out = tmp_path_factory.mktemp("made") / "demo"
    assert cli.main(["demo", "--out", str(out), "--quick", "--quiet"]) == 0
    return out


def test_summary_holds_scores_speed_and_codes(made: Path) -> None:
    summary = json.loads((made / "summary.json").read_text(encoding="utf-8"))
    for name in ("teacher", "student", "supervised_only"):
        assert set(summary[name]) == {"dice", "cldice"}
        assert all(0 <= value <= 1 for value in summary[name].values())
    assert 1 <= summary["codebook_perplexity"] <= summary["codebook_size"] == 128
    assert summary["voxels_per_second"] > 0
    assert summary["seconds"] > 0
    assert summary["seed"] == 0
    assert summary["quick"] is True
    assert summary["machine"]["cores"] >= 1


def test_scores_are_those_of_the_masks_on_disk(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = json.loads((made / "summary.json").read_text(encoding="utf-8"))
    truth = made / "data" / "held_out" / "volume_000_label.ome.tif"
    for name in ("student", "supervised_only"):
        capsys.readouterr()
        assert cli.main(["evaluate", str(made / f"{name}.ome.zarr"), str(truth), "--json"]) == 0
        scores = json.loads(capsys.readouterr().out)
        assert {k: scores[k] for k in ("dice", "cldice")} == summary[name]


def test_figures_are_drawn(made: Path) -> None:
    figures = sorted((made / "figures").iterdir())
    assert [f.name for f in figures] == ["held_out.png", "training.png"]
    for figure in figures:
        assert figure.read_bytes().startswith(PNG)
        assert figure.stat().st_size > 10_000


def test_demo_ends_in_a_report_of_runs_and_masks(made: Path) -> None:
    page = (made / "report.html").read_text(encoding="utf-8")
    for anchor in ("provenance", "training", "patterns", "volumes", "scores"):
        assert f'<section id="{anchor}"' in page
    assert "2 training runs, 2 masks" in page


def test_same_command_goes_on_where_it_stood(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [*(made / "data").rglob("*.tif"), made / "run" / "student.safetensors"]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in kept}
    assert len(before) == 2 * (2 + 4 + 1 + 1) + 1
    first = json.loads((made / "summary.json").read_text(encoding="utf-8"))
    (made / "summary.json").unlink()
    assert cli.main(["demo", "--out", str(made), "--quick"]) == 0
    shown = capsys.readouterr()
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in kept} == before
    again = json.loads((made / "summary.json").read_text(encoding="utf-8"))
    for name in ("teacher", "student", "supervised_only", "codebook_perplexity"):
        assert again[name] == first[name]
    assert "simulating" not in shown.err
    assert str(made / "figures") in shown.out
    assert str(made / "report.html") in shown.out
    assert "scores mean nothing" in shown.out


def test_supervised_only_student_differs_by_the_teacher_alone(made: Path) -> None:
    guided = load_config(made / "run" / "config.yaml").model_dump()
    alone = load_config(made / "supervised_only" / "config.yaml").model_dump()
    assert alone["distill"].pop("semi_weight") == 0
    assert alone["distill"].pop("target") == "none"
    assert guided["distill"].pop("semi_weight") > 0
    assert guided["distill"].pop("target") == "code_vectors"
    assert (alone.pop("name"), guided.pop("name")) == ("supervised_only", "demo")
    assert alone == guided


def test_demo_of_other_settings_is_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--out", str(made)]) == 2
    assert "demo of other settings" in capsys.readouterr().err


def test_folder_of_something_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.doc").write_text("years of work", encoding="utf-8")
    assert cli.main(["demo", "--out", str(tmp_path)]) == 2
    assert "holds no demo" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.doc"]


def test_recipe_names_the_volumes_that_the_demo_writes(made: Path) -> None:
    config = load_config(find_recipe("demo"))
    named = {v.image.as_posix() for v in (*config.data.labelled, *config.data.unlabelled)}
    named |= {v.image.as_posix() for v in config.data.validation}
    data = made / "data"
    written = {p.relative_to(data).as_posix() for p in data.rglob("*_image.ome.tif")}
    assert written - named == {"held_out/volume_000_image.ome.tif"}
    assert named - written == set()


def test_held_out_volume_is_larger_than_a_training_patch() -> None:
    config = load_config(find_recipe("demo"))
    held_out = demo._HELD_OUT.shape_voxels
    assert held_out is not None
    assert all(n > p for n, p in zip(held_out, config.distill.patch_voxels, strict=True))


def test_volumes_of_different_roles_are_different(made: Path) -> None:
    images = [tifffile.imread(p).tobytes() for p in (made / "data").rglob("*_image.ome.tif")]
    assert len(set(images)) == len(images) == 8
