"""What a user can get wrong: one clear sentence with the way out, exit code 2, nothing lost.

Every case runs the command line. Beside the exit code and the sentence, the folder it ran in must
hold afterwards exactly what it held before.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
from safetensors.torch import safe_open, save_file

from vpbsd import cli
from vpbsd.config import CodebookConfig, StudentConfig, TeacherConfig

SHAPE = (16, 32, 32)
SIZE = ["--voxel-size", "2", "1", "1"]


class Place:
    """A folder with good input, in which commands are run."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys

    def run(self, *words: str) -> tuple[int, str]:
        """Run a command; returns its exit code and what it wrote to stderr."""
        self._capsys.readouterr()
        try:
            code = cli.main(list(words))
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        return code, self._capsys.readouterr().err

    def refused(self, *words: str, saying: tuple[str, ...]) -> None:
        """Assert that a command is refused in one sentence and leaves everything as it was."""
        before = contents(self.folder)
        code, err = self.run(*words)
        assert code == 2, err
        assert "Traceback" not in err
        sentence = err.splitlines()[-1]
        assert sentence.startswith(f"vpbsd {words[0]}: ")
        for part in saying:
            assert part in sentence
        assert contents(self.folder) == before


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, with its bytes."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image, its label, others like them, a recipe and an untrained model."""
    from vpbsd.models import Student, Teacher, save_model

    folder = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        image = rng.integers(10, 200, SHAPE).astype(np.uint8)
        write_tiff(folder / f"{name}.ome.tif", image)
        write_tiff(folder / f"{name}_label.ome.tif", (image > 150).astype(np.uint8))
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_text(
        "{finetune: {simulated_share: 1}, distill: {simulated_share: 1}}"
    )
    save_model(folder / "run" / "student.safetensors", Student(StudentConfig()), threshold=0.5,
               metadata={})  # fmt: skip
    teacher = Teacher(TeacherConfig(widths=(8, 16, 16, 24)), CodebookConfig())
    save_model(folder / "teacher.safetensors", teacher, threshold=0.5, metadata={})
    write_recipe(folder)
    return folder


@pytest.fixture
def place(
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Place:
    folder = tmp_path / "here"
    shutil.copytree(good, folder)
    monkeypatch.chdir(folder)
    return Place(folder, capsys)


def write_tiff(path: Path, array: np.ndarray) -> None:
    sizes = {"PhysicalSizeZ": 2.0, "PhysicalSizeY": 1.0, "PhysicalSizeX": 1.0}
    units = {f"{key}Unit": "µm" for key in sizes}
    tifffile.imwrite(path, array, ome=True, metadata={"axes": "ZYX", **sizes, **units})


def write_recipe(folder: Path, **changes: str) -> None:
    """Write tiny.yaml; labelled is ``a``, validation ``b``, unless ``changes`` name other files."""
    names = {"a": "a.ome.tif", "a_label": "a_label.ome.tif", "b": "b.ome.tif",
             "b_label": "b_label.ome.tif", **changes}  # fmt: skip
    stage = "{steps: 2, batch_size: 1, patch_voxels: [16, 32, 32], simulated_share: 0}"
    (folder / "tiny.yaml").write_text(
        f"""
data:
  labelled: [{{image: {names["a"]}, label: {names["a_label"]}}}]
  validation: [{{image: {names["b"]}, label: {names["b_label"]}}}]
teacher: {{widths: [8, 16, 16, 24]}}
pretrain: {stage}
finetune: {stage}
distill: {stage}
""",
        encoding="utf-8",
    )


SEGMENT = ("--model", "run", "-o", "out.ome.zarr")


def test_good_input_is_not_refused(place: Place) -> None:
    assert place.run("segment", "a.ome.tif", *SEGMENT)[0] == 0
    assert place.run("evaluate", "out.ome.zarr", "a_label.ome.tif")[0] == 0
    assert place.run("pretrain", "tiny.yaml", "-o", "new", "--quiet")[0] == 0


# ------------------------------------------------------------------------------- files and axes


@pytest.mark.parametrize(
    "words",
    [
        ["info", "none.tif"],
        ["segment", "none.tif", *SEGMENT],
        ["evaluate", "none.tif", "a_label.ome.tif"],
        ["evaluate", "a_label.ome.tif", "none.tif"],
    ],
)
def test_missing_volume(place: Place, words: list[str]) -> None:
    place.refused(*words, saying=("'none.tif' does not exist", "check the path"))


def test_missing_recipe(place: Place) -> None:
    place.refused("train", "none.yaml", "-o", "new", saying=("no recipe file 'none.yaml'", "demo"))


def test_missing_training_volume(place: Place) -> None:
    write_recipe(place.folder, a="none.tif")
    place.refused("train", "tiny.yaml", "-o", "new", saying=("none.tif", "does not exist"))


def test_truncated_volume(place: Place) -> None:
    whole = Path("a.ome.tif").read_bytes()
    Path("a.ome.tif").write_bytes(whole[: len(whole) // 2])
    place.refused("segment", "a.ome.tif", *SEGMENT, saying=("a.ome.tif",))


def test_file_that_is_no_volume(place: Place) -> None:
    Path("notes.tif").write_text("not a TIFF at all")
    place.refused("info", "notes.tif", saying=("'notes.tif'",))
    place.refused("info", "tiny.yaml", saying=("no format that can be read", "OME-Zarr"))


@pytest.mark.parametrize(
    ("shape", "words"), [((32, 32), "is a 2D image"), ((2, 2, 4, 8, 8), "5 axes")]
)
def test_wrong_number_of_axes(place: Place, shape: tuple[int, ...], words: str) -> None:
    np.save("odd.npy", np.arange(np.prod(shape), dtype=np.uint16).reshape(shape))
    place.refused("segment", "odd.npy", *SEGMENT, *SIZE, saying=("odd.npy", words))


def test_wrong_number_of_channels(place: Place) -> None:
    np.save("two.npy", np.random.default_rng(1).integers(1, 99, (2, *SHAPE)).astype(np.uint8))
    place.refused("segment", "two.npy", *SEGMENT, *SIZE, saying=("2 channel", "--channels"))
    place.refused(
        *("segment", "two.npy", *SEGMENT, *SIZE, "--channels", "2"),
        saying=("channels [2]", "counted from 0"),
    )
    assert place.run("segment", "two.npy", *SEGMENT, *SIZE, "--channels", "1")[0] == 0


# ---------------------------------------------------------------------- voxel size and intensities


def test_unknown_voxel_size(place: Place) -> None:
    np.save("bare.npy", tifffile.imread("a.ome.tif"))
    for words in (["segment", "bare.npy", *SEGMENT], ["evaluate", "bare.npy", "bare.npy"]):
        place.refused(*words, saying=("does not state its voxel size", "--voxel-size Z Y X"))
    code, err = place.run("segment", "bare.npy", *SEGMENT, *SIZE)
    assert code == 0
    assert "voxel size z 2, y 1, x 1 µm (as given)" in err


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_impossible_voxel_size(place: Place, value: str) -> None:
    place.refused(
        *("segment", "a.ome.tif", *SEGMENT, "--voxel-size", "1", "1", value),
        saying=("must be positive numbers of micrometres",),
    )


def test_voxel_sizes_that_contradict_each_other(place: Place) -> None:
    tifffile.imwrite(
        "other.ome.tif",
        tifffile.imread("a_label.ome.tif"),
        metadata={"axes": "ZYX", "PhysicalSizeX": 3.0, "PhysicalSizeY": 3.0, "PhysicalSizeZ": 3.0},
    )
    words = ("evaluate", "other.ome.tif", "a_label.ome.tif")
    place.refused(*words, saying=("z 3, y 3, x 3 µm", "z 2, y 1, x 1 µm", "--voxel-size"))
    assert place.run(*words, *SIZE)[0] == 0


def test_nan_in_a_volume(place: Place) -> None:
    image = tifffile.imread("a.ome.tif").astype(np.float32)
    image[3, 4, 5] = np.nan
    np.save("nan.npy", image)
    place.refused("segment", "nan.npy", *SEGMENT, *SIZE, saying=("NaN or infinite", "replace"))


@pytest.mark.parametrize("value", [0, 7])
def test_constant_volume(place: Place, value: int) -> None:
    np.save("flat.npy", np.full(SHAPE, value, np.uint8))
    place.refused(
        *("segment", "flat.npy", *SEGMENT, *SIZE),
        saying=(f"is {value}: there is nothing to segment", "right file and channel"),
    )


def test_nan_and_constant_training_volumes(place: Place) -> None:
    write_tiff(Path("flat.ome.tif"), np.full(SHAPE, 7, np.uint8))
    write_recipe(place.folder, a="flat.ome.tif")
    place.refused("train", "tiny.yaml", "-o", "new", saying=("flat.ome.tif", "nothing to segment"))
    image = tifffile.imread("a.ome.tif").astype(np.float32)
    image[0] = np.inf
    write_tiff(Path("inf.ome.tif"), image)
    write_recipe(place.folder, a="inf.ome.tif")
    place.refused("train", "tiny.yaml", "-o", "new", saying=("inf.ome.tif", "NaN or infinite"))


# ------------------------------------------------------------------------------ labels and roles


def test_label_of_another_shape(place: Place) -> None:
    write_tiff(Path("turned.ome.tif"), tifffile.imread("a_label.ome.tif").transpose(2, 1, 0))
    write_recipe(place.folder, a_label="turned.ome.tif")
    place.refused(
        *("train", "tiny.yaml", "-o", "new"),
        saying=("(32, 32, 16)", "(16, 32, 32)", "axes have the same order"),
    )
    place.refused(
        *("evaluate", "turned.ome.tif", "a_label.ome.tif", *SIZE),
        saying=("(32, 32, 16)", "(16, 32, 32)", "same resolution"),
    )


def test_image_and_label_swapped(place: Place) -> None:
    write_recipe(place.folder, a="a_label.ome.tif", a_label="a.ome.tif")
    place.refused("train", "tiny.yaml", "-o", "new", saying=("looks like a mask", "swapped"))


def test_training_volume_as_validation(place: Place) -> None:
    write_recipe(place.folder, b="a.ome.tif")
    place.refused(
        "train", "tiny.yaml", "-o", "new", saying=("for training and for validation", "remove")
    )


def test_copy_of_a_training_volume_as_validation(place: Place) -> None:
    shutil.copy("a.ome.tif", "copy.ome.tif")
    write_recipe(place.folder, b="copy.ome.tif")
    place.refused(
        "train", "tiny.yaml", "-o", "new", saying=("same content as training volume", "another")
    )


def test_label_of_training_as_label_of_validation(place: Place) -> None:
    write_recipe(place.folder, b_label="a_label.ome.tif")
    place.refused("train", "tiny.yaml", "-o", "new", saying=("both training and validation",))


# ---------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (["--pretrain.step", "3"], "did you mean pretrain.steps?"),
        (["--pretrain.steps", "0"], "greater than or equal to 1"),
        (["--pretrain.steps", "many"], "valid integer"),
        (["--pretrain.steps", "[1, 2"], "is not YAML"),
        (["--seed.x", "1"], "seed"),
        (["--distill.target", "colours"], "code_vectors"),
        (["--pretrain.patch_voxels", "[16, 32, 30]"], "multiples of the net's stride"),
        (["--teacher.channels", "2"], "must be equal"),
    ],
)
def test_setting_that_is_unknown_or_impossible(
    place: Place, override: list[str], words: str
) -> None:
    place.refused("train", "tiny.yaml", "-o", "new", *override, saying=(words,))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pretrain: {step: 3}", "did you mean pretrain.steps?"),
        ("a: [", "not valid YAML"),
        ("- just\n- a list", "must hold sections"),
        ("", "no labelled volume is given"),
    ],
)
def test_recipe_that_is_wrong(place: Place, text: str, words: str) -> None:
    Path("wrong.yaml").write_text(text, encoding="utf-8")
    place.refused("train", "wrong.yaml", "-o", "new", saying=("wrong.yaml", words))


@pytest.mark.parametrize("threshold", ["0", "1", "-3", "nan"])
def test_impossible_threshold(place: Place, threshold: str) -> None:
    words = ("segment", "a.ome.tif", *SEGMENT, "--threshold", threshold)
    place.refused(*words, saying=("between 0 and 1",))


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["--part", "3"], "a part is written I/N, as in --part 3/16, got '3'"),
        (["--part", "a/b"], "a part is written I/N"),
        (["--part", "0/3"], "part 0/3 does not exist: parts are counted from 1 to N"),
        (["--part", "4/3"], "part 4/3 does not exist"),
        (["--workers", "0"], "--workers is a number of local processes of at least 1"),
        (["--workers", "2", "--scheduler", "tcp://h:1"], "does not go with --scheduler or --slurm"),
        (["--slurm", "-1"], "cannot be below 0"),
        (["--slurm", "2", "--scheduler", "tcp://h:1"], "either a running scheduler or a number"),
    ],
)
def test_impossible_workers_and_parts(place: Place, words: list[str], saying: str) -> None:
    place.refused("segment", "a.ome.tif", *SEGMENT, *words, saying=(saying,))
    place.refused("convert", "a.ome.tif", "-o", "out.ome.zarr", *words, saying=(saying,))


@pytest.mark.parametrize("memory", ["0", "-1", "nan", "inf"])
def test_impossible_memory(place: Place, memory: str) -> None:
    words = ("segment", "a.ome.tif", *SEGMENT, "--memory", memory)
    place.refused(*words, saying=("--memory is a positive number of GiB",))


def test_scheduler_that_does_not_answer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpbsd.blockwise.clusters._CONNECT_SECONDS", 1)
    words = ("segment", "a.ome.tif", *SEGMENT, "--scheduler", "tcp://127.0.0.1:9")
    code, err = place.run(*words)
    assert code == 2
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9' within 1 s" in err
    assert not Path("out.ome.zarr").exists()
    # The same command without it finds nothing in its way.
    assert place.run("segment", "a.ome.tif", *SEGMENT)[0] == 0


def test_blocks_that_do_not_fit_the_net(place: Place) -> None:
    words = ("segment", "a.ome.tif", *SEGMENT, "--block-voxels", "12", "32", "32")
    place.refused(*words, saying=("multiple of the net's stride (8, 8, 8)", "use (16, 32, 32)"))


# ------------------------------------------------------------------------------------ checkpoints


def test_missing_model(place: Place) -> None:
    place.refused(
        *("segment", "a.ome.tif", "--model", "none", "-o", "out.ome.zarr"),
        saying=("no model at none", "train one"),
    )


@pytest.mark.parametrize("kept", [0, 5, 1000, -1])
def test_truncated_model(place: Place, kept: int) -> None:
    file = Path("run/student.safetensors")
    file.write_bytes(file.read_bytes()[:kept])
    place.refused("segment", "a.ome.tif", *SEGMENT, saying=("truncated or damaged", "copy it"))


def test_model_of_another_version(place: Place) -> None:
    file = Path("run/student.safetensors")
    with safe_open(file, framework="pt") as opened:
        about = json.loads(opened.metadata()["vpbsd"])
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    save_file(tensors, file, metadata={"vpbsd": json.dumps({**about, "format": 99})})
    place.refused("segment", "a.ome.tif", *SEGMENT, saying=("format 99", "install"))
    save_file(tensors, file)
    place.refused("info", "run", saying=("not written by vpbsd",))


def test_model_of_another_kind(place: Place) -> None:
    place.refused(
        *("segment", "a.ome.tif", "--model", "teacher.safetensors", "-o", "out.ome.zarr"),
        saying=("holds a teacher, but a student is needed",),
    )


def test_run_that_has_no_model_yet(place: Place) -> None:
    Path("run/student.safetensors").unlink()
    place.refused("info", "run", saying=("no finished model yet", "go on"))


def test_run_of_other_settings(place: Place) -> None:
    words = ("pretrain", "tiny.yaml", "-o", "new", "--quiet")
    assert place.run(*words)[0] == 0
    kept = Path("new/pretrain/last.safetensors").read_bytes()
    code, err = place.run(*words, "--pretrain.steps", "3")
    assert code == 2
    assert "pretrain.steps: 2 then, 3 now" in err
    assert "another run folder" in err
    assert Path("new/pretrain/last.safetensors").read_bytes() == kept
    assert place.run(*words)[0] == 0


def test_truncated_checkpoint_of_a_run(place: Place) -> None:
    words = ("pretrain", "tiny.yaml", "-o", "new", "--quiet")
    assert place.run(*words)[0] == 0
    file = Path("new/pretrain/last.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    code, err = place.run(*words)
    assert code == 2
    assert "truncated or damaged" in err
    assert "delete it" in err


# ---------------------------------------------------------------------------------------- outputs


def test_output_that_exists(place: Place) -> None:
    assert place.run("segment", "a.ome.tif", *SEGMENT)[0] == 0
    place.refused("segment", "a.ome.tif", *SEGMENT, saying=("exists already", "--overwrite"))
    assert place.run("segment", "b.ome.tif", *SEGMENT, "--overwrite")[0] == 0


def test_overwriting_never_touches_something_else(place: Place) -> None:
    precious = Path("thesis.zarr")
    precious.mkdir()
    (precious / "chapter.doc").write_text("years of work")
    place.refused(
        *("segment", "a.ome.tif", "--model", "run", "-o", "thesis.zarr", "--overwrite"),
        saying=("not a zarr folder", "another name"),
    )


def test_output_that_is_no_zarr(place: Place) -> None:
    place.refused(
        *("segment", "a.ome.tif", "--model", "run", "-o", "mask.tif"),
        saying=("must end in .ome.zarr",),
    )
    place.refused(*("convert", "a.ome.tif", "-o", "copy.tif"), saying=("must end in .ome.zarr",))


def test_conversion_that_cannot_work(place: Place) -> None:
    place.refused("convert", "none.tif", "-o", "b.ome.zarr", saying=("does not exist",))
    np.save("bare.npy", tifffile.imread("a.ome.tif"))
    place.refused(*("convert", "bare.npy", "-o", "b.ome.zarr"), saying=("--voxel-size Z Y X",))
    np.save("real.npy", np.ones(SHAPE, np.float32))
    place.refused(
        *("convert", "real.npy", "-o", "b.ome.zarr", "--labels", *SIZE),
        saying=("holds float32, but labels are integers; leave out --labels",),
    )
    assert place.run("convert", "a.ome.tif", "-o", "b.ome.zarr")[0] == 0
    place.refused("convert", "a.ome.tif", "-o", "b.ome.zarr", saying=("exists already",))
    Path("thesis.zarr").mkdir()
    Path("thesis.zarr/chapter.doc").write_text("years of work")
    place.refused(
        *("convert", "a.ome.tif", "-o", "thesis.zarr", "--overwrite"),
        saying=("not a zarr folder", "another name"),
    )


def test_simulated_output_that_exists(place: Place) -> None:
    place.refused("simulate", ".", saying=("already holds files",))
    place.refused("simulate", "tiny.yaml", saying=("is a file",))


def test_run_folder_that_holds_something_else(place: Place) -> None:
    place.refused("train", "tiny.yaml", "-o", ".", saying=("no run", "another folder"))
    place.refused("train", "tiny.yaml", "-o", "tiny.yaml", saying=("is a file",))


@pytest.mark.parametrize(
    "words", [["--shape", "2", "8", "8"], ["--voxel-size", "0", "1", "1"], ["--count", "0"]]
)
def test_impossible_simulation(place: Place, words: list[str]) -> None:
    place.refused("simulate", "new", *words, saying=("must be",))


# ------------------------------------------------------------------------------------- a full disk


@contextmanager
def no_file_above(size_bytes: int) -> Iterator[None]:
    """Let every write beyond ``size_bytes`` of a file fail, as on a full disk (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_disk_full_while_segmenting(place: Place) -> None:
    assert place.run("segment", "a.ome.tif", *SEGMENT)[0] == 0
    with no_file_above(100):
        # Not even what the run would need to go on.
        place.refused(
            *("segment", "b.ome.tif", *SEGMENT, "--overwrite"),
            saying=("cannot write", "out.ome.zarr.work", "make room"),
        )
    kept = contents(Path("out.ome.zarr"))
    noise = np.random.default_rng(2).integers(1, 99, (64, 64, 64)).astype(np.uint8)
    write_tiff(Path("noise.ome.tif"), noise)
    words = ("segment", "noise.ome.tif", *SEGMENT, "--overwrite", "--probability", "--no-skip")
    with no_file_above(20_000):
        code, err = place.run(*words)
    assert code == 2
    assert "cannot be written" in err
    assert "bytes are free" in err
    # The earlier output is there as long as the new one is not.
    assert contents(Path("out.ome.zarr")) == kept
    assert place.run("evaluate", "out.ome.zarr", "a_label.ome.tif")[0] == 0
    assert place.run(*words)[0] == 0
    assert not Path("out.ome.zarr.work").exists()


def test_disk_full_while_simulating(place: Place) -> None:
    with no_file_above(2000):
        place.refused(
            *("simulate", "new", "--shape", "16", "32", "32"),
            saying=("cannot write simulated volumes to new", "nothing was kept"),
        )


def test_disk_full_while_training_loses_nothing(place: Place) -> None:
    words = ("pretrain", "tiny.yaml", "-o", "new", "--quiet")
    with no_file_above(20_000):
        code, err = place.run(*words)
    assert code == 2
    assert "free some space" in err
    assert len(err.splitlines()) == 1
    assert [p for p in Path("new").rglob("*") if "partial" in p.name] == []
    assert place.run(*words)[0] == 0
    assert Path("new/pretrain/teacher.safetensors").exists()


def test_disk_full_where_no_one_expects_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from vpbsd.stages import run

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "new/config.yaml")

    monkeypatch.setattr(run, "save_config", full)
    code, err = place.run("pretrain", "tiny.yaml", "-o", "new", "--quiet")
    assert code == 2
    assert err == (
        "vpbsd pretrain: 'new/config.yaml' cannot be written: No space left on device; make room "
        "or choose another folder, then run the same command again\n"
    )


# -------------------------------------------------------------------------------- from a shell


def test_shell_sees_exit_code_and_sentence(place: Place) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vpbsd", "segment", "none.tif", *SEGMENT],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("vpbsd segment: 'none.tif' does not exist")
    assert len(done.stderr.splitlines()) == 1
