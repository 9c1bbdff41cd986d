"""Whole comparisons on tiny volumes: results, shared teachers, resume, failures, budgets.

Jobs run in this process here, where starting others would take most of the time; that they run as
well in processes of their own is what the slow tests at the end show.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from comparisons import InThisProcess, comparison, settings, tree, write_volumes
from tiny_rivals import MARK

from vpbsd.compare import methods
from vpbsd.compare.results.lines import ResultLine, read_results
from vpbsd.compare.runner import run
from vpbsd.compare.runner.run import Compared, run_comparison
from vpbsd.config import load_config
from vpbsd.errors import CheckpointError, ConfigError, OutputError
from vpbsd.metrics import score
from vpbsd.metrics.evaluate import read_mask
from vpbsd.models import load_model
from vpbsd.stages import read_metrics
from vpbsd.volumes import open_volume

TABLES = {
    "semi": "tiny_rivals:SEMI",
    "distillation": "tiny_rivals:DISTILLATION",
    "net": "tiny_rivals:NETS",
}


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    write_volumes(folder)
    return folder


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> InThisProcess:
    """Do all jobs in this process, with small rivals in the place of the real ones."""
    pool = InThisProcess()
    monkeypatch.setattr(methods, "TABLES", TABLES)
    monkeypatch.setattr(run, "run_tasks", pool)
    return pool


@pytest.fixture(scope="session")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a comparison of a method of every kind that has a student or teacher."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "TABLES", TABLES)
        patch.setattr(run, "run_tasks", InThisProcess())
        done = run_comparison(comparison(root, methods=EVERY_KIND), out)
    assert replace(done, evaluated=()) == Compared(out / "results.jsonl", 12, 0, {}, {})
    assert {job.method.name for job in done.evaluated} == set(EVERY_KIND)
    return out


EVERY_KIND = ["vpbsd", "teacher", "supervised_only", "on_labels", "on_both", "from_teacher"]


def lines(out: Path) -> dict[str, ResultLine]:
    """Return the result lines by method."""
    return {line.method: line for line in read_results(out / "results.jsonl")}


# -------------------------------------------------------------------------------- what is left


def test_every_method_leaves_an_ordinary_run(whole: Path) -> None:
    for name in ("vpbsd", "supervised_only", "on_labels", "on_both", "from_teacher"):
        folder = whole / "tubes" / name / "seed_0"
        assert load_config(folder / "config.yaml").name == f"tubes/{name}"
        assert load_model(folder).kind == "student"
        stage = "distill" if name in ("vpbsd", "supervised_only") else "rival"
        record = json.loads((folder / stage / "provenance.json").read_text("utf-8"))
        assert record["seed"] == 0
        assert not [key for key in record["inputs"] if key.startswith("test")]
        logged = [r for r in read_metrics(folder / stage / "metrics.jsonl") if r["kind"] == "train"]
        assert logged[-1]["step"] == 6
    assert (whole / "tubes/teacher/seed_0/teacher.safetensors").exists()
    assert yaml.safe_load((whole / "compare.yaml").read_text("utf-8"))["name"] == "tiny"


def test_teacher_is_trained_and_heard_once(whole: Path) -> None:
    assert [p.parent.name for p in whole.rglob("pretrain")] == ["seed_0"]
    assert [p.parent.parent.name for p in whole.rglob("labels")] == ["teacher"]


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("on_labels", set()),
        ("on_both", {"unlabelled"}),
        ("from_teacher", {"unlabelled", "probability", "codes", "encodings"}),
    ],
)
def test_rival_gets_the_batches_that_it_needs(name: str, held: set[str], whole: Path) -> None:
    log = read_metrics(whole / "tubes" / name / "seed_0" / "rival" / "metrics.jsonl")
    known = {"unlabelled", "probability", "codes", "encodings"}
    assert {key for record in log for key in record} & known == held


def test_rival_on_labels_alone_is_our_student_on_labels_alone(whole: Path) -> None:
    """Same net, first weights, patches and steps: through either door the same net comes out."""
    ours, rival = (
        load_model(whole / "tubes" / name / "seed_0").net.state_dict()
        for name in ("supervised_only", "on_labels")
    )
    assert ours.keys() == rival.keys()
    assert all(np.array_equal(ours[key].numpy(), rival[key].numpy()) for key in ours)
    scores = {name: dict(line.scores) for name, line in lines(whole).items()}
    assert scores["supervised_only"] == scores["on_labels"]


# ----------------------------------------------------------------------------------------- results


def test_line_says_what_was_compared_and_what_it_costs(whole: Path) -> None:
    line = lines(whole)["vpbsd"]
    assert (line.comparison, line.dataset, line.family, line.seed) == ("tiny", "tubes", "ours", 0)
    assert (line.volume, line.validation, line.labelled_patches) == ("test", ["validation"], 2)
    assert line.deployed == "student_fine"
    assert line.steps == 6
    assert line.budget == {"kind": "steps", "value": 6, "tuning_trials": 0}
    assert line.blocks is not None
    assert line.blocks["edge_voxels"] == [8, 12, 12]
    # 16 x 24 x 24 voxels in sub-blocks of 8 x 12 x 12.
    assert len(line.counts) == 8
    net = load_model(whole / "tubes/vpbsd/seed_0").net
    assert line.parameters == sum(p.numel() for p in net.parameters())
    assert line.mac_per_voxel is not None and line.mac_per_voxel > 100
    assert line.voxels_per_second is not None and line.voxels_per_second > 1000
    assert line.peak_memory_bytes is not None and 5e7 < line.peak_memory_bytes < 2e10
    assert {"cpu", "cores", "torch_threads"} <= line.machine.keys()
    assert {"vpbsd", "torch"} <= line.versions.keys()


def test_scores_are_those_of_the_mask_on_the_disk(whole: Path, root: Path) -> None:
    for name in EVERY_KIND:
        line = lines(whole)[name]
        with (
            open_volume(whole / "tubes" / name / "seed_0/masks/test.ome.zarr") as mask,
            open_volume(root / "test_label.tif", voxel_size_um=mask.voxel_size_um) as truth,
        ):
            size = mask.require_voxel_size()
            found = score(read_mask(mask), read_mask(truth), size)
        assert size.zyx_um == (2, 1, 1)
        assert line.scores["dice"] == pytest.approx(found.dice)
        assert line.scores["hd95_um"] == found.hd95_um


def test_training_time_of_a_guided_method_holds_that_of_its_teacher(whole: Path) -> None:
    seconds = {name: line.training_seconds for name, line in lines(whole).items()}
    assert all(s is not None for s in seconds.values())
    for name in ("vpbsd", "from_teacher"):
        assert seconds[name] > seconds["teacher"]  # type: ignore[operator]
    own = json.loads((whole / "tubes/vpbsd/seed_0/job_train.json").read_text("utf-8"))["facts"]
    assert own["seconds"] + own["teacher_seconds"] == pytest.approx(seconds["vpbsd"])


def test_without_test_volumes_the_line_says_that_validation_was_scored(
    root: Path, tmp_path: Path
) -> None:
    data = {**settings(root)["data"], "test": []}
    dataset = {"name": "tubes", "settings": {**settings(root), "data": data}}
    config = comparison(root, datasets=[dataset], methods=["supervised_only"])
    run_comparison(config, tmp_path)
    line = lines(tmp_path)["supervised_only"]
    assert line.volume in line.validation  # type: ignore[operator]


# ------------------------------------------------------------------------------------------ resume


def test_done_jobs_are_skipped(whole: Path, root: Path, here: InThisProcess) -> None:
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()}
    done = run_comparison(comparison(root, methods=EVERY_KIND), whole)
    assert (done.done, done.earlier, here.done) == (0, 12, [])
    same = {p: p.stat().st_mtime_ns for p in before}
    changed = {p.name for p in before if before[p] != same[p]}
    assert changed <= {"compare.yaml", ".lock"}


def test_more_methods_go_into_the_same_folder(
    root: Path, tmp_path: Path, here: InThisProcess
) -> None:
    run_comparison(comparison(root, methods=["supervised_only"]), tmp_path)
    here.done.clear()
    done = run_comparison(comparison(root, methods=["on_labels", "supervised_only"]), tmp_path)
    assert here.done == ["train tubes/on_labels/seed_0", "evaluate tubes/on_labels/seed_0"]
    assert done.earlier == 2
    assert set(lines(tmp_path)) == {"on_labels", "supervised_only"}


def test_lost_results_are_taken_from_the_runs_again(root: Path, tmp_path: Path) -> None:
    config = comparison(root, methods=["supervised_only", "on_labels"])
    run_comparison(config, tmp_path)
    before = lines(tmp_path)
    (tmp_path / "results.jsonl").unlink()
    run_comparison(config, tmp_path)
    assert lines(tmp_path) == before


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"settings": {"distill.temperature": 0.9}}, r"vpbsd/seed_0 .*distill\.temperature: 0\.1"),
        ({"settings": {"codebook.beta": 0.9}}, r"teacher\.codebook\.beta: 0\.25 then, 0\.9 now"),
    ],
    ids=str,
)
def test_changed_setting_is_refused_by_name(
    changed: dict[str, Any], named: str, whole: Path, root: Path, here: InThisProcess
) -> None:
    config = comparison(root, methods=[{"name": "vpbsd", **changed}])
    with pytest.raises(CheckpointError, match=named):
        run_comparison(config, whole)
    assert here.done == []
    assert yaml.safe_load((whole / "compare.yaml").read_text("utf-8"))["methods"][0] == {
        "name": "vpbsd",
        "label": None,
        "settings": {},
    }


def test_changed_teacher_of_all_is_refused(whole: Path, root: Path) -> None:
    own = settings(root)
    own["pretrain"]["learning_rate"] = 0.5
    dataset = {"name": "tubes", "settings": own, "edge_voxels": [8, 12, 12]}
    with pytest.raises(CheckpointError, match=r"tubes/teacher/seed_0 \(and \d+ more jobs\)"):
        run_comparison(comparison(root, datasets=[dataset]), whole)


def test_folder_of_something_else_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work", "utf-8")
    with pytest.raises(OutputError, match="holds no comparison; name another folder"):
        run_comparison(comparison(root), tmp_path)
    with pytest.raises(ConfigError, match="at least one worker is needed, got --workers 0"):
        run_comparison(comparison(root), tmp_path / "new", workers=0)


# ---------------------------------------------------------------------------------------- failures


def test_failing_method_leaves_the_others_alone_and_says_why(
    root: Path, tmp_path: Path, here: InThisProcess
) -> None:
    config = comparison(root, methods=["refusing", "greedy", "supervised_only"])
    done = run_comparison(config, tmp_path)
    assert done.failed == {
        "train tubes/refusing/seed_0": "this method cannot be: choose another",
        "train tubes/greedy/seed_0": "method greedy learns from a teacher, but its family semi has "
        "none: list it under distillation",
    }
    assert set(done.blocked) == {"evaluate tubes/refusing/seed_0", "evaluate tubes/greedy/seed_0"}
    assert done.done == 2
    found = lines(tmp_path)
    assert found["supervised_only"].failure is None
    assert found["refusing"].failure is not None
    assert (tmp_path / "tubes/refusing/seed_0/error.log").exists()
    # A method that is mended takes the place of its failure.
    here.done.clear()
    run_comparison(config, tmp_path)
    assert here.done == ["train tubes/refusing/seed_0", "train tubes/greedy/seed_0"]


# ------------------------------------------------------------------------------ budget in seconds


def test_seconds_become_steps(root: Path, tmp_path: Path) -> None:
    budget = {"kind": "seconds", "value": 1.5}
    config = comparison(root, seeds=[0, 1], methods=["on_labels"], budget=budget)
    done = run_comparison(config, tmp_path)
    assert not done.failed
    facts = json.loads((tmp_path / "tubes/on_labels/job_timing.json").read_text("utf-8"))["facts"]
    assert facts["steps"] == max(1, int(1.5 / facts["seconds_per_step"]))
    found = read_results(done.results)
    assert {line.steps for line in found} == {facts["steps"]}
    assert [line.budget for line in found] == [{**budget, "tuning_trials": 0}] * len(found)
    assert not list(tmp_path.rglob(".timing.*"))


def test_budget_holds_the_teacher_too(root: Path, tmp_path: Path) -> None:
    budget = {"kind": "seconds", "value": 0.01}
    done = run_comparison(comparison(root, methods=["vpbsd"], budget=budget), tmp_path)
    (why,) = done.failed.values()
    assert "the budget of a method is 0 s with its teacher: raise budget.value" in why


# ----------------------------------------------------------------- processes and the command line


def recipe_of(root: Path, folder: Path, **changed: Any) -> str:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(tree(root, **changed)), "utf-8")
    return str(file)


def command(*words: str, folder: Path) -> subprocess.Popen[str]:
    """Start a comparison as a user does, but with the small rivals."""
    script = (
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from vpbsd.compare import methods\n"
        f"methods.TABLES.update({TABLES!r})\n"
        "from vpbsd.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, "compare", *words],
        cwd=folder,
        env={**os.environ, MARK: str(folder / "killed")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_workers_one_killed_process_and_one_failure(root: Path, tmp_path: Path) -> None:
    file = recipe_of(root, tmp_path, methods=["killed_once", "refusing"])
    running = command(file, "-o", "out", "--workers", "2", folder=tmp_path)
    told, said = running.communicate(timeout=240)
    assert running.returncode == 1, said
    assert (tmp_path / "killed").exists()
    assert "train tubes/killed_once/seed_0: its process was killed (SIGKILL)" in said
    sentence = said.splitlines()[-1]
    assert sentence.startswith("vpbsd compare: 1 of the jobs failed, 1 that need them were not")
    assert sentence.endswith("train tubes/refusing/seed_0: this method cannot be: choose another")
    assert told == ""
    found = lines(tmp_path / "out")
    assert (found["killed_once"].failure, found["refusing"].steps) == (None, None)
    # It went on from the checkpoint at step 2, not from the start.
    log = read_metrics(tmp_path / "out/tubes/killed_once/seed_0/rival/metrics.jsonl")
    assert [r["step"] for r in log if r["kind"] == "validation"] == [3, 6]


@pytest.mark.slow
def test_stopped_comparison_goes_on(root: Path, tmp_path: Path) -> None:
    own = settings(root)
    own["distill"].update(steps=4000, validate_every=4000)
    dataset = {"name": "tubes", "settings": own, "edge_voxels": [8, 12, 12]}
    file = recipe_of(root, tmp_path, datasets=[dataset], methods=["on_labels"])
    running = command(file, "-o", "out", folder=tmp_path)
    checkpoint = tmp_path / "out/tubes/on_labels/seed_0/rival/last.safetensors"
    _wait_for(checkpoint, running)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 130, said
    assert "stopped with 0 of 2 jobs done; the same command goes on from there" in said
    log = tmp_path / "out/tubes/on_labels/seed_0/log.txt"
    assert "stopped rival at step" in log.read_text("utf-8")
    assert not [line for line in said.splitlines() if "Traceback" in line]


def _wait_for(file: Path, running: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if file.exists():
            return
        assert running.poll() is None, running.communicate()[1]
        time.sleep(0.1)
    raise AssertionError(f"{file} does not appear")


@pytest.mark.slow
def test_smoke_recipe_from_the_command_line(tmp_path: Path) -> None:
    running = command("smoke", "-o", "out", "--workers", "2", folder=tmp_path)
    told, said = running.communicate(timeout=280)
    assert running.returncode == 0, said
    found = read_results(tmp_path / "out/results.jsonl")
    assert {(line.method, line.failure) for line in found} == {
        *(("vpbsd", None), ("supervised_only", None)),
    }
    assert "jobs                   5 done, 0 done earlier" in told
    written = [line.split()[1] for line in told.splitlines() if line.startswith("wrote")]
    assert written
    assert all((tmp_path / file).is_file() for file in written)
    # One row of pictures for the test volume, and what the teacher's codes look like.
    drawn = {Path(file).name for file in written if "pictures" in file}
    assert len([name for name in drawn if name.startswith("test_volume_")]) >= 2
    assert {"patterns.png", "patterns.pdf"} <= drawn
