"""Planning: which jobs there are, what they wait for, which share a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from comparisons import comparison, settings, write_volumes

from vpbsd.compare import methods
from vpbsd.compare.runner.datasets import open_dataset
from vpbsd.compare.runner.jobs import Job, plan_jobs
from vpbsd.errors import ConfigError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    write_volumes(folder)
    return folder


@pytest.fixture
def plan(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    tables = {"semi": "tiny_rivals:SEMI", "distillation": "tiny_rivals:DISTILLATION"}
    tables |= {"net": "tiny_rivals:NETS", "classical": "vpbsd.compare.classical.tuned:CLASSICAL"}
    monkeypatch.setattr(methods, "TABLES", tables)

    def planned(**changed: Any) -> dict[str, Job]:
        config = comparison(root, **changed)
        datasets = [open_dataset(d, tmp_path) for d in config.datasets]
        return {job.name: job for job in plan_jobs(config, datasets, tmp_path)}

    return planned


def test_jobs_come_after_what_they_need(plan: Any, tmp_path: Path) -> None:
    jobs = plan(methods=["vpbsd", "supervised_only", "teacher"])
    assert {name: job.needs for name, job in jobs.items()} == {
        "teacher tubes/teacher/seed_0": (),
        "train tubes/vpbsd/seed_0": ("teacher tubes/teacher/seed_0",),
        "evaluate tubes/vpbsd/seed_0": ("train tubes/vpbsd/seed_0",),
        "train tubes/supervised_only/seed_0": (),
        "evaluate tubes/supervised_only/seed_0": ("train tubes/supervised_only/seed_0",),
        "evaluate tubes/teacher/seed_0": ("teacher tubes/teacher/seed_0",),
    }
    ours = jobs["train tubes/vpbsd/seed_0"]
    assert ours.folder == tmp_path / "tubes/vpbsd/seed_0"
    assert ours.teacher == tmp_path / "tubes/teacher/seed_0"
    assert ours.labels == tmp_path / "tubes/teacher/seed_0/labels"
    assert (ours.run.name, ours.run.seed) == ("tubes/vpbsd", 0)
    assert jobs["evaluate tubes/teacher/seed_0"].method.name == "teacher"


def test_one_seed_after_the_other(plan: Any) -> None:
    jobs = list(plan(seeds=[4, 2], methods=["supervised_only"]).values())
    assert [(job.kind, job.seed, job.run.seed) for job in jobs] == [
        *(("train", 4, 4), ("evaluate", 4, 4)),
        *(("train", 2, 2), ("evaluate", 2, 2)),
    ]


def test_methods_share_the_teacher_that_they_would_train_alike(plan: Any) -> None:
    jobs = plan(methods=["vpbsd", "no_distillation", "lambda_dis_x3", "from_teacher"])
    assert [name for name in jobs if name.startswith("teacher")] == ["teacher tubes/teacher/seed_0"]
    trained = [job for job in jobs.values() if job.kind == "train"]
    assert {job.needs for job in trained} == {("teacher tubes/teacher/seed_0",)}


def test_weights_are_tried_as_multiples_of_the_data_sets(plan: Any, root: Path) -> None:
    changed = {**settings(root), "pretrain.alpha": 2.0, "distill.semi_weight": 10.0}
    wanted = ["alpha_x3", "lambda_dis_x0.3", "lambda_semi_x3"]
    jobs = plan(datasets=[{"name": "d", "settings": changed}], methods=wanted)
    alpha, dis, semi = (jobs[f"train d/{name}/seed_0"].run for name in wanted)
    assert (alpha.pretrain.alpha, alpha.distill.semi_weight) == (6.0, 10.0)
    assert (dis.distill.distill_weight, dis.distill.semi_weight) == (0.3, 10.0)
    assert (semi.distill.semi_weight, semi.pretrain.alpha) == (30.0, 2.0)


def test_another_teacher_has_a_folder_of_its_own_which_others_share(plan: Any) -> None:
    jobs = plan(
        seeds=[0, 1],
        methods=["vpbsd", "no_pretraining", {"name": "no_pretraining", "label": "again"}],
    )
    teachers = [name for name in jobs if name.startswith("teacher")]
    assert len(teachers) == 4
    assert jobs["train tubes/no_pretraining/seed_0"].needs == jobs["train tubes/again/seed_0"].needs
    (needed,) = jobs["train tubes/again/seed_1"].needs
    folder = jobs[needed].folder
    assert folder.parent.name.startswith("teacher_")
    assert folder.name == "seed_1"
    # The name says what it is: that of the other seed differs in nothing else.
    assert jobs["train tubes/again/seed_0"].teacher.parent == folder.parent


def test_method_that_does_not_learn_from_a_teacher_gets_none(plan: Any) -> None:
    jobs = plan(methods=["on_labels", "on_both", "supervised_only"])
    assert {job.kind for job in jobs.values()} == {"train", "evaluate"}


def test_patches_of_another_shape_are_labelled_apart(plan: Any) -> None:
    small = {"name": "vpbsd", "label": "small", "settings": {"distill.patch_voxels": [16, 8, 8]}}
    jobs = plan(methods=[small])
    assert jobs["train tubes/small/seed_0"].needs == ("teacher tubes/teacher/seed_0",)
    assert jobs["train tubes/small/seed_0"].labels is None
    assert jobs["teacher tubes/teacher/seed_0"].run.distill.patch_voxels == (16, 16, 16)


def test_steps_are_the_same_for_all(plan: Any) -> None:
    steps = {j.run.distill.steps for j in plan(methods=["vpbsd", "on_both"]).values()}
    assert steps == {6}
    jobs = plan(methods=["vpbsd", "on_both"], budget={"value": 9})
    assert {j.run.distill.steps for j in jobs.values() if j.kind == "train"} == {9}


def test_budget_in_seconds_is_timed_once_for_all_seeds(plan: Any, tmp_path: Path) -> None:
    budget = {"kind": "seconds", "value": 60}
    jobs = plan(seeds=[3, 4], methods=["vpbsd", "on_both"], budget=budget)
    timings = {name: job for name, job in jobs.items() if job.kind == "timing"}
    assert {name: job.needs for name, job in timings.items()} == {
        "timing tubes/vpbsd": ("teacher tubes/teacher/seed_3",),
        "timing tubes/on_both": (),
    }
    for seed in (3, 4):
        train = jobs[f"train tubes/vpbsd/seed_{seed}"]
        assert set(train.needs) == {f"teacher tubes/teacher/seed_{seed}", "timing tubes/vpbsd"}
        assert train.timing == tmp_path / "tubes/vpbsd"


def test_data_set_may_have_methods_of_its_own(plan: Any, root: Path) -> None:
    datasets = [
        {"name": "one", "settings": settings(root), "labelled": 1, "methods": ["supervised_only"]},
        {"name": "two", "settings": settings(root)},
    ]
    jobs = plan(datasets=datasets, methods=["on_both"])
    assert [name for name in jobs if name.startswith("train")] == [
        *("train one/supervised_only/seed_0", "train two/on_both/seed_0"),
    ]
    assert len(jobs["train one/supervised_only/seed_0"].run.data.labelled) == 1


def test_each_seed_learns_from_what_it_draws(plan: Any, root: Path) -> None:
    drawn = {"name": "d", "settings": settings(root), "labelled": 1, "draw_labelled": True}
    wanted = ["vpbsd", "threshold", "oracle_threshold"]
    jobs = plan(datasets=[drawn], seeds=range(6), methods=wanted)
    draws = [jobs[f"train d/vpbsd/seed_{s}"].run.data.labelled for s in range(6)]
    assert {len(draw) for draw in draws} == {1}
    assert len(set(draws)) == 2
    for seed, draw in enumerate(draws):
        assert jobs[f"teacher d/teacher/seed_{seed}"].run.data.labelled == draw
        # A classical method is tuned on the seed's volumes, an oracle on what it is scored on.
        tuned = jobs[f"evaluate d/threshold/seed_{seed}"]
        assert (tuned.seed, tuned.run.data.labelled) == (seed, draw)
    oracles = [job for job in jobs.values() if job.method.name == "oracle_threshold"]
    assert [(job.name, job.seed) for job in oracles] == [("evaluate d/oracle_threshold", None)]
    one, other = draws.index(draws[0]), next(s for s in range(6) if draws[s] != draws[0])
    first, second = (jobs[f"train d/vpbsd/seed_{s}"].identity["data"] for s in (one, other))
    assert first != second


def test_method_that_does_not_fit_the_data_set_is_refused_at_once(plan: Any) -> None:
    wrong = {"name": "vpbsd", "settings": {"distill.patch_voxels": [15, 16, 16]}}
    with pytest.raises(ConfigError, match=r"method vpbsd on tubes: .*distill\.patch_voxels"):
        plan(methods=[wrong])


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"settings": {"distill.temperature": 0.7}}, False),
        ({"settings": {"student.preset": "fast"}}, False),
        ({"settings": {"finetune.steps": 7}}, False),
        ({"settings": {"codebook.size": 32}}, False),
        ({"settings": {"distill.checkpoint_every": 1}}, True),
    ],
    ids=str,
)
def test_identity_holds_what_decides_the_result(
    changed: dict[str, Any], same: bool, plan: Any
) -> None:
    name = "train tubes/vpbsd/seed_0"
    before = plan(methods=["vpbsd"])[name].identity
    after = plan(methods=[{"name": "vpbsd", **changed}])[name].identity
    assert (before == after) is same
    assert before["data"].keys() == {
        *("labelled/labelled_a", "labelled/labelled_a/label", "labelled/labelled_b"),
        *("labelled/labelled_b/label", "unlabelled/unlabelled"),
        *("validation/validation", "validation/validation/label"),
    }


def test_what_is_scored_decides_the_evaluation_alone(plan: Any, root: Path) -> None:
    other = {"name": "tubes", "settings": settings(root), "edge_voxels": [4, 4, 4]}
    before, after = plan(methods=["vpbsd"]), plan(methods=["vpbsd"], datasets=[other])
    for name in ("teacher tubes/teacher/seed_0", "train tubes/vpbsd/seed_0"):
        assert before[name].identity == after[name].identity
    name = "evaluate tubes/vpbsd/seed_0"
    assert before[name].identity != after[name].identity
